// The tokens of workers and of machines that join, for those who find out who makes a request.
// Thread-safe; follows the state after each commit.
#pragma once
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "service/caller.hpp"
#include "service/state.hpp"

namespace spell::service {

class MachineTokens {
 public:
  /// None: the request shows no token of this kind. Of a worker the caller's name is its machine's
  /// id. Error `unauthorized`: it is not valid, or its machine's key was not proven.
  Result<std::optional<Caller>> identify(const net::Request&) const;
  void refresh(const State&);

 private:
  struct Entry {
    Caller::Kind kind = Caller::Kind::nobody;
    std::string token, machine, key;  ///< ids; key: hex SHA-256 of the machine's public key
  };
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;  ///< by the token's hash
};

}  // namespace spell::service
