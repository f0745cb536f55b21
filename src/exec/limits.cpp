#include "exec/limits.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/id.hpp"
#include "base/text.hpp"

namespace spell::exec {

namespace {

constexpr std::int64_t file_limit = 1 << 20, period_us = 100'000;
constexpr std::int64_t end_patience_ns = 2'000'000'000;
/// Of v2: a group with groups below it that limit has no processes of its own. Whoever has to make
/// room for them goes here.
constexpr std::string_view beside = "/spell";

bool has_word(const std::string& text, std::string_view word, char separator) {
  auto words = base::split(base::trim(text), separator);
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// Where a hierarchy is mounted, and which part of it.
struct Mounted {
  std::string at, root;
};

std::vector<Mounted> find_mounts(const std::string& mountinfo, std::string_view type,
                                 std::string_view controller) {
  std::vector<Mounted> out;
  for (auto& line : base::split(mountinfo, '\n')) {
    auto middle = line.find(" - ");
    if (middle == std::string::npos) continue;
    auto before = base::split(line, ' ');
    auto behind = base::split(std::string_view(line).substr(middle + 3), ' ');
    if (before.size() < 5 || behind.size() < 3 || behind[0] != type) continue;
    if (!controller.empty() && !has_word(behind[2], controller, ',')) continue;
    out.push_back({before[4], before[3]});
  }
  return out;
}

/// The folder of a group, where one of the mounts shows it; else "".
std::string folder_of(const std::vector<Mounted>& mounts, const std::string& path) {
  for (auto& mount : mounts) {
    auto root = mount.root == "/" ? std::string() : mount.root;
    bool there = path.starts_with(root) &&
                 (path.size() == root.size() || path[root.size()] == '/') &&
                 path.find("/..") == std::string::npos;
    if (!there) continue;
    auto below = path.substr(root.size());
    return below == "/" ? mount.at : mount.at + below;
  }
  return {};
}

GroupPlace find_place(const std::string& cgroup, const std::string& mountinfo,
                      std::string_view controller) {
  GroupPlace out;
  std::optional<std::string> own, unified;  // paths
  for (auto& line : base::split(cgroup, '\n')) {
    auto first = line.find(':'),
         second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    auto controllers = line.substr(first + 1, second - first - 1);
    if (has_word(controllers, controller, ',')) own = line.substr(second + 1);
    if (controllers.empty()) unified = line.substr(second + 1);
  }
  // A controller is in one hierarchy: that of v2 has what no mounted one of v1 has.
  if (own) out.folder = folder_of(find_mounts(mountinfo, "cgroup", controller), *own);
  if (out.folder.empty() && unified) {
    out.folder = folder_of(find_mounts(mountinfo, "cgroup2", {}), *unified);
    out.unified = !out.folder.empty();
    out.top = out.unified && (*unified == "/" || *unified == beside);
    // This process has made room for groups before.
    if (out.unified && out.folder.ends_with(beside))
      out.folder.resize(out.folder.size() - beside.size());
    auto controllers = out.unified ? base::read_file(out.folder + "/cgroup.controllers", file_limit)
                                   : Result<std::string>(std::string());
    if (out.unified && !(controllers && has_word(*controllers, controller, ' ')))
      out.folder.clear();
  }
  if (out.folder.empty()) {
    out.why_not = "no control groups with the controller '" + std::string(controller) +
                  "' are to be had here";
  } else if (::access(out.folder.c_str(), W_OK) != 0) {
    out.why_not = "cannot make a control group in " + out.folder + ": " + std::strerror(errno);
    out.folder.clear();
  }
  return out;
}

/// Without O_CREAT the kernel's files and those of a test would not behave alike: the kernel
/// refuses to make any.
Result<> set(const std::string& path, std::string_view value) {
  auto file = base::open(path, O_WRONLY | O_CREAT);
  if (!file) return file.error();
  if (::write(file->get(), value.data(), value.size()) == static_cast<ssize_t>(value.size()))
    return ok();
  return base::errno_error("write " + path);
}

Result<> set_number(const std::string& path, std::int64_t value) {
  return set(path, std::to_string(value));
}

bool is_alone(const std::string& folder, pid_t process) {
  auto inside = base::read_file(folder + "/cgroup.procs", file_limit);
  return inside && base::trim(*inside) == std::to_string(process);
}

/// Of v2: groups below this one may be limited by the controller.
Result<> pass_on(const std::string& folder, const std::string& controller, pid_t process) {
  std::string path = folder + "/cgroup.subtree_control";
  auto passed = base::read_file(path, file_limit);
  if (!passed) return passed.error();
  if (has_word(*passed, controller, ' ')) return ok();
  auto file = base::open(path, O_WRONLY);
  if (!file) return file.error();
  auto add = [&, word = "+" + controller] {
    return ::write(file->get(), word.data(), word.size()) == static_cast<ssize_t>(word.size());
  };
  if (add()) return ok();
  if (errno != EBUSY) return base::errno_error("write " + path);
  if (process == 0 || !is_alone(folder, process))
    return base::error("in_use", "the control group " + folder + " has other processes");
  std::string room = folder + std::string(beside);
  if (::mkdir(room.c_str(), 0755) != 0 && errno != EEXIST)
    return base::errno_error("make the control group " + room);
  SPELL_TRY(set_number(room + "/cgroup.procs", process));
  return add() ? ok() : Result<>(base::errno_error("write " + path));
}

Result<> limit_memory(const std::string& folder, bool unified, std::int64_t bytes) {
  if (unified) {
    SPELL_TRY(set_number(folder + "/memory.max", bytes));
    // Not every kernel counts swap.
    (void)set(folder + "/memory.swap.max", "0");
    return set(folder + "/memory.oom.group", "1");
  }
  SPELL_TRY(set_number(folder + "/memory.limit_in_bytes", bytes));
  (void)set_number(folder + "/memory.memsw.limit_in_bytes", bytes);
  return ok();
}

Result<> limit_cpu(const std::string& folder, bool unified, std::int64_t cpus) {
  auto quota = cpus * period_us;
  if (unified)
    return set(folder + "/cpu.max", std::to_string(quota) + " " + std::to_string(period_us));
  SPELL_TRY(set_number(folder + "/cpu.cfs_period_us", period_us));
  return set_number(folder + "/cpu.cfs_quota_us", quota);
}

/// One that an earlier attempt has left empty makes room.
Result<> make_folder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0755) == 0) return ok();
  if (errno == EEXIST && ::rmdir(folder.c_str()) == 0 && ::mkdir(folder.c_str(), 0755) == 0)
    return ok();
  return base::errno_error("make the control group " + folder);
}

