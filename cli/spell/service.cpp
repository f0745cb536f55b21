#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "file_watch.hpp"
#include "json_text.hpp"
#include "settings.hpp"
#include "status.hpp"
#include "text.hpp"
#include "user_unit.hpp"

namespace spell::cli {

namespace {

namespace fs = std::filesystem;

/// The service of this computer, whatever others are logged in to; --service and the environment
/// may name another.
Result<Client> personal(const Context& context) {
  ClientOptions options = context.client_options();
  if (options.service.empty()) options.service = "local";
  options.autostart = false;
  return Client::make(options);
}

Result<int> service_status(Context& context) {
  Options options("service status", "[OPTIONS]",
                  "Shows whether the personal service runs. Does not start it.");
  if (auto done = context.parse(options)) return *done;
  auto client = personal(context);
  if (!client) return client.error();
  auto info = client->status();
  if (!info) return info.error();
  show_service(context.out, *info);
  return 0;
}

Result<int> service_stop(Context& context) {
  Options options(
      "service stop", "[OPTIONS]",
      "Ends the personal service. Running commands go on; the next call of spell starts it again.");
  if (auto done = context.parse(options)) return *done;
  auto client = personal(context);
  if (!client) return client.error();
  auto stopped = client->stop_service();
  if (!stopped) return stopped.error();
  if (context.out.json())
    context.out.json_line(json_fields("service", {{"state", "stopped"}}));
  else
    context.out.status(Mark::step, "The service has ended");
  return 0;
}

/// Where the last `lines` lines of a file begin.
off_t tail_offset(int fd, std::int64_t lines) {
  char buffer[16384];
  off_t at = ::lseek(fd, 0, SEEK_END);
  bool at_end = true;  // the newline at the very end closes the last line
  while (at > 0) {
    auto size = static_cast<std::size_t>(std::min<off_t>(at, sizeof buffer));
    at -= static_cast<off_t>(size);
    if (::pread(fd, buffer, size, at) != static_cast<ssize_t>(size)) return 0;
    for (std::size_t i = size; i-- > 0; at_end = false)
      if (buffer[i] == '\n' && !at_end && lines-- <= 1) return at + static_cast<off_t>(i) + 1;
  }
  return 0;
}

/// From where the descriptor stands to the end.
Result<> show_rest(int fd, Output& out) {
  char buffer[65536];
  for (;;) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0)
      out.write(std::string_view(buffer, static_cast<std::size_t>(n)));
    else if (n == 0)
      return ok();
    else if (errno != EINTR)
      return Error("no_service_log",
                   std::string("the log cannot be read: ") + std::strerror(errno));
  }
}

/// The file that has taken the place of this one (a service that starts puts a long log aside); -1:
/// none has.
int successor_of(int fd, const std::string& path) {
  struct stat own, there;
  if (::fstat(fd, &own) != 0 || ::stat(path.c_str(), &there) != 0 ||
      (own.st_dev == there.st_dev && own.st_ino == there.st_ino))
    return -1;
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
}

Result<int> service_logs(Context& context) {
  Options options("service logs", "[OPTIONS]", "Shows the personal service's own log.");
  bool follow = false;
  std::optional<std::string> lines;
  options.flag("-f,--follow", follow, "go on until ^C")
      .value("-n,--number", lines, "N", "only the last N lines");
  if (auto done = context.parse(options)) return *done;
  std::int64_t last = -1;  // all
  if (lines) {
    auto number = parse_int(*lines);
    if (!number || *number < 0)
      return usage_error("-n " + shell_quote(*lines) + ": give a number of lines");
    last = *number;
  }
  auto client = personal(context);
  if (!client) return client.error();
  std::string path = client->service_log();
  if (path.empty())
    return Error("no_service_log", "only the personal service has a log on this computer");
  std::optional<FileWatch> watch;
  auto look = [&]() -> Result<> {
    auto opened = FileWatch::open(path);
    if (!opened) return opened.error();
    watch = std::move(*opened);
    return ok();
  };
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return Error("no_service_log", "there is no log yet: " + path);
    return Error("no_service_log", path + " cannot be read: " + std::strerror(errno));
  }
  off_t begin = 0;
  if (last >= 0) begin = last == 0 ? ::lseek(fd, 0, SEEK_END) : tail_offset(fd, last);
  ::lseek(fd, begin, SEEK_SET);
  Result<> shown = follow ? look() : ok();
  while (shown) {
    shown = show_rest(fd, context.out);
    if (!follow || !shown) break;
    if (int next = successor_of(fd, path); next >= 0) {
      // What came to its end between the two belongs to the old one.
      shown = show_rest(fd, context.out);
      ::close(fd);
      fd = next;
      if (shown) shown = look();
    } else {
      shown = watch->wait();
    }
  }
  ::close(fd);
  if (!shown) return shown.error();
  return 0;
}

