#include "worker/toolchain.hpp"

#include <sys/stat.h>

#include "base/hash.hpp"
#include "worker/programs.hpp"

namespace spell::worker {

namespace {

std::string identity_of(const std::string& program) {
  auto real = real_program(program);
  struct stat st {};
  if (real.empty() || ::stat(real.c_str(), &st) != 0) return program;
  return program + " " + real + " " + std::to_string(st.st_size) + " " +
         std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec) + "\n";
}

}  // namespace

std::string Toolchain::id() const {
  std::string all = identity_of(cmake) + identity_of(compiler) + identity_of(builder);
  return base::hex(base::sha256(all)).substr(0, 32);
}

Toolchain find_toolchain(const std::vector<std::string>& environment) {
  auto path = path_of(environment);
  Toolchain out;
  out.cmake = find_program({"cmake"}, path);
  out.compiler = find_program({"c++", "g++", "clang++"}, path);
  out.builder = find_program({"ninja", "make"}, path);
  out.missing = out.compiler.empty()  ? "C++ compiler (c++)"
                : out.cmake.empty()   ? "cmake"
                : out.builder.empty() ? "ninja or make"
                                      : "";
  return out;
}

}  // namespace spell::worker