std::string record_of(const std::string& run_folder) { return run_folder + "/groups"; }

std::vector<std::string> recorded(const std::string& run_folder) {
  auto record = base::read_file(record_of(run_folder), file_limit);
  if (!record || record->empty()) return {};
  return base::split(base::trim(*record), '\n');
}

/// Kills what is in it, and waits until that is gone.
void empty_group(const std::string& folder) {
  for (auto until = base::boot_ns() + end_patience_ns; base::boot_ns() < until;) {
    auto inside = base::read_file(folder + "/cgroup.procs", file_limit);
    if (!inside || base::trim(*inside).empty()) return;
    std::vector<base::Fd> ended;
    for (auto& line : base::split(base::trim(*inside), '\n')) {
      auto process = static_cast<pid_t>(base::parse_int(line).value_or(0));
      if (process <= 1) return;  // of another namespace, whose ends are not ours to wait for
      base::Fd held(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
      if (held && ::syscall(SYS_pidfd_send_signal, held.get(), SIGKILL, nullptr, 0) == 0)
        ended.push_back(std::move(held));
    }
    for (auto& process : ended) {
      pollfd file{process.get(), POLLIN, 0};
      auto left = (until - base::boot_ns()) / 1'000'000;
      ::poll(&file, 1, left > 0 ? static_cast<int>(left) : 0);
    }
  }
}

}  // namespace

