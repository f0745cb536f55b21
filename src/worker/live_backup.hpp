// The backup of one run while it runs: src/backup over the worker's link. What is safe stands in
// the run's folder as `backup`, so that the next worker goes on from there:
//
//   <run folder>/backup      the newest tree that the service has taken, in JSON
//                incomplete  after an end by force: paths in spell/ that are not sure to be whole
//                            versions, each with a NUL behind it; see set_aside()
//
// Two threads a run, which end with the object.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "backup/backup.hpp"
#include "model/worker_protocol.hpp"
#include "worker/action.hpp"
#include "worker/link.hpp"
#include "worker/notice.hpp"
#include "worker/run_folder.hpp"

namespace spell::worker {

class LiveBackup {
 public:
  /// `source`: objects of the service, where they are at hand; none: they are asked for over the
  /// link. `says`: called from any thread, with lines for the log; `behind`: with what is to be
  /// said while it does not keep up, and "" when it does again.
  struct Tell {
    std::function<void(const std::string&)> says{}, behind{};
    std::function<void(const Unsaved&)> unsaved{};  ///< it is another
  };
  static Result<std::shared_ptr<LiveBackup>> start(const Folders&, const model::StartCommand&,
                                                   Link&, const spellfs::ObjectSource* source,
                                                   std::shared_ptr<backup::Rate> rate,
                                                   std::stop_token stop, const Tell&);
  ~LiveBackup();
  /// Any thread.
  Unsaved unsaved() const;
  /// The run was ended by force: see backup::Backup::incomplete().
  std::optional<std::vector<std::string>> incomplete(std::int64_t end_us,
                                                     std::int64_t until_us = INT64_MAX / 1000);
  /// Waits a while until what was captured is safe. Error: `timeout`; to be asked again.
  Result<> flush();
  /// See backup::Backup::needs().
  std::chrono::milliseconds needs() const { return backup_->needs(); }
  /// The run was halted and will not go on: see backup::Backup::finish(). What is not sure to be
  /// whole is written down, as write_incomplete() does it.
  Result<Flushed> finish(std::chrono::milliseconds time);

 private:
  class Service;
  LiveBackup();
  std::stop_source stop_;
  std::optional<std::stop_callback<std::function<void()>>> chained_;
  std::string folder_;  ///< the run's
  std::unique_ptr<Service> service_;
  std::unique_ptr<backup::Backup> backup_;
};

/// The tree that is safe of a run, by its folder; none: there is none.
std::optional<backup::Tree> read_backup(const std::string& run_folder);
Result<> write_backup(const std::string& run_folder, const backup::Tree&);

/// Objects that the service has of the run's owner, asked for over the link.
std::unique_ptr<spellfs::ObjectSource> objects_of(Link&, const model::StartCommand&,
                                                  std::stop_token);

/// When a run ended (of the boot clock), and whether by force. `torn_us`: of one that was not, when
/// its processes were told to end, if some of them may have done so in the middle of writing; 0:
/// never. See torn_at_us().
struct End {
  std::int64_t at_us = 0;
  bool forced = false;
  std::int64_t torn_us = 0;
  /// From these times to nanoseconds of the time of day; none: they are of this boot.
  std::optional<std::int64_t> shift_ns{};
};

/// After a run's end: writes down what is not sure to be whole, and sees to it that the versions
/// before are safe; to be called again after an error. `live`: its backup, if there was one until
/// now. After an end by force it tells; where it does not know, or an earlier worker had it, all
/// that differs from what is safe counts, and where nothing is safe yet, what was changed just
/// before the end, with all of the new folder that it is in (not of a run that ended in this boot
/// before its backup began). After another end it is what was
/// changed just before or after `torn_us`, and what was written to since the end, by what was left
/// of its processes, where something is safe that it would take the place of; nothing where nothing
/// is safe.
Result<> write_incomplete(const Folders&, const model::StartCommand&, LiveBackup* live, End end,
                          const spellfs::ObjectSource& objects);

/// After write_incomplete(), of a run of an earlier boot, for the disk may lack what was written
/// and never synced: writes down all that is safe and not here as it is safe, whatever sizes and
/// times say. Of files that are longer here their beginning counts.
Result<> write_lost(const Folders&, const model::StartCommand&,
                    const spellfs::ObjectSource& objects);

/// What was written down and lies there still is moved to spell/.incomplete/. New folders that are
/// empty, then or before, are removed: what would have been in them is not there.
struct SetAside {
  std::vector<std::string> paths{};                          ///< all that was written down
  std::vector<std::pair<std::string, std::string>> stuck{};  ///< could not be moved, and why
  std::int64_t moved = 0;                                    ///< that are there now
};
Result<SetAside> set_aside(const std::string& run_folder);
inline constexpr const char* incomplete_folder = ".incomplete";

}  // namespace spell::worker
