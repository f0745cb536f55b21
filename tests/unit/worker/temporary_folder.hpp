#pragma once
#include <stdlib.h>

#include <string>

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

}  // namespace spell::worker::testing
