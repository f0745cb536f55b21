// Halting a run: SIGSTOP to all that descends from its init, until nothing new appears and all of
// it stands still. A parent that is halted makes no more children, so this comes to an end.
#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "exec/spool.hpp"
#include "exec/supervised.hpp"

namespace spell::exec {

namespace {

constexpr std::int64_t freeze_patience_ns = 1'000'000'000, pause_ns = 1'000'000;

struct Process {
  char state = 0;
  int parent = 0;
  std::string start{};  ///< with the id it names a process for good
};

std::optional<Process> read_process(const std::string& stat_file) {
  auto text = base::read_file(stat_file, 1 << 16);
  auto behind = text ? text->rfind(')') : std::string::npos;
  if (behind == std::string::npos || behind + 2 >= text->size()) return std::nullopt;
  Process out;
  std::size_t at = behind + 2;
  for (int field = 3; field <= 22 && at < text->size(); ++field) {
    auto end = std::min(text->find(' ', at), text->size());
    auto word = text->substr(at, end - at);
    if (field == 3) out.state = word[0];
    if (field == 4) out.parent = std::atoi(word.c_str());
    if (field == 22) out.start = word;
    at = end + 1;
  }
  return out;
}

std::vector<int> numbers_in(const std::string& folder) {
  std::vector<int> out;
  std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), ::closedir);
  while (dirent* entry = open ? ::readdir(open.get()) : nullptr)
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') out.push_back(std::atoi(entry->d_name));
  return out;
}

/// Those below `top`, not itself.
std::map<int, Process> tree_below(int top) {
  std::map<int, Process> all, out;
  for (int id : numbers_in("/proc"))
    if (auto process = read_process("/proc/" + std::to_string(id) + "/stat"))
      all.emplace(id, *process);
  for (auto& [id, process] : all) {
    int above = process.parent;
    for (int depth = 0; above > 1 && above != top && depth < 10'000; ++depth) {
      auto found = all.find(above);
      above = found == all.end() ? 0 : found->second.parent;
    }
    if (above == top) out.emplace(id, process);
  }
  return out;
}

bool is_over(char state) { return state == 'Z' || state == 'X'; }

enum class Still { yes, soon, no };

/// Whether all of its threads are; soon: one is inside of the kernel, and goes no further.
Still stands_still(int id) {
  Still out = Still::yes;
  std::string tasks = "/proc/" + std::to_string(id) + "/task";
  for (int thread : numbers_in(tasks)) {
    auto task = read_process(tasks + "/" + std::to_string(thread) + "/stat");
    if (!task || is_over(task->state) || task->state == 'T' || task->state == 't') continue;
    if (task->state != 'D') return Still::no;
    out = Still::soon;
  }
  return out;
}

/// False: it may not be halted.
bool halt(int id, const Process& process) {
  base::Fd held(static_cast<int>(::syscall(SYS_pidfd_open, id, 0)));
  auto now = read_process("/proc/" + std::to_string(id) + "/stat");
  if (!held || !now || now->start != process.start) return true;  // gone
  return ::syscall(SYS_pidfd_send_signal, held.get(), SIGSTOP, nullptr, 0) == 0 || errno == ESRCH;
}

}  // namespace

Result<> freeze(const std::string& folder) {
  auto lock = read_lock(folder);
  if (!lock) return lock.error();
  auto init =
      lock->init > 0 ? read_process("/proc/" + std::to_string(lock->init) + "/stat") : std::nullopt;
  if (!lock->held || lock->boot != base::boot_id() || !init ||
      init->start != std::to_string(lock->init_start))
    return base::error("run_not_running", "the run is not running");
  std::set<std::pair<int, std::string>> told;
  std::set<int> refused;
  for (std::int64_t until = base::boot_ns() + freeze_patience_ns;;) {
    bool still = true, soon = false;
    for (auto& [id, process] : tree_below(lock->init)) {
      // Other threads of a process may go on where its first has ended.
      if (refused.contains(id)) continue;
      auto stands = stands_still(id);
      soon = soon || stands == Still::soon;
      bool news = stands != Still::yes && told.emplace(id, process.start).second;
      if (stands == Still::no || news) still = false;
      if (news && !halt(id, process)) refused.insert(id);
    }
    if (still && !soon) break;
    if (base::boot_ns() >= until) {
      if (still) break;
      return base::error("not_permitted", "the run does not stand still");
    }
    timespec pause{0, pause_ns};
    ::nanosleep(&pause, nullptr);
  }
  if (refused.empty()) return ok();
  return base::error("not_permitted", "process " + std::to_string(*refused.begin()) +
                                          " of the run may not be halted");
}

}  // namespace spell::exec
