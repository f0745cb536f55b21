// A file of this computer that is being fetched: beside its place, under a hidden name that depends
// on place and content, until it is whole. So an interrupted copy finds what it had.
#pragma once
#include <time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "spellfs/object.hpp"

namespace spell::detail {

/// A name in an open folder, and how it is shown.
struct FileSpot {
  int folder = -1;
  std::string name{}, shown{};
};

timespec time_of(std::int64_t ns);
/// Mode and time as they were stored. A file system that has no modes is no reason to fail.
void restore_state(int fd, const spellfs::Entry& entry);

/// Several threads may write and look at once; the rest is one thread's.
class PartFile {
 public:
  explicit PartFile(const FileSpot& spot) : spot_(spot) {}
  /// Removes it, unless it got its name or was kept.
  ~PartFile();
  PartFile(const PartFile&) = delete;

  /// Takes up what an earlier copy of the same content left; `node` "": begins anew.
  Result<> open(const std::string& node, std::int64_t size);
  int fd() const { return fd_.get(); }
  /// Whether an earlier copy has written this chunk already.
  bool has(const spellfs::Name& chunk, std::int64_t at, std::int64_t size) const;
  Result<> put(std::string_view bytes, std::int64_t at);
  /// All that is no hole is written: sets the size.
  Result<> finish(std::int64_t size);
  Result<> give_name();
  /// For the next attempt, if it is large enough to be worth it.
  void keep();

 private:
  Result<bool> take_up(std::int64_t size);
  Error failed(const char* what) const;

  const FileSpot& spot_;
  std::string name_;
  base::Fd fd_;
  std::int64_t left_ = 0;  ///< what an earlier copy left has this length
  bool mine_ = false;      ///< the hidden name is there and is this object's to remove
};

}  // namespace spell::detail
