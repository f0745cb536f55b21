#include <dirent.h>
#include <poll.h>

#include <iostream>
#include <memory>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "commands.hpp"
#include "exec/supervised.hpp"
#include "say.hpp"
#include "state.hpp"
#include "unit.hpp"
#include "worker/joined.hpp"

namespace spell::worker_program {

namespace {

constexpr std::chrono::seconds daemon_limit{60};
constexpr int run_limit_ms = 30'000;  // without a word from its supervisor

/// Until no daemon works for a service any more.
Result<> wait_idle(const std::string& folder) {
  auto watch = Watch::open(folder);
  if (!watch) return watch.error();
  std::int64_t until = base::boot_ns() + std::chrono::nanoseconds(daemon_limit).count();
  for (;;) {
    auto state = read_status(folder).state;
    if (state == "waiting" || state == "stopped") return ok();
    std::int64_t left = (until - base::boot_ns()) / 1'000'000;
    if (left <= 0) return base::error("in_use", "the worker with " + folder + " does not let go");
    pollfd event{watch->fd(), POLLIN, 0};
    (void)::poll(&event, 1, static_cast<int>(left));
    watch->drain();
  }
}

void end_run(exec::Supervised& run) {
  using Phase = exec::State::Phase;
  (void)run.kill();
  for (;;) {
    auto state = run.state();
    if (!state || (state->phase != Phase::starting && state->phase != Phase::running)) return;
    pollfd event{run.event_fd(), POLLIN, 0};
    if (::poll(&event, 1, run_limit_ms) == 0) return;
  }
}

void end_runs(const std::string& folder) {
  std::string runs = folder + "/worker/runs";
  std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(runs.c_str()), ::closedir);
  while (dirent* entry = list ? ::readdir(list.get()) : nullptr)
    if (entry->d_name[0] != '.')
      if (auto run = exec::Supervised::attach(runs + "/" + entry->d_name)) end_run(*run);
}

Result<worker::Joined> leave_service(const Options& options) {
  auto folder = open_state_folder(options.state.empty() ? default_state_folder() : options.state);
  if (!folder) return folder.error();
  auto joined = worker::read_joined(*folder);
  bool damaged = !joined && joined.error().code() == "damaged";
  if (!joined && !damaged) return joined.error();
  if (joined && !*joined) return base::error("not_joined", "this machine has not joined a service");
  if (auto runs = count_runs(*folder); runs > 0 && !options.force)
    return base::error("runs_left",
                       std::to_string(runs) + (runs == 1 ? " run is" : " runs are") +
                           " here: `spell machine drain` and wait for the end, or --force: they "
                           "are killed, and what the service does not have of them is lost");
  SPELL_TRY(worker::forget_joined(*folder));
  if (has_unit(*folder)) SPELL_TRY(disable_unit());
  SPELL_TRY(wait_idle(*folder));
  end_runs(*folder);
  SPELL_TRY(base::remove_tree(*folder + "/worker"));
  return damaged ? worker::Joined() : std::move(**joined);
}

}  // namespace

int leave(const Options& options) {
  auto left = leave_service(options);
  if (!left) return fail(left.error(), options.json);
  if (options.json) {
    std::cout << nlohmann::json{{"machine", left->name}, {"url", left->url}}.dump() << std::endl;
    return 0;
  }
  std::cout << "Left " << left->url << ". There it is still listed: spell machine remove "
            << left->name << std::endl;
  return 0;
}

}  // namespace spell::worker_program
