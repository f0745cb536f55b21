// What the client's tests share.
#pragma once
#include <stdlib.h>

#include <string>

#include "base/file.hpp"

namespace spell::test {

/// A folder with a short path that is gone at the end.
struct TemporaryFolder {
  std::string path;
  TemporaryFolder() {
    char name[] = "/tmp/spell-unit-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~TemporaryFolder() { (void)base::remove_tree(path); }
  TemporaryFolder(const TemporaryFolder&) = delete;
};

}  // namespace spell::test
