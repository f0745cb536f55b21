#include "runs.hpp"

#include <dirent.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "base/file.hpp"
#include "base/id.hpp"
#include "exec/spool.hpp"
#include "model/log.hpp"
#include "proc/spawn.hpp"

namespace spell::exec::testing {

namespace {

constexpr auto patience = std::chrono::seconds(60);

/// Waits for the next event of a run that goes on; false when it is over.
bool next_event(Supervised& run, std::chrono::steady_clock::time_point until) {
  if (run.event_fd() < 0) return false;
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                  until - std::chrono::steady_clock::now())
                  .count();
  pollfd file{run.event_fd(), POLLIN, 0};
  int ready = ::poll(&file, 1, left > 0 ? static_cast<int>(left) : 0);
  if (ready == 0) FAIL("the run does nothing any more");
  return true;
}

template <class Wanted>
bool await(Supervised& run, Wanted wanted) {
  auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto state = run.state();
    if (!state) FAIL(state.error().message());
    if (wanted(*state)) return true;
    if (!next_event(run, until)) return false;
  }
}

}  // namespace

Scratch::Scratch() {
  path_ = "/tmp/spell-exec-" + base::Id::make().text();
  REQUIRE(base::make_folders(path_).ok());
}
Scratch::~Scratch() { (void)base::remove_tree(path_); }

std::string Scratch::run_folder(const std::string& name) {
  auto folder = path_ + "/" + name;
  REQUIRE(base::make_folders(folder + "/spell").ok());
  REQUIRE(base::make_folders(folder + "/tmp").ok());
  return folder;
}

std::string supervisor_program() { return SPELL_BINARY_DIR "/bin/spell-supervisor"; }

const std::vector<Containment>& levels() {
  static const std::vector<Containment> found = [] {
    std::vector<Containment> out;
    std::vector<Containment> tried = {Containment::user_namespaces};
    if (::geteuid() == 0) tried.insert(tried.begin(), Containment::namespaces);
    for (auto level : tried) {
      Scratch scratch;
      auto state = run(launch(scratch.run_folder(), ":", level));
      if (state.containment == name_of(level))
        out.push_back(level);
      else
        WARN("not tested here: " << name_of(level) << " (" << state.containment << ")");
    }
    out.push_back(Containment::best_effort);
    return out;
  }();
  return found;
}

std::vector<Containment> fences() {
  std::vector<Containment> out;
  for (auto level : levels())
    if (level != Containment::best_effort) out.push_back(level);
  return out;
}

Launch launch(const std::string& folder, const std::string& command, Containment level) {
  Launch out;
  out.run_id = base::Id::make().text();
  out.supervisor = supervisor_program();
  out.folder = folder;
  out.containment = level;
  out.command = command;
  out.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"};
  return out;
}

Supervised start(const Launch& launch) {
  auto run = Supervised::start(launch);
  if (!run) FAIL(run.error().message());
  return std::move(*run);
}

State finish(Supervised& run) {
  await(run, [](const State&) { return false; });
  return *run.state();
}

bool await_state(Supervised& run, bool (*wanted)(const State&)) { return await(run, wanted); }

bool await_output(Supervised& run, const std::string& folder, const std::string& text) {
  return await(run, [&](const State& state) {
    return state.output_bytes > 0 && output_of(folder).all.find(text) != std::string::npos;
  });
}

State run(const Launch& launch) {
  auto run = start(launch);
  return finish(run);
}

Output output_of(const std::string& folder) {
  Output out;
  auto bytes = base::read_file(folder + "/spool", 1LL << 30);
  if (!bytes) FAIL(bytes.error().message());
  model::FrameParser parser;
  parser.feed(*bytes);
  for (;;) {
    auto frame = parser.next();
    if (!frame) FAIL(frame.error().message());
    if (!*frame) return out;
    auto& [header, payload] = **frame;
    out.gapless = out.gapless && header.sequence == out.all.size();
    ++out.frames;
    if (header.kind != model::FrameKind::output) continue;
    out.all += payload;
    if (header.flags & model::frame_stderr) out.errors += payload;
  }
}

int processes_with(const std::string& text) {
  int count = 0;
  DIR* processes = ::opendir("/proc");
  REQUIRE(processes);
  while (dirent* entry = ::readdir(processes)) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    auto arguments = base::read_file(std::string("/proc/") + entry->d_name + "/cmdline");
    if (arguments && arguments->find(text) != std::string::npos) ++count;
  }
  ::closedir(processes);
  return count;
}

std::string unique_sleep() {
  static int count = 0;
  return "1" + std::to_string(::getpid()) + "." + std::to_string(++count) + "7";
}

int supervisor_pid(const std::string& folder) {
  auto lock = read_lock(folder);
  if (!lock) FAIL(lock.error().message());
  return lock->pid;
}

int run_program(const std::vector<std::string>& arguments) {
  proc::SpawnOptions options;
  options.arguments = arguments;
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  options.descriptors = {{1, 1}, {2, 2}};
  auto process = proc::spawn(options);
  if (!process) return 127;
  int status = 0;
  ::waitpid(*process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string self() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  return {path, n > 0 ? static_cast<std::size_t>(n) : 0};
}

}  // namespace spell::exec::testing
