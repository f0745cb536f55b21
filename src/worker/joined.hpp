// What a machine that has joined knows of its service, kept in `folder`/joined.json (0600): it
// appears whole, and changes as a whole.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "net/certificate.hpp"
#include "net/proxy.hpp"
#include "net/tls.hpp"
#include "spell/result.hpp"

namespace spell::worker {

struct Joined {
  std::string url{};          ///< "https://HOST:PORT", "unix:PATH"
  std::string fingerprint{};  ///< of the service's authority; "": this computer's are believed
  std::string machine{};      ///< as the routes name it
  std::string name{};         ///< as people call it
  std::string token{};        ///< spm_…, a secret
  net::Identity identity{};   ///< empty on a Unix socket
  net::Proxy proxy{};         ///< by which it joined; a daemon's own environment may name another
  std::int64_t joined_us = 0;

  net::Trust trust() const;
};

inline constexpr const char* joined_file = "joined.json";
/// None: it has not joined. Error `damaged`.
Result<std::optional<Joined>> read_joined(const std::string& folder);
/// Durable on return.
Result<> write_joined(const std::string& folder, const Joined&);
/// Fine if there is none.
Result<> forget_joined(const std::string& folder);

}  // namespace spell::worker
