// What the personal service and that of a team have in common: a service, perhaps with a worker for
// this computer, until a signal or a client ends it.
#pragma once
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "log.hpp"
#include "service/service.hpp"

namespace spell::daemon {

struct EmbeddedWorker {
  std::string folder{};
  std::vector<std::string> hidden{};  ///< folders that no run may see
  std::vector<std::string> revive{};  ///< starts the service again; empty: nobody does
  std::string service_lock{};
  std::string cache_limit{}, backup_rate{};  ///< as they were given; "": the default
};

struct Serving {
  service::ServiceOptions service{};
  std::optional<EmbeddedWorker> worker{};
  /// The service answers.
  std::function<void(service::Service&)> ready{};
  /// Called on SIGHUP, and when the time that it returned last is over; without it SIGHUP ends the
  /// service like SIGTERM and SIGINT.
  std::function<std::chrono::seconds(service::Service&)> look{};
};

/// Returns why it ended.
Result<std::string> serve_until_told(const Serving&, Log&);

/// Tells the process that started this one, which waits for a line; closes the descriptor.
void tell(int ready_fd, const std::string& line);

}  // namespace spell::daemon
