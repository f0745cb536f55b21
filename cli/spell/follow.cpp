#include "follow.hpp"

#include <condition_variable>
#include <mutex>

#include "exit_status.hpp"
#include "follow_view.hpp"
#include "interrupt.hpp"
#include "json_text.hpp"

namespace spell::cli {

namespace {

/// Tells a view why its run waits. The reason is no part of the log, so it comes by a second
/// connection, which is opened only when the run has not begun after a moment.
class WaitingReason {
 public:
  WaitingReason(const Run& run, FollowView& view, std::mutex& view_mutex)
      : thread_([=, &view, &view_mutex](std::stop_token stop) {
          watch(run, view, view_mutex, stop);
        }) {}

  void end() { thread_.request_stop(); }

 private:
  static void watch(const Run& run, FollowView& view, std::mutex& view_mutex,
                    std::stop_token stop) {
    try {
      tell(run, view, view_mutex, stop);
    } catch (const OutputClosed&) {  // the thread that shows the log finds out by itself
    } catch (const Error&) {
    }
  }

  static void tell(const Run& run, FollowView& view, std::mutex& view_mutex, std::stop_token stop) {
    using namespace std::chrono_literals;
    std::mutex mutex;
    std::condition_variable_any moment;
    std::unique_lock lock(mutex);
    moment.wait_for(lock, stop, 200ms, [] { return false; });
    CallOptions options;
    options.stop = stop;
    for (auto info = run.info(options); info && !stop.stop_requested();
         info = run.wait_change(*info, options)) {
      if (!(info->status == RunStatus::machine_requested)) return;
      std::lock_guard hold(view_mutex);
      if (!stop.stop_requested()) view.waiting(info->reason);
    }
  }

  std::jthread thread_;
};

}  // namespace

// The log goes on with that of the run's successor; each run has a view of its own.
Result<int> follow(Output& out, const Run& first, const FollowOptions& options) {
  Interrupt interrupt;
  Run run = first;
  std::optional<FollowView> view(std::in_place, out, options.all);
  std::mutex view_mutex;
  std::optional<WaitingReason> reason;

  LogOptions log_options;
  log_options.follow = options.to_the_end;
  log_options.tail = options.tail;
  log_options.raw = !out.json();
  log_options.stop = interrupt.token();
  auto log = run.logs(log_options);
  for (auto& entry : log) {
    if (!entry) {
      if (!interrupt.happened()) return entry.error();
      break;
    }
    if (entry->run != run.id()) {
      reason.reset();
      auto before = run.info();
      if (!before) return before.error();
      view->finished(*before);
      view.emplace(out, options.all);
      run = Run(run.connection(), entry->run);
    }
    std::lock_guard hold(view_mutex);
    view->entry(*entry);
    if (view->queued() && options.to_the_end && !reason && !out.json())
      reason.emplace(run, *view, view_mutex);
    if (!view->queued() && reason) reason->end();
  }
  reason.reset();
  if (interrupt.happened()) {
    view->interrupted(run.id());
    return interrupted_status;
  }
  auto info = options.to_the_end ? run.wait() : run.info();  // that of the chain's end
  if (!info) return info.error();
  if (!info->status.is_final()) {
    view->leave();
    return 0;
  }
  if (options.to_the_end || !out.json()) view->finished(*info);
  return options.to_the_end ? exit_status(*info) : 0;
}

}  // namespace spell::cli
