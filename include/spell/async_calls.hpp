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
  /// How long a call blocks: as long as the service needs for an answer, or as long as it pleases.
  /// Those that wait keep no brief one from being carried out.
  enum class Length { brief, any };
  /// `call` is carried out by a thread of the client's, later; or is told `canceled`, by the thread
  /// of the stop, where that comes before it has begun. Once.
  static void in_background(const std::shared_ptr<detail::Connection>&, Length, std::stop_token,
                            std::function<void(bool canceled)> call);
  /// As Run::wait(), of any number of runs with one thread.
  static void wait(const Run&, std::stop_token, Done);
  /// As Run::wait_success(), of any number of runs with one thread.
  static void wait_success(const Run&, std::stop_token, Done);
};

}  // namespace spell
