#include "client/connection.hpp"
#include "client/run_poll.hpp"
#include "spell/async_calls.hpp"

namespace spell {

using detail::Connection;

void AsyncCalls::in_background(const std::shared_ptr<Connection>& connection,
                               std::function<void()> job) {
  connection->background().post(std::move(job));
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
    auto& pool = held->background();
    pool.post([held = std::move(held), id, stop, info = std::move(info),
               done = std::move(done)]() mutable {
      CallOptions options;
      options.stop = stop;
      info = detail::successful(Run(std::move(held), id), info, options);
      done(std::move(info));
    });
  };
  run.connection()->watcher().wait(run.id(), stop, std::move(look));
}

}  // namespace spell
