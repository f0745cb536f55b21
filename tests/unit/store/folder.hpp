// A folder for a database, which goes with it.
#pragma once
#include <string>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"

namespace spell::store {

struct Folder {
  std::string path = "/tmp/spell-store-" + base::hex(base::random_bytes(6));
  Folder() { REQUIRE(base::make_folders(path)); }
  ~Folder() { (void)base::remove_tree(path); }
  std::string database() const { return path + "/spell.db"; }
};

}  // namespace spell::store
