// Files for packs on their way. As long as few of them wait they are in memory, and used again and
// again: the disk is the run's. When more wait than that, the link does not keep up, and they go to
// the spool.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "base/fd.hpp"
#include "spellfs/store.hpp"

namespace spell::backup {

class PackFile {
 public:
  explicit PackFile(base::Fd spooled) : file_(std::move(spooled)) {}
  /// In memory; none: there is no room, or no descriptor.
  static std::unique_ptr<PackFile> in_memory();
  ~PackFile();
  PackFile(const PackFile&) = delete;
  PackFile& operator=(const PackFile&) = delete;

  int fd() const { return file_.get(); }
  /// To be written from its start; it may hold what was there before.
  spellfs::PackPlace place() const;
  /// So many bytes from its start, where they are in memory; "": they are not, or not all.
  std::string_view bytes(std::int64_t size) const;

 private:
  base::Fd file_;
  std::span<char> mapped_{};
};

/// Thread-safe.
class PackFiles {
 public:
  /// `spool`: a new file without a name; `in_memory`: so many of 8 MiB at most.
  PackFiles(std::function<Result<base::Fd>()> spool, int in_memory);
  /// It goes back when the last who has it lets go of it, at any time.
  Result<std::shared_ptr<PackFile>> take();
  /// Since when (base::boot_ns()) memory is held that nobody uses; none: there is none.
  std::optional<std::int64_t> idle_since() const;
  /// Gives it back to the system.
  void free_idle();

 private:
  struct Pool;
  const std::function<Result<base::Fd>()> spool_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace spell::backup
