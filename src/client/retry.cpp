#include "client/retry.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>

#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::detail {

namespace {

class SystemWaiter : public Waiter {
 public:
  Moment now() override { return std::chrono::steady_clock::now(); }
  Result<> sleep(std::chrono::milliseconds time, const std::stop_token& stop) override {
    std::mutex mutex;
    std::condition_variable_any woken;
    std::unique_lock lock(mutex);
    woken.wait_for(lock, stop, time, [] { return false; });
    if (stop.stop_requested()) return base::error("canceled", "the call was canceled");
    return ok();
  }
  double random() override {
    std::lock_guard lock(mutex_);
    return std::uniform_real_distribution<double>(0, 1)(engine_);
  }

 private:
  std::mutex mutex_;
  std::minstd_rand engine_{std::random_device{}()};
};

constexpr std::chrono::milliseconds longest_pause = 2s;

}  // namespace

std::shared_ptr<Waiter> make_waiter() { return std::make_shared<SystemWaiter>(); }

Limit::Limit(const CallOptions& options, Waiter& waiter) : waiter_(&waiter), stop_(options.stop) {
  // A limit beyond the clock's range is none.
  if (options.timeout && *options.timeout < 24h * 365 * 100) end_ = waiter.now() + *options.timeout;
}

std::optional<std::chrono::milliseconds> Limit::time_left() const {
  if (!end_) return std::nullopt;
  return std::max(0ms, std::chrono::ceil<std::chrono::milliseconds>(*end_ - waiter_->now()));
}

Result<CallOptions> Limit::left() const {
  if (stop_.stop_requested()) return base::error("canceled", "the call was canceled");
  CallOptions options{.timeout = time_left(), .stop = stop_};
  if (options.timeout && *options.timeout == 0ms)
    return base::error("timeout", "there was no answer in time");
  return options;
}

Remedy remedy(const Error& error, const Situation& situation) {
  if (error.http_status() == 503) return Remedy::wait;
  if (error.http_status() == 429 && situation.told_when) return Remedy::wait;
  if (error.http_status() != 0) return Remedy::none;
  if (error.code() == "service_unreachable") {
    if (situation.can_start) return Remedy::start;
    return situation.reached ? Remedy::wait : Remedy::none;
  }
  if (error.code() == "connection_lost" && situation.repeatable) return Remedy::wait;
  return Remedy::none;
}

std::optional<std::chrono::milliseconds> retry_after(const net::Headers& headers) {
  constexpr std::int64_t longest = 365 * 24 * 3600;
  auto seconds = base::parse_int(net::find_header(headers, "Retry-After"));
  if (!seconds || *seconds < 0) return std::nullopt;
  return std::chrono::seconds(std::min(*seconds, longest));
}

std::optional<std::chrono::milliseconds> Backoff::next(Moment now, double random) {
  if (!first_) first_ = now;
  if (now - *first_ >= longest_outage) return std::nullopt;
  auto pause = std::chrono::duration_cast<std::chrono::milliseconds>(length_ * (0.5 + random / 2));
  length_ = std::min(length_ * 2, longest_pause);
  return pause;
}

}  // namespace spell::detail
