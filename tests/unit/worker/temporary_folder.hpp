#pragma once
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "catch.hpp"

namespace spell::worker::testing {

struct TemporaryFolder {
  TemporaryFolder() {
    char name[] = "/tmp/spell-worker-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  ~TemporaryFolder() { (void)base::remove_tree(path); }
  std::string path;
};

/// With the folders that lead there.
inline void write(const std::string& path, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace spell::worker::testing
