#include "worker/worker.hpp"

#include <filesystem>
#include <mutex>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "worker/cdi.hpp"
#include "worker/cloud_notice.hpp"
#include "worker/engine.hpp"
#include "worker/machine.hpp"
#include "worker/mount_record.hpp"
#include "worker/run_folder.hpp"

namespace spell::worker {

struct Worker::Impl {
  explicit Impl(Engine::Options options, Folders folders, std::unique_ptr<TreeCache> trees,
                std::unique_ptr<CodeCache> codes)
      : engine(with_ready(std::move(options)), std::move(folders), std::move(trees),
               std::move(codes)) {}
  Engine::Options with_ready(Engine::Options options) {
    options.ready_to_go = [this, told = std::move(options.ready_to_go)] {
      if (told) told();
      std::lock_guard lock(mutex);
      ready = true;
      if (cloud) cloud->ready_to_go();
    };
    return options;
  }
  void watch(std::unique_ptr<CloudNotice> other) {
    std::unique_lock lock(mutex);
    cloud.swap(other);
    if (cloud && ready) cloud->ready_to_go();
    lock.unlock();  // whoever calls the engine ends without it
  }
  ~Impl() { watch(nullptr); }

  std::mutex mutex;
  bool ready = false;
  Engine engine;
  std::unique_ptr<CloudNotice> cloud;
};

namespace {

/// What the machine can do for runs: with users of their own where those are wanted and can be had,
/// else `why_none` says why not.
Result<exec::Capabilities> isolate(const WorkerOptions& options, const std::string& supervisor,
                                   Host& host, std::string& why_none) {
  if (options.run_users.empty()) return find_capabilities(supervisor, options.folder);
  auto range = parse_run_users(options.run_users);
  if (!range) return range.error();
  auto isolated = find_capabilities(supervisor, options.folder, range->first);
  if (isolated) {
    host.users = std::make_shared<RunUsers>(*range, static_cast<std::uint64_t>(base::boot_ns()));
    return isolated;
  }
  if (isolated.error().code() != "no_isolation") return isolated;
  why_none = isolated.error().message();
  return find_capabilities(supervisor, options.folder);
}

}  // namespace

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::~Worker() = default;

Result<std::unique_ptr<Worker>> Worker::start(const WorkerOptions& options) {
  auto supervisor = options.only_delivers ? Result<std::string>(std::string())
                                          : exec::find_supervisor(options.supervisor);
  if (!supervisor) return supervisor.error();
  Folders folders(options.folder);
  SPELL_TRY(folders.make());
  Engine::Options engine;
  std::string no_users;
  auto capabilities = options.only_delivers ? Result<exec::Capabilities>(exec::Capabilities())
                                            : isolate(options, *supervisor, engine.host, no_users);
  if (!capabilities) return capabilities.error();
  engine.way = {options.endpoint, options.token, options.trust,
                options.identity, options.proxy, options.dial};
  engine.machine = options.id.empty() ? options.machine : options.id;
  engine.host.supervisor = *supervisor;
  engine.host.machine = options.machine;
  engine.host.service_lock = options.service_lock;
  engine.host.capabilities = *capabilities;
  engine.host.hidden = options.hidden;
  engine.host.revive = options.revive;
  engine.host.base_environment = options.base_environment;
  engine.hello =
      describe_machine(options.version, options.cores, *capabilities, options.nvidia_smi);
  engine.nvidia_smi = options.nvidia_smi;
  engine.host.cdi = options.cdi.empty() ? cdi_folders() : std::vector{options.cdi};
  if (options.backup_rate > 0) engine.backup_rate = options.backup_rate;
  for (auto* known : {"streams", "restore", "exclusive", "notice", "max_cost", "allowance"})
    engine.hello.capabilities[known] = "1";
  // A virtual environment is bound to its path, which takes a run root.
  if (capabilities->containment != exec::Containment::best_effort)
    engine.hello.capabilities["environments"] = "1";
  engine.hello.capabilities["isolation"] = engine.host.users ? "users" : "none";
  if (!options.only_delivers) {
    auto why = exec::why_no_limits(options.scopes);
    engine.hello.capabilities["lacks_for_limits"] = why;
    // On the personal service runs have the limits that they ask for; those say it.
    if (!why.empty() && !options.embedded)
      engine.hello.notes.push_back("limits of memory: none (" + why + ")");
  }
  // A machine that has joined is one owner's: see State::is_of().
  if (!engine.host.users && !options.embedded && !options.only_delivers)
    engine.hello.notes.push_back("isolation: none (" +
                                 (no_users.empty() ? "runs are the worker's own user" : no_users) +
                                 "); runs of one owner only are taken");
  // Nothing keeps those from the socket at which every process of this user is the owner.
  if (!options.workflow_socket.empty() &&
      capabilities->containment == exec::Containment::best_effort)
    engine.hello.notes.push_back(
        "workflows: without namespaces their managing runs have all of your rights, not those of "
        "their credentials alone");
  for (auto& text : options.shares) {
    auto share = parse_share(text);
    if (!share) return share.error();
    engine.hello.shares.push_back(share->text());
    engine.host.shares.push_back(std::move(*share));
  }
  engine.only_delivers = options.only_delivers;
  if (options.only_delivers) engine.hello.capabilities["takes_runs"] = "0";
  engine.left = options.left;
  engine.emptied = options.emptied;
  engine.log = options.log;
  engine.connection = options.connection;
  engine.patient = !options.embedded;
  engine.ready_to_go = options.ready_to_go;

  engine.host.source = options.source;
  engine.host.scopes = options.scopes;
  engine.host.workflow_socket = options.workflow_socket;
  bool elsewhere = !options.service_url.empty();
  engine.host.service_url = elsewhere ? options.service_url : options.endpoint;
  engine.host.service_fingerprint =
      elsewhere ? options.service_fingerprint : options.trust.fingerprint;

  std::int64_t limit =
      options.cache_limit > 0 ? options.cache_limit : base::disk_size(options.folder) / 5;
  auto trees = std::make_unique<TreeCache>(options.folder + "/trees", limit,
                                           [] { return base::unix_us() * 1000; });
  SPELL_TRY(trees->open());
  engine.hello.capabilities["mount_cache"] = std::to_string(limit);

  std::vector<std::string> notes;
  auto found = folders.read(notes);
  if (!found) return found.error();
  if (options.log)
    for (auto& note : notes) options.log(note);
  auto codes = std::make_unique<CodeCache>(options.folder + "/code", limit / 10);
  auto cloud = find_cloud(options.notice);
  if (!cloud) return cloud.error();
  auto impl =
      std::make_unique<Impl>(std::move(engine), folders, std::move(trees), std::move(codes));
  SPELL_TRY(impl->engine.start(std::move(*found)));
  impl->watch(CloudNotice::start(
      {*cloud,
       options.metadata_url,
       {},
       [engine = &impl->engine](const Notice& notice) { engine->notice(notice); },
       [engine = &impl->engine](const Notice& notice) {
         engine->notice_withdrawn(notice.kind, notice.text);
       },
       options.log}));
  return std::unique_ptr<Worker>(new Worker(std::move(impl)));
}

Result<std::vector<std::string>> check_caches_at_rest(const std::string& folder) {
  if (!base::exists(folder + "/trees")) return std::vector<std::string>();
  TreeCache trees(folder + "/trees", INT64_MAX, [] { return base::unix_us() * 1000; });
  SPELL_TRY(trees.open());
  // Runs may go on under their supervisors.
  std::error_code none;
  for (auto& run : std::filesystem::directory_iterator(folder + "/runs", none))
    if (auto record = read_mount_record(run.path()))
      for (auto& key : record->keys) trees.hold(run.path().filename(), key);
  auto wrong = trees.check(std::chrono::seconds(0), {});
  trees.clean();
  return wrong;
}

void Worker::stop() {
  impl_->watch(nullptr);
  impl_->engine.stop();
}
void Worker::notice(const std::string& kind, const std::string& text,
                    std::chrono::milliseconds in) {
  impl_->engine.notice({kind, text, base::boot_ns() / 1000 + in.count() * 1000});
}
bool Worker::idle() const { return impl_->engine.idle(); }
std::vector<std::string> Worker::check_caches() { return impl_->engine.check_caches(); }
void Worker::make_room() { impl_->engine.make_room(); }

}  // namespace spell::worker
