// The personal service as a process: whether it lives, and its start. An interface, so that tests
// need no process.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "base/spell_dir.hpp"
#include "client/retry.hpp"

namespace spell::detail {

/// Thread-safe.
struct ServiceControl {
  virtual ~ServiceControl() = default;
  /// Returns when a service accepts connections, this one's or another's that was quicker. At most
  /// 15 s. Errors: what the service says of its start; else `service_unreachable`, naming its log
  /// and the log's last line.
  virtual Result<> start(const Limit&) = 0;
  /// The process that holds the service's lock; 0: none does; -1: it has not said yet which.
  virtual std::int64_t holder() = 0;
  virtual std::string log() const = 0;
};

/// `spelld`: path of the program; "": beside the running program, beside this library, then in
/// PATH.
std::shared_ptr<ServiceControl> make_personal_service(base::SpellDirs dirs, std::string spelld);

}  // namespace spell::detail