Result<> require_systemd() {
  // The test of sd_booted(3).
  if (fs::is_directory("/run/systemd/system")) return ok();
  return Error("no_systemd",
               "this computer was not started by systemd, so there is no user unit to enable; "
               "the service starts with the first call of spell in any case");
}

/// Runs a fixed command line; nothing of the user's gets into it.
Result<> call(const char* command) {
  if (std::system(command) == 0) return ok();
  return Error("systemd_failed", std::string(command) + " failed");
}

/// Lets this user's units run while he is not logged in. Asked of root once, where nobody answers
/// for him (polkit).
Result<> enable_lingering() {
  passwd* entry = ::getpwuid(::getuid());
  std::string user = entry ? entry->pw_name : std::to_string(::getuid());
  if (fs::exists("/var/lib/systemd/linger/" + user) ||
      std::system("loginctl enable-linger 2> /dev/null") == 0)
    return ok();
  return Error("systemd_failed",
               "your units may not run while you are not logged in; root can allow it: "
               "loginctl enable-linger " +
                   user);
}

Result<int> service_enable(Context& context) {
  Options options(
      "service enable", "[OPTIONS]",
      "Lets systemd start the personal service when the computer starts: writes the user unit\n"
      "spell.service and lets your units run while you are not logged in (lingering).");
  if (auto done = context.parse(options)) return *done;
  if (auto there = require_systemd(); !there) return there.error();
  auto spelld = find_spelld();
  if (!spelld) return spelld.error();
  auto path = user_unit_path();
  if (!path) return path.error();
  if (auto allowed = enable_lingering(); !allowed) return allowed.error();
  std::error_code failure;
  fs::create_directories(fs::path(*path).parent_path(), failure);
  std::ofstream unit(*path, std::ios::trunc);
  unit << user_unit(*spelld, personal_folder(context.client_options()));
  unit.close();
  if (!unit) return Error("output_failed", *path + " cannot be written");
  context.out.status(Mark::step, "Wrote " + *path);
  for (const char* command :
       {"systemctl --user daemon-reload", "systemctl --user --quiet enable spell.service"}) {
    if (auto called = call(command); !called) return called.error();
    context.out.status(Mark::step, std::string("Called ") + command);
  }
  if (context.out.json())
    context.out.json_line(json_fields("service", {{"state", "enabled"}, {"unit", *path}}));
  return 0;
}

Result<int> service_disable(Context& context) {
  Options options(
      "service disable", "[OPTIONS]",
      "Takes the user unit away again. Lingering stays as it is: loginctl disable-linger ends it.");
  if (auto done = context.parse(options)) return *done;
  if (auto there = require_systemd(); !there) return there.error();
  auto path = user_unit_path();
  if (!path) return path.error();
  if (!fs::exists(*path)) return Error("not_enabled", "there is no " + *path);
  if (auto called = call("systemctl --user --quiet disable spell.service"); !called)
    return called.error();
  std::error_code failure;
  fs::remove(*path, failure);
  if (failure) return Error("output_failed", *path + " cannot be removed: " + failure.message());
  if (auto called = call("systemctl --user daemon-reload"); !called) return called.error();
  context.out.status(Mark::step, "Removed " + *path);
  if (context.out.json())
    context.out.json_line(json_fields("service", {{"state", "disabled"}, {"unit", *path}}));
  return 0;
}

constexpr CommandRow service_commands[] = {
    {"status", "show whether it runs", service_status},
    {"stop", "end it; running commands go on", service_stop},
    {"logs", "show its own log", service_logs},
    {"enable", "let systemd start it when the computer starts", service_enable},
    {"disable", "undo enable", service_disable},
};

}  // namespace

Result<int> service_command(Context& context) {
  return run_subcommand(context, "service",
                        "Sees to the personal service, which starts by itself when it is needed.",
                        service_commands);
}

}  // namespace spell::cli
