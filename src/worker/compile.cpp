#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "worker/building.hpp"
#include "worker/environment.hpp"
#include "worker/hooks.hpp"
#include "worker/mount_record.hpp"
#include "worker/toolchain.hpp"

// The build is a command of its own under a supervisor of its own, in the run's folder as
// `compile/`, with the run's fence and user, but without its credentials, secrets and variables.
// What it makes is taken by a way that follows no link: the build is the user's program, this
// process may be root's.

namespace spell::worker {

namespace {

constexpr std::int64_t compile_log_limit = 64 << 20, largest_program = 2LL << 30;
constexpr std::size_t lines_shown = 20;

/// The name in the cache of what is built: all that it is a function of. What one owner has had
/// built no other gets, though it be the same: a build is a program, it may look at more than that.
Result<std::string> compile_key(const model::StartCommand& start, const Toolchain& tools) {
  auto *source = mount_at(start, model::build_source), *sdk = mount_at(start, model::build_sdk);
  if (!source || !sdk) return no_build("there is nothing to build: the run mounts no source");
  std::string all = start.owner;
  for (auto& part : {source->node, sdk->node, *start.request.build, tools.id()}) all += '\n' + part;
  return "program-" + base::hex(base::sha256(all));
}

std::string script(const model::StartCommand& start, const Toolchain& tools) {
  auto& target = *start.request.build;  // letters, digits and "._+-"
  bool ninja = tools.builder.ends_with("ninja");
  std::string source(model::build_source), sdk(model::build_sdk);
  std::string cmake = base::shell_quote(tools.cmake);
  return "export LC_ALL=C.UTF-8; { " + cmake + " -S " + source + " -B build -G " +
         (ninja ? "Ninja" : "'Unix Makefiles'") +
         " -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=" + base::shell_quote(tools.compiler) +
         " -DCMAKE_MAKE_PROGRAM=" + base::shell_quote(tools.builder) +
         " -DCMAKE_PREFIX_PATH=" + sdk + " -DCMAKE_RUNTIME_OUTPUT_DIRECTORY=\"$PWD/bin\" && nice " +
         cmake + " --build build -j \"$(nproc)\"" + (target.empty() ? "" : " --target " + target) +
         "; } > log 2>&1";
}

/// A plain file below a folder that somebody else writes in.
base::Fd open_inside(const std::string& folder, std::initializer_list<std::string> parts) {
  auto at = base::open(folder, O_PATH | O_DIRECTORY);
  if (!at) return {};
  base::Fd current = std::move(*at);
  for (auto part = parts.begin(); part != parts.end(); ++part) {
    bool last = part + 1 == parts.end();
    current = base::Fd(
        ::openat(current.get(), part->c_str(),
                 (last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC));
    if (!current) return {};
  }
  struct stat st;
  if (::fstat(current.get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
  return current;
}

std::vector<std::string> last_lines(const std::string& place) {
  auto file = open_inside(place, {"log"});
  struct stat st;
  if (!file || ::fstat(file.get(), &st) != 0) return {};
  std::string text(16 << 10, '\0');
  auto from = std::max<off_t>(0, st.st_size - static_cast<off_t>(text.size()));
  auto got = ::pread(file.get(), text.data(), text.size(), from);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  std::replace(text.begin(), text.end(), '\0', ' ');  // no text of the protocol has any
  std::vector<std::string> lines;
  for (auto& line : base::split(base::to_utf8(text), '\n'))
    if (line.find_first_not_of(" \t\r") != line.npos) lines.push_back(line);
  if (from > 0 && !lines.empty()) lines.erase(lines.begin());  // cut off
  if (lines.size() > lines_shown)
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(lines_shown));
  return lines;
}

/// The line that says most; then all of them.
Error build_failed(const std::string& how, const std::vector<std::string>& lines) {
  std::string text = "the program cannot be built (" + how + ")", said;
  for (auto& line : lines)
    if (said.empty() && base::lower(line).find("error") != line.npos) said = line;
  if (said.empty() && !lines.empty()) said = lines.back();
  if (!said.empty()) text += ": " + said;
  for (auto& line : lines) text += "\n" + line;
  return no_build(text);
}

/// The names of the programs in bin/, or of `target` alone; some of them, where there are many.
std::vector<std::string> programs_in(const std::string& place, const std::string& target) {
  std::vector<std::string> names;
  auto top = base::open(place, O_PATH | O_DIRECTORY);
  int bin = top ? ::openat(top->get(), "bin", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
  if (bin < 0) return names;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(bin), ::closedir);
  while (dirent* entry = folder && names.size() < 10 ? ::readdir(folder.get()) : nullptr) {
    std::string_view name = entry->d_name;
    if (!target.empty() && name != target) continue;
    // Shown in one line, or not at all.
    if (std::any_of(name.begin(), name.end(),
                    [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
      continue;
    struct stat st;
    if (::fstatat(bin, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        (st.st_mode & 0100))
      names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Copies the one program that there is to `to`, whole and durable.
Result<> take_program(const std::string& place, const std::string& target, const std::string& to) {
  auto names = programs_in(place, target);
  if (names.empty())
    return no_build("the build leaves no program" + (target.empty() ? "" : " " + target) +
                    " where CMAKE_RUNTIME_OUTPUT_DIRECTORY says");
  if (names.size() > 1)
    return no_build("the build leaves several programs: " + base::to_utf8(base::join(names, ", ")) +
                    "; name one: --build DIR:TARGET");
  auto from = open_inside(place, {"bin", names[0]});
  struct stat st;
  if (!from || ::fstat(from.get(), &st) != 0 || st.st_size > largest_program)
    return no_build("the program " + base::to_utf8(names[0]) + " cannot be read");
  std::string coming = to + ".new";
  auto out = base::open(coming, O_WRONLY | O_CREAT | O_TRUNC, 0755);
  if (!out) return out.error();
  std::string buffer(1 << 20, '\0');
  Result<> written = ok();
  ssize_t got = 1;
  while (written && (got = ::read(from.get(), buffer.data(), buffer.size())) > 0)
    written = base::write_all(out->get(),
                              std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
  if (written && (got < 0 || ::fchmod(out->get(), 0755) != 0 || ::fsync(out->get()) != 0 ||
                  ::rename(coming.c_str(), to.c_str()) != 0))
    written = base::errno_error("write " + to);
  if (!written) ::unlink(coming.c_str());
  return written;
}

Result<exec::Supervised> begin(const Host& host, const model::StartCommand& start,
                               const Toolchain& tools, const std::string& run_folder,
                               const std::string& place) {
  SPELL_TRY(end_earlier_build(place, {place + "/spell"}));
  SPELL_TRY(base::make_folders(place + "/spell", 0755));
  SPELL_TRY(base::make_folders(place + "/tmp", 0700));
  auto record = read_mount_record(run_folder);
  if (!record) return record.error();
  exec::Launch what;
  what.run_id = start.run;
  what.supervisor = host.supervisor;
  what.folder = place;
  what.containment = host.capabilities.containment;
  what.command = script(start, tools);
  auto paths = run_paths(what.containment, place);
  what.env =
      host.users ? environment_of_nobody(host.base_environment, paths) : host.base_environment;
  if (host.users) {
    auto user = host.users->take(start.run, run_folder);
    if (!user) return user.error();
    what.user = *user;
  }
  what.hidden = host.hidden;
  for (auto& mount : record->mounts)
    if (mount.to == model::build_source || mount.to == model::build_sdk)
      what.mounts.push_back({mount.from, "", "", mount.to});
  what.log_limit = compile_log_limit;
  what.stop_grace_s = 5;
  what.timeout_s = build_limit_of(start);
  what.revive = host.revive;
  what.service_lock = host.service_lock;
  if (host.scopes)  // what it does with the memory is not the worker's affair
    what.scope = {"spell-build-" + start.run,
                  "Build for run " + std::to_string(start.number) + " of " + start.owner,
                  what.stop_grace_s};
  return exec::Supervised::start(what);
}

/// Builds in `place`, and puts the program at `to`.
Result<> build_program(const Host& host, const model::StartCommand& start, const Toolchain& tools,
                       const std::string& run_folder, const std::string& place,
                       const std::string& to, std::stop_token stop) {
  auto build = begin(host, start, tools, run_folder, place);
  if (!build) return build.error();
  auto state = await_build(*build, {place + "/spell"}, stop);
  if (!state) {
    (void)build->kill();
    return state.error();
  }
  if (stop.stop_requested()) return base::error("canceled", "the build was given up");
  auto& exit = state->exit;
  // Of the machine, whose next worker does it anew: then this one is told to stop, too.
  if (exit && exit->ended_by == "shutdown" && stops_soon(stop))
    return base::error("canceled", "the machine is shut down");
  if (!exit || !exit->error_code.empty() || exit->code != 0)
    return build_failed(how_it_ended(exit, start), last_lines(place + "/spell"));
  return take_program(place + "/spell", *start.request.build, to);
}

}  // namespace

void end_compiling(const std::string& run_folder) {
  if (auto build = exec::Supervised::attach(run_folder + "/compile")) (void)build->kill();
}

Result<std::vector<std::string>> compile(const Folders& folders, const Host& host,
                                         const model::StartCommand& start, TreeCache& cache,
                                         Turns& turns, std::stop_token stop) {
  if (host.capabilities.containment == exec::Containment::best_effort)
    return no_build("programs cannot be built on this machine, for " + host.capabilities.remedy);
  auto tools = find_toolchain(host.base_environment);
  if (!tools.missing.empty())
    return no_build("there is no " + tools.missing +
                    " on this machine: install it, or build the program elsewhere (--program)");
  auto key = compile_key(start, tools);
  if (!key) return key.error();
  std::string folder = folders.run(start.run), place = folder + "/compile";
  auto record = read_mount_record(folder);
  if (!record) return record.error();
  // Before it is made: whoever finds this folder knows what it uses.
  record->keys.push_back(*key);
  SPELL_TRY(write_mount_record(folder, *record));
  auto made = cache.use(
      start.run, *key, 0,
      [&](const std::string& path, std::stop_token token) -> Result<> {
        auto turn = turns.take(start.owner, token);
        if (!turn) return base::error("canceled", "the build was given up");
        return build_program(host, start, tools, folder, place, path, std::move(token));
      },
      stop);
  // Of a build that may still go on nothing is taken away.
  if (!made && made.error().code() == "supervisor_unreachable") return made.error();
  SPELL_TRY(base::remove_tree(place));
  if (!made) return made.error();
  // What it was built of is not its business.
  std::erase_if(record->mounts, [](auto& mount) {
    return mount.to == model::build_source || mount.to == model::build_sdk;
  });
  record->binds.push_back({made->path, std::string(model::built_program), true});
  SPELL_TRY(write_mount_record(folder, *record));
  return std::vector<std::string>{
      made->was_there ? "Program built before: source, compiler and SDK are the same"
                      : "Program built with " + tools.compiler};
}

}  // namespace spell::worker
