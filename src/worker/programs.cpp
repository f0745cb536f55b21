#include "worker/programs.hpp"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

base::Fd open_below(const std::string& root, const std::string& path) {
  base::Fd top(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return base::Fd(
      static_cast<int>(::syscall(SYS_openat2, top.get(), path.c_str(), &how, sizeof how)));
}

bool is_program(const std::string& path, const std::string& root) {
  struct stat st;
  if (root.empty())
    return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
           ::access(path.c_str(), X_OK) == 0;
  auto file = open_below(root, path);
  return file && ::fstat(file.get(), &st) == 0 && S_ISREG(st.st_mode) &&
         (st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) != 0;
}

}  // namespace

std::string path_of(const std::vector<std::string>& environment) {
  constexpr std::string_view variable = "PATH=";
  std::string path;
  for (auto& entry : environment)
    if (entry.starts_with(variable)) path = entry.substr(variable.size());
  return path;
}

std::string find_program(std::initializer_list<const char*> names, const std::string& path,
                         const std::string& root) {
  for (auto* name : names)
    for (auto& folder : base::split(path, ':')) {
      std::string program = folder + "/" + name;
      if (folder.starts_with('/') && is_program(program, root)) return program;
    }
  return {};
}

std::string real_program(const std::string& program, const std::string& root) {
  char real[PATH_MAX];
  if (root.empty()) return ::realpath(program.c_str(), real) ? real : "";
  auto file = open_below(root, program);
  std::string link = "/proc/self/fd/" + std::to_string(file.get());
  char top[PATH_MAX];
  if (!file || !::realpath(link.c_str(), real) || !::realpath(root.c_str(), top)) return {};
  std::string found = real, above = top;
  return found.starts_with(above + "/") ? found.substr(above.size()) : "";
}

}  // namespace spell::worker
