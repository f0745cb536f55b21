// A file of this computer that is being fetched: beside its place, under a hidden name that depends
// on place and content, until it is whole. So an interrupted copy finds what it had.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "spell/resource.hpp"

namespace spell::detail {

/// A name in an open folder, and how it is shown.
struct Spot {
  int folder = -1;
  std::string name{}, shown{};
};

/// Mode and time as they were stored. A file system that has no modes is no reason to fail.
void restore_state(int fd, const ResourceInfo& info);

/// Zeros that are long enough become holes, as the service has them. Not thread-safe.
class PartFile {
 public:
  explicit PartFile(const Spot& spot) : spot_(spot) {}
  /// Removes it, unless it got its name or was kept.
  ~PartFile();
  PartFile(const PartFile&) = delete;

  /// Takes up what an earlier copy of the same content left; `node` "": begins anew.
  Result<> open(const std::string& node, std::int64_t size);
  /// Bytes that were there already. The first write begins here.
  std::int64_t begin() const { return begin_; }
  int fd() const { return fd_.get(); }
  /// The next bytes.
  Result<> write(std::string_view bytes);
  /// Back to nothing.
  Result<> restart();
  /// All bytes are written: sets the size.
  Result<> finish(std::int64_t size);
  Result<> give_name();
  /// For the next attempt, if it is large enough to be worth it.
  void keep();

 private:
  Result<bool> take_up(std::int64_t size);
  Result<> put(std::string_view bytes, std::int64_t at);
  Result<> end_zeros(bool at_end_of_file);
  Error failed(const char* what) const;

  const Spot& spot_;
  std::string name_;
  base::Fd fd_;
  std::int64_t begin_ = 0, at_ = 0;
  std::int64_t zeros_ = 0;  ///< before at_, not written yet
  bool mine_ = false;       ///< the hidden name is there and is this object's to remove
};

}  // namespace spell::detail
