// Options of clients and of single calls. Precedence: call > client options > environment >
// default.
#pragma once
#include <chrono>
#include <functional>
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
  /// "local": the personal service of this computer; "unix:PATH": a service's socket.
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

  /// service, spell_dir and owner from $SPELL_BASE_URL, $SPELL_DIR and $SPELL_OWNER. Nothing else
  /// reads those.
  static ClientOptions from_environment();
};

}  // namespace spell
