// The steps of a run that block, each idempotent: it can be done again after it was cut off at any
// point.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "exec/supervised.hpp"
#include "model/worker_protocol.hpp"
#include "spellfs/store.hpp"
#include "worker/action.hpp"
#include "worker/code_cache.hpp"
#include "worker/link.hpp"
#include "worker/run_folder.hpp"
#include "worker/run_users.hpp"
#include "worker/share.hpp"
#include "worker/tree_cache.hpp"
#include "worker/turns.hpp"

namespace spell::worker {

/// What all runs of this worker have in common.
struct Host {
  std::string supervisor, machine, service_lock;
  exec::Capabilities capabilities;
  std::shared_ptr<RunUsers> users{};  ///< none: runs are this process's user
  std::vector<Share> shares{};
  std::vector<std::string> hidden, revive, base_environment;
  std::vector<std::string> cdi{};                 ///< where device specifications lie
  const spellfs::ObjectSource* source = nullptr;  ///< where what is mounted comes from
  bool scopes = false;                            ///< each run is a scope of systemd
  std::string service_url{}, service_fingerprint{}, workflow_socket{};  ///< see WorkerOptions
};

/// code.cpp: the commit's files in spell/, and the manifest. Returns lines for the log.
Result<std::vector<std::string>> build(const Folders&, const model::StartCommand&, CodeCache&,
                                       const CodeCache::Fetch&);

/// put_back.cpp: what an interrupted run had saved, in spell/ over the files of the commit. It
/// counts as backed up, and is an output of this run like what it makes itself. Returns lines for
/// the log. Error `canceled` after a stop.
Result<std::vector<std::string>> put_back(const Folders&, const model::StartCommand&,
                                          const spellfs::ObjectSource& source, std::stop_token);

/// mounts.cpp: what the run goes on from, and what its mounts need of `source`, in the cache and in
/// the run's folder, and the record of it. Returns lines for the log. Errors: `mount_failed`,
/// `canceled` after a stop.
Result<std::vector<std::string>> mount(const Folders&, const Host&, const model::StartCommand&,
                                       const spellfs::ObjectSource& source, TreeCache&,
                                       std::stop_token);

/// How a run's environment is asked for.
struct LayerService {
  std::function<Result<model::LayerAnswer>(const model::LayerClaim&)> claim;
  std::function<Result<model::LayerAnswer>(const model::LayerBuilt&)> put;
  /// A layer that this run was to build: it is not heard of an answer.
  std::function<void(const std::string& name)> give_up;
  /// Does it again for as long as the service cannot be reached.
  std::function<Result<>(const std::function<Result<>()>&)> persist;
};
/// prepare.cpp: the run's environment, of `source` or built, in the cache, and the record of it.
/// Its build's output goes to `say`. Errors: `build_failed`, of which the lines after the first are
/// the last of what the build printed; `canceled` after a stop.
Result<std::vector<std::string>> prepare(
    const Folders&, const Host&, const model::StartCommand&, const LayerService&, Link&,
    const spellfs::ObjectSource& source, TreeCache&, Turns&,
    const std::function<void(const std::vector<std::string>& lines)>& say, std::stop_token);
/// prepare.cpp: ends a build that an earlier worker has begun.
void end_preparing(const std::string& run_folder);

/// compile.cpp: builds the run's program from the source that it mounts, against the SDK that it
/// mounts, or finds in the cache what was built of the same before; the run gets it at
/// model::built_program, read-only. Returns lines for the log. Errors: `build_failed`, of which the
/// lines after the first are the last of what the build printed; `canceled` after a stop.
Result<std::vector<std::string>> compile(const Folders&, const Host&, const model::StartCommand&,
                                         TreeCache&, Turns&, std::stop_token);
/// compile.cpp: ends a build that an earlier worker has begun.
void end_compiling(const std::string& run_folder);

struct Launched {
  exec::Supervised supervised;
  std::vector<std::string> notices;  ///< lines for the log
};
/// launch.cpp: environment and supervisor. Not to be called for a run that has one.
/// `lease_until_us`, `allowed_until_us`: see exec::Launch.
Result<Launched> launch(const Folders&, const Host&, const model::StartCommand&,
                        std::int64_t lease_until_us, std::int64_t allowed_until_us);

struct Pack {
  base::Fd file;
  std::int64_t size = 0;
};
struct SaveOutcome {
  Saved saved;
  Pack pack;
};
/// save.cpp: whether there is nothing to save, by a look that does not block; false: save() finds
/// out.
bool leaves_nothing(const Folders&, const std::string& run);
/// Told often of what was read so far, from another thread.
using SaveProgress = std::function<void(std::int64_t files, std::int64_t bytes)>;
/// save.cpp: what is new or changed in spell/, as a pack of what the service lacks. What was being
/// written at an end by force (live_backup.hpp) is put aside, and the versions that are safe of it,
/// among the `objects` of the service, stay in its place.
Result<SaveOutcome> save(const Folders&, const model::StartCommand&, Link&, const CallOptions&,
                         const spellfs::ObjectSource& objects, SaveProgress progress = {});

}  // namespace spell::worker
