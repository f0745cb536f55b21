// The mounts of this mount namespace, as the kernel lists them.
#pragma once
#include <limits.h>
#include <stddef.h>

namespace spell::supervisor {

struct Mounted {
  char* device;
  char* root;   ///< what of the file system…
  char* point;  ///< …is mounted where
};

class MountTable {
 public:
  MountTable() = default;
  ~MountTable();
  MountTable(const MountTable&) = delete;
  MountTable& operator=(const MountTable&) = delete;
  bool read();
  const Mounted* begin() const { return items_; }
  const Mounted* end() const { return items_ + size_; }
  /// The one in which a path without links lies; null: there is none.
  const Mounted* home_of(const char* real) const;

 private:
  Mounted* items_ = nullptr;
  size_t size_ = 0;
  char* text_ = nullptr;
};

/// Whether `path` is `folder` or below it; then `rest` is what follows ("" or "/…").
bool is_below(const char* path, const char* folder, const char*& rest);
/// `rest`: "" or "/…". False: it is too long.
bool join(char (&out)[PATH_MAX], const char* folder, const char* rest);

}  // namespace spell::supervisor
