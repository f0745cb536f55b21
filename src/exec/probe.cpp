// Finding the supervisor program, and what this machine lets it do.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "exec/supervised.hpp"

namespace spell::exec {

namespace {

constexpr int probe_limit_ms = 10'000;

bool setting_is(const char* path, std::string_view value) {
  auto text = base::read_file(path, 256);
  return text && base::trim(*text) == value;
}

std::string remedy_for(const std::string& why) {
  std::string out = why + "; ";
  if (setting_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"))
    return out +
           "AppArmor forbids user namespaces: install Spell's AppArmor profile, or set "
           "kernel.apparmor_restrict_unprivileged_userns=0";
  if (setting_is("/proc/sys/kernel/unprivileged_userns_clone", "0"))
    return out + "user namespaces are for root only here: set kernel.unprivileged_userns_clone=1";
  if (setting_is("/proc/sys/user/max_user_namespaces", "0"))
    return out + "user namespaces are switched off: set user.max_user_namespaces=10000";
  if (base::exists("/.dockerenv") || base::exists("/run/.containerenv"))
    return out +
           "run the container with --privileged, or with --security-opt seccomp=unconfined "
           "--security-opt apparmor=unconfined --security-opt systempaths=unconfined";
  if (why.find("/proc") != std::string::npos)
    return out +
           "parts of /proc are covered here: allow a container to mount its own (Docker: "
           "--security-opt systempaths=unconfined)";
  return out +
         "run as root, or allow user namespaces (a container: --privileged; a systemd unit: "
         "RestrictNamespaces=no)";
}

/// A run in `folder` to its end.
Result<State> trial(Launch launch, const std::string& folder) {
  SPELL_TRY(base::make_folders(folder + "/spell"));
  SPELL_TRY(base::make_folders(folder + "/tmp"));
  launch.run_id = "probe";
  launch.folder = folder;
  auto run = Supervised::start(launch);
  if (!run) return run.error();
  for (;;) {
    auto state = run->state();
    if (!state) return state.error();
    if (state->phase == State::Phase::supervisor_lost)
      return base::error("supervisor_failed", launch.supervisor + " died in a trial run");
    if (state->exit) return state;
    pollfd file{run->event_fd(), POLLIN, 0};
    if (::poll(&file, 1, probe_limit_ms) == 0) {
      (void)run->kill();
      return base::error("supervisor_failed",
                         "a trial run of " + launch.supervisor + " does not end");
    }
  }
}

Result<Capabilities> try_fences(const std::string& supervisor, const std::string& folder,
                                std::uint32_t user) {
  Launch launch;
  launch.user = user;
  launch.supervisor = supervisor;
  launch.containment = ::geteuid() == 0 ? Containment::namespaces : Containment::user_namespaces;
  launch.command = "touch /spell/file /tmp/file && test -O /spell/file";
  auto state = trial(launch, folder);
  if (!state) return state.error();
  if (!state->exit->error_code.empty())
    return base::error(state->exit->error_code, state->exit->error);
  if (user != 0 && state->exit->code != 0)
    return base::error("no_isolation", "a run with a user of its own cannot write its files");
  Capabilities out;
  auto colon = state->containment.find(": ");
  auto level = state->containment.substr(0, colon);
  for (auto c : {Containment::namespaces, Containment::user_namespaces})
    if (level == name_of(c)) out.containment = c;
  if (out.containment == Containment::best_effort)
    out.remedy = remedy_for(colon == std::string::npos ? "no namespaces"
                                                       : state->containment.substr(colon + 2));
  return out;
}

/// Not every kernel lets every user lay overlays, and not every file system can be under one.
Result<> try_overlays(const std::string& supervisor, const std::string& folder, std::uint32_t user,
                      Capabilities& out) {
  for (auto* part : {"/lower/kept", "/upper", "/work"})
    SPELL_TRY(base::make_folders(folder + part));
  SPELL_TRY(base::write_file(folder + "/lower/old", "old", 0644, false));
  Launch launch;
  launch.supervisor = supervisor;
  launch.user = user;
  launch.containment = out.containment;
  launch.mounts = {{folder + "/lower", folder + "/upper", folder + "/work", "/spell/trial"}};
  launch.command =
      "cd /spell/trial && echo new > old && mv old kept/new && rm -r kept && mkdir kept";
  auto state = trial(launch, folder + "/run");
  if (!state) return state.error();
  out.overlays = state->exit->error_code.empty() && state->exit->code == 0;
  if (!out.overlays)
    out.no_overlays = state->exit->error_code.empty() ? "an overlay cannot be written to here"
                                                      : state->exit->error;
  return ok();
}

/// Whether this kernel lays overlays over the host's own system.
Result<> try_packages(const std::string& supervisor, const std::string& folder, Capabilities& out) {
  if (out.containment != Containment::namespaces) {
    out.no_packages = "that takes a worker that is root";
    return ok();
  }
  for (auto* part : {"/system/upper", "/system/work"})
    SPELL_TRY(base::make_folders(folder + part, 0755));
  Launch launch;
  launch.supervisor = supervisor;
  launch.containment = out.containment;
  launch.system = {"", folder + "/system/upper", folder + "/system/work"};
  launch.command = "mkdir /usr/.spell /etc/.spell /var/.spell && rmdir /usr/.spell && test -w /run";
  auto state = trial(launch, folder + "/packages");
  if (!state) return state.error();
  out.packages = state->exit->error_code.empty() && state->exit->code == 0;
  if (!out.packages)
    out.no_packages = state->exit->error_code.empty() ? "an overlay of / cannot be written to"
                                                      : state->exit->error;
  return ok();
}

Result<Capabilities> try_in(const std::string& supervisor, const std::string& folder,
                            std::uint32_t user) {
  if (user != 0 && ::geteuid() != 0)
    return base::error("no_isolation", "only root can give runs users of their own");
  auto found = try_fences(supervisor, folder, user);
  if (found && found->containment != Containment::best_effort) {
    SPELL_TRY(try_overlays(supervisor, folder, user, *found));
    SPELL_TRY(try_packages(supervisor, folder, *found));
  } else if (found) {
    found->no_packages = found->remedy;
  }
  return found;
}

}  // namespace

Result<Capabilities> probe(const std::string& supervisor, const std::string& scratch_folder,
                           std::uint32_t user) {
  std::string folder = scratch_folder + "/probe-" + base::Id::make().text();
  auto found = try_in(supervisor, folder, user);
  auto removed = base::remove_tree(folder);
  if (found && !removed) return removed.error();
  return found;
}

Result<std::string> find_supervisor(const std::string& option) {
  const std::string name = "/spell-supervisor";
  auto usable = [](const std::string& path) { return ::access(path.c_str(), X_OK) == 0; };
  if (!option.empty()) {
    if (usable(option)) return option;
    return base::error("supervisor_not_found", "there is no program " + option);
  }
  if (const char* folder = std::getenv("SPELL_LIBEXEC"); folder && *folder) {
    if (usable(folder + name)) return folder + name;
    return base::error("supervisor_not_found", std::string("there is no spell-supervisor in ") +
                                                   folder + " (SPELL_LIBEXEC)");
  }
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  std::string program(self, n > 0 ? static_cast<std::size_t>(n) : 0);
  std::string folder = program.substr(0, program.rfind('/'));
  std::string own = folder + "/../libexec" + program.substr(folder.size());  // a package's
  for (auto& path : {folder + name, own + name, folder + "/../libexec/spell" + name})
    if (usable(path)) return path;
  return base::error("supervisor_not_found", "spell-supervisor is not beside " + program +
                                                 "; set SPELL_LIBEXEC to its folder");
}

}  // namespace spell::exec
