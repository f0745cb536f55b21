// The tokens of workers, of machines that join, and of runs that manage a workflow, for those who
// find out who makes a request.
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
  /// None: the request shows no token of these kinds. Of a worker the caller's name is its
  /// machine's id; of a workflow the role is still to be found. Error `unauthorized`: it is not
  /// valid, or its machine's key was not proven.
  Result<std::optional<Caller>> identify(const net::Request&) const;
  /// Returns the ids of machines' and workflows' tokens that were valid before, and are no more.
  std::vector<std::string> refresh(const State&);
  /// Ids of the tokens of these users' workflows.
  std::vector<std::string> of_workflows_of(const std::vector<std::string>& users) const;

 private:
  struct Entry {
    Caller::Kind kind = Caller::Kind::nobody;
    std::string token, machine, key;  ///< ids; key: hex SHA-256 of the machine's public key
    std::string user{};               ///< of a workflow: its creator
    std::int64_t workflow = 0;
    std::shared_ptr<const std::vector<std::string>> owners{};  ///< of a workflow: its own
  };
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;  ///< by the token's hash
};

}  // namespace spell::service
