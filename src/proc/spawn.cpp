#include "proc/spawn.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.hpp"

namespace spell::proc {

namespace {

/// posix_spawn's two objects, freed on every way out.
struct Setup {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  Setup() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~Setup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;
};

/// By way of numbers that are nobody's source or target, so that a swap (3 to 4, 4 to 3) works.
int place_descriptors(Setup& setup, const std::vector<std::pair<int, int>>& descriptors) {
  int last = 2;
  for (auto [ours, theirs] : descriptors) last = std::max({last, ours, theirs});
  int between = last + 1, error = 0, last_target = 2;
  for (auto [ours, theirs] : descriptors) {
    if (!error) error = posix_spawn_file_actions_adddup2(&setup.actions, ours, between++);
    last_target = std::max(last_target, theirs);
  }
  between = last + 1;
  for (auto [ours, theirs] : descriptors)
    if (!error) error = posix_spawn_file_actions_adddup2(&setup.actions, between++, theirs);
  auto named = [&](int number) {
    return std::any_of(descriptors.begin(), descriptors.end(),
                       [&](auto& d) { return d.second == number; });
  };
  for (int number = 0; number <= last_target && !error; ++number) {
    if (named(number)) continue;
    error = number <= 2
                ? posix_spawn_file_actions_addopen(&setup.actions, number, "/dev/null", O_RDWR, 0)
                : posix_spawn_file_actions_addclose(&setup.actions, number);
  }
#ifdef __GLIBC__
  if (!error) error = posix_spawn_file_actions_addclosefrom_np(&setup.actions, last_target + 1);
#endif
  return error;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<int> spawn(const SpawnOptions& options) {
  if (options.arguments.empty()) return base::error("invalid_request", "no program to start");
  Setup setup;
  int error = place_descriptors(setup, options.descriptors);
  const char* folder = options.folder.empty() ? "/" : options.folder.c_str();
  if (!error) error = posix_spawn_file_actions_addchdir_np(&setup.actions, folder);

  short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
  if (options.new_session) flags |= POSIX_SPAWN_SETSID;
#ifdef POSIX_SPAWN_CLOEXEC_DEFAULT
  flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;
#endif
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  if (!error) error = posix_spawnattr_setsigdefault(&setup.attributes, &all);
  if (!error) error = posix_spawnattr_setsigmask(&setup.attributes, &none);
  if (!error) error = posix_spawnattr_setflags(&setup.attributes, flags);

  auto arguments = pointers(options.arguments), environment = pointers(options.environment);
  pid_t child = 0;
  if (!error)
    error = posix_spawn(&child, arguments[0], &setup.actions, &setup.attributes, arguments.data(),
                        environment.data());
  if (error) return base::errno_error("start " + options.arguments[0], error);
  return static_cast<int>(child);
}

}  // namespace spell::proc
