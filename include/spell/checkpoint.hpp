// Checkpoints: what a run's program has saved of its progress. From outside of the run: those that
// are safe in the service's storage (Run::checkpoints(), Run::wait_checkpoint()). Inside of it:
// CheckpointFolder, which makes them so that a crash at any time leaves whole ones only.
#pragma once
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spell/function.hpp"
#include "spell/options.hpp"
#include "spell/resource.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"

namespace spell {

/// One that is safe: the machine may vanish. An entry of the folder `checkpoints` at the top of
/// /spell, or in the folder where the run started; a folder there is one checkpoint; names that
/// begin with '.' are none. A value, and a thread-safe handle to fetch it with.
struct Checkpoint {
  std::string path{};                  ///< "runs/7/checkpoints/step-20.pt"
  std::int64_t run = 0;                ///< whose it is: of a chain of runs one of them
  std::optional<std::int64_t> step{};  ///< the last number in its name; none: there is none
  EntryType type = EntryType::file;
  std::int64_t size = 0;       ///< bytes; of a folder: of all files in it
  std::optional<Time> time{};  ///< when its program finished it

  /// To read it where it is; a file. Errors: see Resources::open().
  Result<ResourceReader> open(CallOptions = {}) const;
  /// A copy here. `destination`: an existing folder, or the new name. Errors: see
  /// Resources::fetch().
  Result<DownloadInfo> download(const std::string& destination, const DownloadOptions& = {},
                                CallOptions = {}) const;

  Checkpoint() = default;
  explicit Checkpoint(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

/// The folder in which a program keeps its checkpoints, `step-N` each. After a crash at any time,
/// of the program or of the computer, each that is there is whole. One process at a time; a copy is
/// the same folder.
class CheckpointFolder {
 public:
  struct Entry {
    std::int64_t step = 0;
    std::string path{};
  };
  /// Writes the checkpoint to a new file of this path. Error: the commit's.
  using Writer = Function<Result<>(const std::string& path)>;
  using StreamWriter = Function<void(std::ostream&)>;

  /// `keep`: so many of the latest stay, at least 1. `suffix` ends the names of new ones (".pt").
  explicit CheckpointFolder(std::string path, int keep = 3, std::string suffix = {});
  /// $SPELL_CHECKPOINTS: in a run the folder that is restored when it is resumed; elsewhere
  /// `checkpoints` in the current folder.
  static CheckpointFolder from_environment(int keep = 3, std::string suffix = {});

  /// The one of the highest step, from which to go on; none: begin at the beginning. Error
  /// `io_error`.
  Result<std::optional<Entry>> latest() const;
  /// By step, the lowest first. Error `io_error`.
  Result<std::vector<Entry>> list() const;
  /// Has a checkpoint written beside the others, and puts it among them once the disk has it:
  /// `path` of the result is on it when this returns, after a loss of power too. It takes the place
  /// of one of that step. Then those before the last `keep` go. Makes the folder. On the calling
  /// thread; takes as long as the disk does. Errors: the writer's, `disk_full`, `io_error`,
  /// `invalid_request` (a negative step; nothing was written); nothing has changed then.
  Result<Entry> commit(std::int64_t step, const Writer&) const;
  Result<Entry> commit(std::int64_t step, const StreamWriter&) const;

  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_, suffix_;
  int keep_;
};

}  // namespace spell
