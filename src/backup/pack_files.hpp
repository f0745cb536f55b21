// Files for packs on their way. As long as few of them wait they are in memory, and used again and
// again: the disk is the run's. When more wait than that, the link does not keep up, and they go to
// the spool.
#pragma once
#include <functional>
#include <memory>
#include <optional>

#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::backup {

/// A file goes back when the last who has it lets go of it, at any time. Thread-safe.
class PackFiles {
 public:
  struct File {
    std::shared_ptr<base::Fd> fd{};  ///< to be written from its start; may hold what was before
    std::int64_t limit = 0;          ///< bytes that a pack may have there, about
  };
  /// `spool`: a new file without a name; `in_memory`: so many of 16 MiB at most.
  PackFiles(std::function<Result<base::Fd>()> spool, int in_memory);
  Result<File> take();
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
