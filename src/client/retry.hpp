// What is done about a failure: the policy, without sockets, clocks or sleeps of its own.
//
//   503 shutting_down, overloaded   nothing was done     wait, again
//   429 that says how long          nothing was done     wait so long, again
//   service_unreachable             nothing was sent     start the personal service; else, once it
//                                                        had been reached, wait
//   connection_lost                 may have been done   again where the call is repeatable
//   anything else                                        final
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "net/http.hpp"
#include "spell/options.hpp"
#include "spell/result.hpp"

namespace spell::detail {

using namespace std::chrono_literals;
using Moment = std::chrono::steady_clock::time_point;

/// Time, as the client sees it. Thread-safe.
struct Waiter {
  virtual ~Waiter() = default;
  virtual Moment now() = 0;
  /// Error `canceled` as soon as `stop` says so.
  virtual Result<> sleep(std::chrono::milliseconds, const std::stop_token& stop) = 0;
  /// Of [0, 1).
  virtual double random() = 0;
};
std::shared_ptr<Waiter> make_waiter();

/// A call's options with its time limit as a moment, so that the parts of a call share it.
class Limit {
 public:
  Limit(const CallOptions&, Waiter&);
  /// What is left for the next part. Errors `timeout`, `canceled` where nothing is.
  Result<CallOptions> left() const;
  std::optional<std::chrono::milliseconds> time_left() const;
  const std::stop_token& stop() const { return stop_; }

 private:
  Waiter* waiter_;
  std::optional<Moment> end_;
  std::stop_token stop_;
};

enum class Remedy { none, wait, start };
struct Situation {
  bool repeatable = false;  ///< the call
  bool can_start = false;   ///< the service is a personal one that may be started
  bool reached = false;     ///< the service has answered this client before
  bool told_when = false;   ///< the answer says when to come again
};
Remedy remedy(const Error&, const Situation&);
/// An answer's `Retry-After`, where that is a number of seconds; a date counts as none.
std::optional<std::chrono::milliseconds> retry_after(const net::Headers&);

/// So long a failure is worth trying again, where the call has no limit of its own.
inline constexpr std::chrono::milliseconds longest_outage = 30s;

/// Pauses that grow from 20 ms to 2 s, each between half and all of its length, until 30 s after
/// the first failure.
class Backoff {
 public:
  /// Nothing: it has been tried long enough.
  std::optional<std::chrono::milliseconds> next(Moment now, double random);
  /// Things work again.
  void reset() { *this = {}; }

 private:
  std::optional<Moment> first_;
  std::chrono::milliseconds length_ = 20ms;
};

}  // namespace spell::detail
