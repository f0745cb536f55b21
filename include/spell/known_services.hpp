// The services that `spell login` has led to, in $SPELL_DIR/services.json (0600): how each is
// reached, whom it is known by, and the token. What Client::from_environment() falls back to.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "spell/options.hpp"
#include "spell/result.hpp"

namespace spell {

struct KnownService {
  std::string address{};  ///< "https://HOST:PORT"
  std::string user{}, owner{};
  std::string token{};        ///< a secret; "": logged out
  std::string fingerprint{};  ///< see ClientOptions::fingerprint
};

struct KnownServices {
  std::vector<KnownService> services{};
  std::string default_address{};  ///< "": the personal service

  /// By its address, in any spelling.
  std::optional<KnownService> find(const std::string& address) const;
};

/// As one spelling for all: "https://HOST:PORT" in lower case, "unix:PATH", "local"; HOST[:PORT]
/// alone is https. Error `invalid_configuration`.
Result<std::string> service_address(const std::string& text);

/// `spell_dir`: as in ClientOptions. Fine if there is no such file. Errors:
/// `invalid_configuration`, `io_error`.
Result<KnownServices> known_services(const std::string& spell_dir = {});
/// Replaces what is known of this address; durable. `as_default`: calls that name no service go
/// there from now on; else they do not, if they did.
Result<> remember_service(const KnownService&, bool as_default, const std::string& spell_dir = {});

/// The fingerprint of the authority that the service at this https address shows. Nothing is sent
/// there, nobody is trusted: a person may compare it with what the service's administrator says.
Result<std::string> find_authority(const std::string& address, CallOptions = {});

}  // namespace spell
