#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mutex>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/pipe.hpp"
#include "base/text.hpp"
#include "client/connection.hpp"
#include "client/service_control.hpp"
#include "model/run.hpp"
#include "proc/spawn.hpp"

extern char** environ;

namespace spell::detail {

namespace {

constexpr auto start_limit = 15s;
constexpr int start_attempts = 3;

bool is_program(const std::string& path) { return ::access(path.c_str(), X_OK) == 0; }

std::string personal_folder(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

std::string own_program() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  return n > 0 && static_cast<std::size_t>(n) < sizeof path
             ? std::string(path, static_cast<std::size_t>(n))
             : std::string();
}

std::string own_library() {
  Dl_info info{};
  static const char anchor = 0;
  return ::dladdr(&anchor, &info) != 0 && info.dli_fname ? info.dli_fname : "";
}

Result<std::string> find_spelld(const std::string& given) {
  if (!given.empty()) {
    if (is_program(given)) return given;
    return base::error("invalid_configuration",
                       "there is no program " + given + " (option spelld)");
  }
  for (auto& beside : {personal_folder(own_program()), personal_folder(own_library())}) {
    if (beside.empty()) continue;
    for (auto& path : {beside + "/spelld", beside + "/../bin/spelld", beside + "/../../bin/spelld"})
      if (is_program(path)) return path;
  }
  for (char** variable = environ; variable && *variable; ++variable) {
    if (std::string_view(*variable).substr(0, 5) != "PATH=") continue;
    for (auto& folder : base::split(*variable + 5, ':'))
      if (!folder.empty() && is_program(folder + "/spelld")) return folder + "/spelld";
  }
  return base::error("service_unreachable",
                     "the personal service does not run, and its program spelld is neither beside "
                     "this one nor in PATH");
}

/// What comes until the other end is closed, at most a few lines.
Result<std::string> read_to_end(int fd, const Limit& limit) {
  auto alarm = base::make_pipe();
  if (!alarm) return alarm.error();
  std::stop_callback wake(limit.stop(), [&] { (void)!::write(alarm->write.get(), "", 1); });
  std::string text;
  for (;;) {
    auto left = limit.left();
    if (!left) return left.error();
    pollfd waiting[] = {{fd, POLLIN, 0}, {alarm->read.get(), POLLIN, 0}};
    if (::poll(waiting, 2, static_cast<int>(left->timeout.value_or(start_limit).count())) <= 0)
      continue;
    if (!waiting[0].revents) continue;
    char buffer[4096];
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || text.size() > 65536) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

/// The last line of a file that may be long; "" if there is none.
std::string last_line(const std::string& path) {
  auto file = base::open(path, O_RDONLY);
  if (!file) return {};
  std::int64_t size = ::lseek(file->get(), 0, SEEK_END);
  char buffer[2048];
  auto n = base::pread_full(file->get(), buffer, sizeof buffer,
                            std::max<std::int64_t>(0, size - std::int64_t{sizeof buffer}));
  if (!n) return {};
  std::string_view text = base::trim(std::string_view(buffer, *n));
  auto newline = text.rfind('\n');
  return base::to_utf8(newline == std::string_view::npos ? text : text.substr(newline + 1));
}

class PersonalService : public ServiceControl {
 public:
  PersonalService(base::SpellDirs dirs, std::string spelld)
      : dirs_(std::move(dirs)), spelld_(std::move(spelld)) {}
  ~PersonalService() override { reap(); }

  Result<> start(const Limit& limit) override {
    std::unique_lock lock(mutex_);
    reap();
    Result<std::string> said;
    // Who ends without a word was killed while it started, which need not happen again.
    for (int attempt = 0; attempt < start_attempts; ++attempt) {
      said = start_and_listen(limit);
      if (!said) return said.error();
      if (!said->empty()) break;
    }
    auto words = base::split(base::trim(*said), ' ');
    if (words[0] == "ready" || words[0] == "running") return ok();
    if (words[0] == "error" && words.size() > 2)
      return base::error(words[1], std::string(base::trim(*said)).substr(words[1].size() + 7));
    return failure("the personal service did not start");
  }

  std::int64_t holder() override {
    auto file = base::open(dirs_.lock, O_RDONLY);
    if (!file) return 0;
    // A shared lock, and only for this moment: a service that starts just now tries again.
    if (::flock(file->get(), LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) return 0;
    auto text = base::read_file(dirs_.lock, 4096);
    auto said = model::parse_json(text.value_or(""));
    return said ? member<std::int64_t>(*said, "pid").value_or(-1) : -1;
  }

  std::string log() const override { return dirs_.log; }

 private:
  Result<std::string> start_and_listen(const Limit& limit) {
    auto program = find_spelld(spelld_);
    if (!program) return program.error();
    auto ready = base::make_pipe();
    if (!ready) return ready.error();
    auto log = base::open(dirs_.log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (!log) return log.error();
    proc::SpawnOptions options;
    options.arguments = {*program,     "serve",      "--personal", "--spell-dir",
                         dirs_.config, "--ready-fd", "3"};
    for (char** variable = environ; variable && *variable; ++variable)
      options.environment.push_back(*variable);
    options.descriptors = {{log->get(), 1}, {log->get(), 2}, {ready->write.get(), 3}};
    options.folder = "/";
    options.new_session = true;
    auto pid = proc::spawn(options);
    if (!pid) return pid.error();
    started_.push_back(*pid);
    ready->write.reset();

    auto waiter = make_waiter();
    CallOptions own{.timeout = start_limit, .stop = limit.stop()};
    if (auto left = limit.time_left(); left && *left < start_limit) own.timeout = left;
    auto said = read_to_end(ready->read.get(), Limit(own, *waiter));
    if (!said && said.error().code() == "timeout" && *own.timeout == start_limit)
      return failure("the personal service was not ready within 15 s");
    return said;
  }

  Error failure(const std::string& what) const {
    std::string line = last_line(dirs_.log);
    return base::error(
        "service_unreachable",
        what + "; its log " + dirs_.log + (line.empty() ? " is empty" : " ends with: " + line));
  }

  /// A service that this process started and that has ended leaves no zombie.
  void reap() {
    std::erase_if(started_, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
  }

  base::SpellDirs dirs_;
  std::string spelld_;
  std::mutex mutex_;
  std::vector<pid_t> started_;
};

}  // namespace

std::shared_ptr<ServiceControl> make_personal_service(base::SpellDirs dirs, std::string spelld) {
  return std::make_shared<PersonalService>(std::move(dirs), std::move(spelld));
}

}  // namespace spell::detail
