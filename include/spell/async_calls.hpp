// What bridges to frameworks for asynchronous programs stand on, such as spell/asio.hpp: calls
// back.
#pragma once
#include <functional>
#include <memory>
#include <stop_token>

#include "spell/result.hpp"
#include "spell/run.hpp"

namespace spell {

/// Callbacks come once each, from a thread of the client's or from that of the stop; they must not
/// block, and must not be what lets the last handle on the client go: who waits holds one until he
/// has been called. Thread-safe.
struct AsyncCalls {
  using Done = std::function<void(Result<RunInfo>)>;
  /// Carried out by a thread of the client's, later.
  static void in_background(const std::shared_ptr<detail::Connection>&, std::function<void()> job);
  /// As Run::wait(), of any number of runs with one thread.
  static void wait(const Run&, std::stop_token, Done);
  /// As Run::wait_success(), of any number of runs with one thread.
  static void wait_success(const Run&, std::stop_token, Done);
};

}  // namespace spell