Limits limits_that_bind(const Limits& wanted) {
  Limits out = wanted;
  struct sysinfo info {};
  if (::sysinfo(&info) == 0 &&
      out.memory >= static_cast<std::int64_t>(info.totalram) * info.mem_unit)
    out.memory = 0;
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (::sched_getaffinity(0, sizeof usable, &usable) == 0 && out.cpus >= CPU_COUNT(&usable))
    out.cpus = 0;
  return out;
}

GroupPlaces find_groups(const std::string& process_folder) {
  auto cgroup = base::read_file(process_folder + "/cgroup", file_limit),
       mountinfo = base::read_file(process_folder + "/mountinfo", 16 * file_limit);
  GroupPlaces out;
  for (auto* place : {&out.memory, &out.cpu}) {
    if (cgroup && mountinfo)
      *place = find_place(*cgroup, *mountinfo, place == &out.memory ? "memory" : "cpu");
    else
      place->why_not = (cgroup ? mountinfo : cgroup).error().message();
  }
  return out;
}

GroupsMade make_groups(const GroupPlaces& places, const std::string& name, const Limits& limits,
                       const std::string& run_folder, pid_t process) {
  GroupsMade out;
  struct Wanted {
    const GroupPlace& place;
    std::int64_t limit;
    const char* controller;
    Result<> (*apply)(const std::string&, bool, std::int64_t);
    std::string& why_not;
  } wanted[] = {{places.memory, limits.memory, "memory", limit_memory, out.no_memory},
                {places.cpu, limits.cpus, "cpu", limit_cpu, out.no_cpu}};
  for (auto& folder : recorded(run_folder)) ::rmdir(folder.c_str());
  std::string record;
  for (auto& [place, limit, controller, apply, why_not] : wanted) {
    if (limit <= 0) continue;
    why_not = place.why_not;
    std::string folder = place.folder + "/" + name, line = folder + "\n";
    if (!why_not.empty() || record.find(line) != std::string::npos) continue;
    record += line;
  }
  if (record.empty()) return out;
  auto written = base::write_file(record_of(run_folder), record, 0600, false);
  for (auto& [place, limit, controller, apply, why_not] : wanted) {
    if (limit <= 0 || !why_not.empty()) continue;
    std::string folder = place.folder + "/" + name;
    bool known = std::find(out.folders.begin(), out.folders.end(), folder) != out.folders.end();
    auto make = [&]() -> Result<> {
      if (!written) return written.error();
      if (place.unified) SPELL_TRY(pass_on(place.folder, controller, process));
      if (!known) SPELL_TRY(make_folder(folder));
      auto applied = apply(folder, place.unified, limit);
      if (!applied && !known) ::rmdir(folder.c_str());
      return applied;
    };
    if (auto made = make(); !made)
      why_not = made.error().message();
    else if (!known)
      out.folders.push_back(folder);
  }
  return out;
}

void remove_groups(const std::string& run_folder) {
  for (auto& folder : recorded(run_folder)) {
    if (::rmdir(folder.c_str()) == 0 || errno != EBUSY) continue;
    empty_group(folder);
    ::rmdir(folder.c_str());
  }
}

std::string why_no_limits(bool scopes) {
  auto places = find_groups("/proc/self");
  // In a scope there is a group that is the run's alone.
  if (!places.memory.why_not.empty() || (scopes && places.memory.unified))
    return places.memory.why_not;
  std::string folder = places.memory.folder + "/spell-probe-" + base::Id::make().text();
  if (places.memory.unified) {
    auto passed = pass_on(places.memory.folder, "memory", places.memory.top ? ::getpid() : 0);
    if (!passed) return passed.error().message();
  }
  auto made = make_folder(folder);
  if (made) made = limit_memory(folder, places.memory.unified, 1 << 30);
  ::rmdir(folder.c_str());
  return made ? "" : made.error().message();
}

std::string not_limited(const GroupsMade& made) {
  std::string rest = "not limited on this machine: ";
  if (!made.no_memory.empty() && !made.no_cpu.empty())
    return "memory and cores are " + rest + made.no_memory;
  if (!made.no_memory.empty()) return "memory is " + rest + made.no_memory;
  return made.no_cpu.empty() ? "" : "cores are " + rest + made.no_cpu;
}

}  // namespace spell::exec
