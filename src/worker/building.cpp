#include "worker/building.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "model/image.hpp"

namespace spell::worker {

const model::ResolvedMount* mount_at(const model::StartCommand& start, std::string_view at) {
  for (auto& mount : start.mounts)
    if (mount.at == at) return &mount;
  return nullptr;
}

bool finds_data(const model::StartCommand& start) {
  auto image = mount_at(start, model::image_source) ? 1 : 0;  // that is for its environment
  return std::ssize(start.mounts) > image || !start.restore.empty();
}

Error no_build(const std::string& why) { return base::error("build_failed", why); }

std::int64_t build_limit_of(const model::StartCommand& start) {
  constexpr std::int64_t most = 3600;
  std::int64_t own = start.request.timeout.value_or(0);
  return own > 0 ? std::min(own, most) : most;
}

Result<exec::State> await_build(exec::Supervised& build, const std::vector<std::string>& makes,
                                const std::stop_token& stop,
                                const std::function<void(const exec::State&)>& news) {
  using Phase = exec::State::Phase;
  base::Fd told(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!told) return base::errno_error("wait for a build");
  std::stop_callback tell(stop, [&] {
    std::uint64_t one = 1;
    (void)!::write(told.get(), &one, sizeof one);
  });
  bool killed = false;
  for (;;) {
    if (stop.stop_requested() && !std::exchange(killed, true)) SPELL_TRY(build.kill());
    auto state = build.state();
    if (!state) return state;
    if (news) news(*state);
    if (state->phase != Phase::starting && state->phase != Phase::running) return state;
    if (state->log_full && state->command_ended)
      for (auto& made : makes) (void)base::remove_tree(made);
    pollfd fds[] = {{build.event_fd(), POLLIN, 0}, {killed ? -1 : told.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return base::errno_error("wait for a build");
  }
}

Result<> end_earlier_build(const std::string& place, const std::vector<std::string>& makes) {
  auto before = exec::Supervised::attach(place);
  if (!before && before.error().code() != "not_found") return before.error();
  if (before) {
    SPELL_TRY(before->kill());
    if (auto ended = await_build(*before, makes, {}); !ended) return ended.error();
  }
  return base::remove_tree(place);
}

bool stops_soon(const std::stop_token& stop) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any told;
  told.wait_for(lock, stop, std::chrono::seconds(30), [] { return false; });
  return stop.stop_requested();
}

std::string how_it_ended(const std::optional<exec::Exit>& exit, const model::StartCommand& start) {
  if (!exit) return "its supervisor was lost";
  if (!exit->error.empty()) return exit->error;
  if (exit->ended_by == "timeout")
    return "it took longer than " + std::to_string(build_limit_of(start)) + " s";
  return "exit code " + std::to_string(exit->code.value_or(-1));
}

}  // namespace spell::worker
