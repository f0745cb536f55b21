// Options of clients and of single calls. Precedence: call > client options > environment >
// default.
#pragma once
#include <chrono>
#include <optional>
#include <stop_token>
#include <string>

namespace spell {

/// Of one call. The defaults suit most.
struct CallOptions {
  /// Gives up after this time with the error `timeout`; none: waits as long as the operation takes.
  std::optional<std::chrono::milliseconds> timeout{};
  /// Cancels the call (error `canceled`). What the service has already done stays done.
  std::stop_token stop{};
};

/// Of a client.
struct ClientOptions {
  /// "local": the personal service of this computer; "https://HOST[:PORT]" or "unix:PATH": a
  /// team's; "": where `spell login` has led last, else local.
  std::string service = "local";
  /// Folder of the personal service, and of the client's caches; "": ~/.spell.
  std::string spell_dir{};
  /// The owner whose runs are meant; "": the service's default owner.
  std::string owner{};
  /// Path of the `spelld` program; "": beside the running program, then beside the library, then in
  /// PATH.
  std::string spelld{};
  /// Starts the personal service where it is not running.
  bool autostart = true;
  /// A token of this user, for a team's service (a secret); "": the one that `spell login` has kept
  /// for this address.
  std::string token{};
  /// Whom an https service is known by: the fingerprint of its authority (hex SHA-256 of its public
  /// key), or "system": the authorities of this computer; "": as `spell login` has kept, else
  /// "system".
  std::string fingerprint{};
  /// "http://[USER:PASSWORD@]HOST[:PORT]" through which https services are reached, and those that
  /// are reached without it ("HOST,HOST,…").
  std::string proxy{}, no_proxy{};
  /// The workflow that this program works in: the runs that it makes become that one's; 0: none.
  std::int64_t workflow = 0;

  /// service ($SPELL_BASE_URL), spell_dir ($SPELL_DIR), owner ($SPELL_OWNER), token ($SPELL_TOKEN),
  /// fingerprint ($SPELL_CERT_SHA256), workflow ($SPELL_WORKFLOW_ID), proxy ($HTTPS_PROXY) and
  /// no_proxy ($NO_PROXY). Nothing else reads those. Without $SPELL_BASE_URL the service is "".
  static ClientOptions from_environment();
};

}  // namespace spell
