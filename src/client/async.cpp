#include <atomic>
#include <optional>

#include "base/error.hpp"
#include "client/connection.hpp"
#include "client/run_poll.hpp"
#include "spell/async_calls.hpp"

namespace spell {

using detail::Connection;

namespace {

/// Begun by who comes first: a thread of the pool's, or the stop.
struct Job {
  std::function<void(bool canceled)> call;
  std::atomic<bool> begun = false;
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
  void begin(bool canceled) {
    if (!begun.exchange(true)) std::exchange(call, nullptr)(canceled);
  }
};

/// Once the call has begun the pool may be gone.
void carry_out(base::Pool& pool, std::stop_token stop, std::function<void(bool canceled)> call) {
  auto job = std::make_shared<Job>();
  job->call = std::move(call);
  pool.post([job] { job->begin(false); });
  job->on_stop.emplace(std::move(stop), [weak = std::weak_ptr(job)] {
    if (auto there = weak.lock()) there->begin(true);
  });
}

}  // namespace

void AsyncCalls::in_background(const std::shared_ptr<Connection>& connection, Length length,
                               std::stop_token stop, std::function<void(bool canceled)> call) {
  carry_out(length == Length::brief ? connection->brief() : connection->blocking(), std::move(stop),
            std::move(call));
}

void AsyncCalls::wait(const Run& run, std::stop_token stop, Done done) {
  run.connection()->watcher().wait(run.id(), std::move(stop), std::move(done));
}

void AsyncCalls::wait_success(const Run& run, std::stop_token stop, Done done) {
  // Nothing here may be the last to hold the connection: its threads would end themselves.
  auto look = [connection = std::weak_ptr(run.connection()), id = run.id(), stop,
               done = std::move(done)](Result<RunInfo> info) mutable {
    if (!info || detail::is_success(*info)) return done(std::move(info));
    auto held = connection.lock();
    if (!held) return done(std::move(info));
    auto& pool = held->brief();
    auto tell = [held = std::move(held), id, stop, info = std::move(info),
                 done = std::move(done)](bool canceled) mutable {
      if (canceled) {
        info = base::error("canceled", "the wait was canceled");
      } else {
        detail::Limit limit({.timeout = {}, .stop = stop}, held->waiter());
        info = detail::successful(Run(held, id), info, limit);
      }
      held.reset();
      done(std::move(info));
    };
    carry_out(pool, stop, std::move(tell));
  };
  run.connection()->watcher().wait(run.id(), stop, std::move(look));
}

}  // namespace spell
