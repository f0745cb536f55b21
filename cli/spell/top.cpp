#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "command.hpp"
#include "exit_status.hpp"
#include "interrupt.hpp"
#include "json_text.hpp"
#include "stats_table.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

constexpr int most_runs = 50;
constexpr std::chrono::seconds interval{2}, patience{3};

/// The figures of the runs that are watched, each by a thread.
class Board {
 public:
  explicit Board(std::stop_token stop) : on_stop_(stop, [this] { end_.request_stop(); }) {}
  ~Board() {
    end_.request_stop();
    for (auto& [run, figures] : figures_)
      if (figures.thread.joinable()) figures.thread.join();
  }

  /// Also again, where the figures have ended: the way to the run may have been lost for a moment.
  void watch(const Run& run) {
    std::unique_lock lock(mutex_);
    auto& figures = figures_[run.id()];
    if (figures.thread.joinable() && !figures.over) return;
    figures.over = false;
    lock.unlock();
    if (figures.thread.joinable()) figures.thread.join();
    figures.thread = std::thread([this, run, &figures] {
      for (auto& sample : run.stats({.interval = interval, .stop = end_.get_token()})) {
        std::lock_guard inner(mutex_);
        figures.stats = sample ? *sample : RunStats();
        figures.over = !sample;
        changed_.notify_all();
      }
    });
  }

  /// Until each of these runs has said something, or that takes too long.
  void wait_for_first(const std::vector<RunInfo>& runs) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] {
      return std::all_of(runs.begin(), runs.end(), [&](auto& run) {
        auto& figures = figures_[run.id];
        return figures.over || figures.stats.run != 0;
      });
    });
  }

  std::vector<Usage> usages(const std::vector<RunInfo>& runs) {
    std::vector<Usage> out;
    std::lock_guard lock(mutex_);
    for (auto& run : runs) out.push_back({run, figures_[run.id].stats});
    std::stable_sort(out.begin(), out.end(),
                     [](auto& a, auto& b) { return a.stats.cpu_millis > b.stats.cpu_millis; });
    return out;
  }

  /// False: it was interrupted.
  bool pause() {
    std::unique_lock lock(mutex_);
    std::condition_variable_any wait;
    wait.wait_for(lock, end_.get_token(), interval, [] { return false; });
    return !end_.stop_requested();
  }

 private:
  struct Figures {
    RunStats stats{};
    bool over = false;
    std::thread thread{};  ///< used by the one who watches
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::int64_t, Figures> figures_;  ///< they stay where they are
  std::stop_source end_;
  std::stop_callback<std::function<void()>> on_stop_;
};

}  // namespace

Result<int> top_command(Context& context) {
  Options options(
      "top", "[OPTIONS]",
      "Shows what the running runs use, the busiest first. On a terminal it goes on until "
      "^C; elsewhere once.");
  bool once = false;
  options.flag("--once", once, "only once, also on a terminal");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto& out = context.out;
  bool live = out.live() && !once;
  Interrupt interrupt;
  Board board(interrupt.token());
  for (;;) {
    auto listed = client->runs().list({.limit = 1000, .active_only = true}).all();
    if (!listed) return listed.error();
    std::vector<RunInfo> running;
    std::reverse(listed->begin(), listed->end());
    for (auto& run : *listed)
      if (run.status == RunStatus::running && running.size() < most_runs) running.push_back(run);
    for (auto& run : running) {
      auto handle = client->runs().get(run.id);
      if (handle) board.watch(*handle);
    }
    board.wait_for_first(running);
    auto usages = board.usages(running);
    if (out.json()) {
      std::vector<RunStats> stats;
      for (auto& usage : usages)
        if (usage.stats.run != 0) stats.push_back(usage.stats);
      out.json_line(json_text("stats", stats));
    } else if (out.quiet()) {
      for (auto& usage : usages) out.line(std::to_string(usage.run.id));
    } else {
      if (live) out.write("\x1b[H\x1b[J");
      out.line(count(static_cast<std::int64_t>(running.size()), "run") + " of " +
               std::to_string(listed->size()) + " unfinished " +
               (running.size() == 1 ? "is running" : "are running"));
      if (!usages.empty()) out.table(usage_table(usages, true));
    }
    if (!live) return 0;
    if (!board.pause()) return interrupted_status;
  }
}

}  // namespace spell::cli
