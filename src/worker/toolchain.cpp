#include "worker/toolchain.hpp"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <initializer_list>

#include "base/hash.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

std::string find_first(const std::string& path, std::initializer_list<const char*> names) {
  for (auto* name : names)
    for (auto& folder : base::split(path, ':')) {
      std::string program = folder + "/" + name;
      struct stat st;
      if (folder.starts_with('/') && ::stat(program.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
          ::access(program.c_str(), X_OK) == 0)
        return program;
    }
  return {};
}

std::string identity_of(const std::string& program) {
  char real[PATH_MAX];
  struct stat st {};
  if (!::realpath(program.c_str(), real) || ::stat(real, &st) != 0) return program;
  return program + " " + real + " " + std::to_string(st.st_size) + " " +
         std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec) + "\n";
}

}  // namespace

std::string Toolchain::id() const {
  std::string all = identity_of(cmake) + identity_of(compiler) + identity_of(builder);
  return base::hex(base::sha256(all)).substr(0, 32);
}

Toolchain find_toolchain(const std::vector<std::string>& environment) {
  constexpr std::string_view variable = "PATH=";
  std::string path;
  for (auto& entry : environment)
    if (entry.starts_with(variable)) path = entry.substr(variable.size());
  Toolchain out;
  out.cmake = find_first(path, {"cmake"});
  out.compiler = find_first(path, {"c++", "g++", "clang++"});
  out.builder = find_first(path, {"ninja", "make"});
  out.missing = out.compiler.empty()  ? "C++ compiler (c++)"
                : out.cmake.empty()   ? "cmake"
                : out.builder.empty() ? "ninja or make"
                                      : "";
  return out;
}

}  // namespace spell::worker
