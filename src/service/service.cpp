#include "service/service.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <set>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "net/socket.hpp"
#include "service/api.hpp"
#include "service/machine_tokens.hpp"
#include "service/packages.hpp"
#include "service/pools.hpp"
#include "service/router.hpp"
#include "service/sdk.hpp"
#include "spellfs/pack_store.hpp"

namespace spell::service {

namespace {
/// Runs that this computer's worker is given beyond its places, for each of them: what a place
/// needs until the end of one run is known here and the next has been sent, with some to send at
/// once.
constexpr int given_ahead = 4;

/// By which machines of pools know their service; a restored one is the same.
Result<std::string> pool_tag(store::Writer& writer) {
  constexpr const char* note = "pools_tag";
  auto known = writer.note(note);
  if (!known) return known.error();
  if (*known == 0) {
    auto bytes = base::random_bytes(6);
    for (unsigned char byte : bytes) *known = *known << 8 | byte;
    SPELL_TRY(writer.set_note(note, *known | 1));
    *known |= 1;
  }
  char text[16];
  std::snprintf(text, sizeof text, "%012llx", static_cast<unsigned long long>(*known));
  return "spell-" + std::string(text);
}
}  // namespace

struct Service::Impl : Reactor::Observer, MachineLink::Watcher {
  ServiceOptions options;
  std::string machine_token = "spm_" + base::hex(base::random_bytes(32));
  std::optional<store::Writer> writer;
  std::unique_ptr<spellfs::PackStore> objects;
  std::unique_ptr<LogStore> logs;
  std::unique_ptr<Readers> readers;
  std::unique_ptr<SecretBox> secrets;
  Metrics metrics;
  std::unique_ptr<State> state;
  Hub hub;
  Ends ends;
  std::unique_ptr<Space> space;  // called by the timer's thread until that has ended
  Timer timer;
  base::Pool jobs{3}, log_jobs{3}, passwords{1};
  Guesses guesses;
  std::unique_ptr<MachineLink> machines;
  MachineTokens machine_tokens;
  std::unique_ptr<Reactor> reactor;
  std::unique_ptr<Pools> pools;
  std::unique_ptr<Storage> storage;
  std::unique_ptr<Streams> streams;
  std::unique_ptr<Collector> collector;
  std::unique_ptr<Packages> packages;
  std::unique_ptr<Sdk> sdk;
  std::unique_ptr<Context> context;
  std::unique_ptr<Callers> callers;
  TeamCallers* team = nullptr;  ///< callers, of a team's service
  std::unique_ptr<Callers> workflow_callers;
  std::unique_ptr<Router> router, workflow_router;
  std::unique_ptr<net::Server> server, workflow_server;

  std::mutex mutex;
  std::condition_variable ended;
  std::string end_reason;
  bool ending = false, stopped = false;
  std::atomic<std::int64_t> last_call_ns{base::boot_ns()};
  std::atomic<std::size_t> active{0};
  std::atomic<Collector*> to_hurry{nullptr};
  std::atomic<bool> pools_open = false;  ///< machines that they launch can join
  std::atomic<net::Server*> open_server{nullptr}, open_workflow_server{nullptr};
  mutable std::mutex identity_mutex;
  std::string fingerprint;         // under identity_mutex
  std::string certificate;         // under identity_mutex
  std::uint64_t expiry_timer = 0;  // of the reactor's thread
  std::uint64_t start_timer = 0;   // of the reactor's thread
  bool saving_space = false;       // of the reactor's thread

  /// Before what their callbacks use: a start may fail half-way.
  ~Impl() override {
    timer.stop();
    if (reactor) reactor->stop();
  }

  /// Ends what is open under these tokens.
  void close_of(std::vector<std::string> tokens) {
    if (tokens.empty()) return;
    if (auto* doors = open_workflow_server.load()) doors->close_of(tokens);
    if (auto* doors = open_server.load()) doors->close_of(std::move(tokens));
  }

  /// What the store says of people and tokens holds from here on; open calls of those who are out
  /// end.
  void take_over_people(store::Reader& reader) {
    auto refreshed = team->refresh(reader);
    if (!refreshed) {
      if (options.log) options.log("people could not be read: " + refreshed.error().message());
      return;
    }
    close_of(std::move(refreshed->ended));
    timer.cancel(expiry_timer);
    if (refreshed->next_expiry_us == 0) return;
    auto left = std::chrono::microseconds(
        std::max<std::int64_t>(0, refreshed->next_expiry_us - base::unix_us()));
    // Later by a moment: whoever looks then finds it ended.
    expiry_timer = timer.after(std::chrono::ceil<std::chrono::milliseconds>(left), [this] {
      reactor->post([](State& s, std::int64_t now) -> Reactor::Answer {
        (void)s.writer().drop_tokens_before(now);
        s.people_changed();
        return {};
      });
    });
  }

  void committed(const std::vector<std::string>& changed, State& s) override {
    if (s.take_people_changed() && team) take_over_people(s.writer());
    active = s.active();
    // Before a worker hears of it: who is given credentials may use them at once.
    if (s.take_tokens_changed()) close_of(machine_tokens.refresh(s));
    machines->refresh(changed, s);
    auto ended_now = s.take_ended();
    std::set<std::string> owners;
    for (auto& end : ended_now) owners.insert(end.owner);
    ends.add(std::move(ended_now));
    for (auto& owner : owners) hub.notify(Ends::key(owner));
    for (auto& id : changed) {
      hub.notify(id);
      if (!s.active_run(id)) streams->run_ended(id);
    }
    if (!changed.empty() && collector) collector->runs_changed();
    if (pools_open) pools->refresh(s);
    wake_when_due(s);
  }

  /// A run that waits for its time, and a pool, are looked at when that has come.
  void wake_when_due(State& s) {
    timer.cancel(start_timer);
    auto at = s.next_start_us();
    for (auto due : {s.next_pool_us(), s.next_allowance_us()})
      if (at == 0 || (due != 0 && due < at)) at = due;
    if (at == 0) return;
    auto left = std::chrono::microseconds(std::max<std::int64_t>(0, at - base::unix_us()));
    start_timer = timer.after(std::chrono::ceil<std::chrono::milliseconds>(left), [this] {
      reactor->post([](State&, std::int64_t) -> Reactor::Answer { return {}; });
    });
  }

  void machine_away(const std::string& id, std::int64_t session) override {
    reactor->post([id, session](State& s, std::int64_t now) -> Reactor::Answer {
      s.away(id, session, now);
      return {};
    });
  }

  void leases_due() override {
    reactor->post([this](State& s, std::int64_t now) -> Reactor::Answer {
      auto due = machines->expire();
      for (auto& id : due.away)
        if (auto* machine = s.machine_by_id(id)) s.away(id, machine->session, now);
      for (auto& id : due.lost) s.lost(id, now);
      return {};
    });
  }

  void starting(State& s) override {
    space->look();
    if (saving_space == space->full()) return;
    saving_space = space->full();
    if (auto done = s.writer().save_space(saving_space); !done && options.log)
      options.log("the database could not be made small: " + done.error().message());
  }

  void failed(const Error& error) override {
    space->failed(error);
    if (options.log) options.log("a change could not be stored: " + error.message());
  }

  /// As others reach it.
  std::string url() const {
    if (!team) return "unix:" + options.socket_path;
    bool brackets = options.host.find(':') != std::string::npos;
    std::string port = options.listen.substr(options.listen.rfind(':') + 1);
    if (auto* doors = open_server.load()) port = std::to_string(doors->port());
    return "https://" + (brackets ? "[" + options.host + "]" : options.host) + ":" + port;
  }

  Result<std::shared_ptr<const net::Tls>> take_identity(const net::Identity& identity) {
    auto tls = net::Tls::server(identity, options.authority.certificate);
    if (!tls) return tls;
    auto authority = net::authority_fingerprint(identity.certificate);
    if (!authority) return authority.error();
    std::lock_guard lock(identity_mutex);
    fingerprint = *authority;
    certificate = identity.certificate;
    return tls;
  }

  void request_stop(const std::string& reason) {
    std::lock_guard lock(mutex);
    if (ending) return;
    ending = true;
    end_reason = reason;
    ended.notify_all();
  }

  /// Ends an idle service. A look is due when the last call is old enough, not before.
  void watch_idleness() {
    if (options.idle_seconds <= 0) return;
    std::int64_t idle_ms = (base::boot_ns() - last_call_ns) / 1'000'000,
                 limit_ms = options.idle_seconds * 1000;
    bool busy = active > 0 || streams->size() > 0 || hub.size() > 0 || !jobs.idle() ||
                !log_jobs.idle() || !collector->idle() || machines->others() > 0 ||
                !pools->idle() || (options.worker_idle && !options.worker_idle());
    if (idle_ms >= limit_ms && !busy)
      return request_stop("idle for " + std::to_string(options.idle_seconds) + " s");
    std::int64_t next_ms = idle_ms >= limit_ms ? limit_ms : limit_ms - idle_ms;
    timer.after(std::chrono::milliseconds(std::max<std::int64_t>(next_ms, 100)),
                [this] { watch_idleness(); });
  }
};

Service::Service(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Service::~Service() { stop(); }

Result<std::unique_ptr<Service>> Service::start(const ServiceOptions& options) {
  auto impl = std::make_unique<Impl>();
  Impl& self = *impl;
  self.options = options;
  const std::string& folder = options.state_folder;
  for (auto* part : {"", "/logs", "/code", "/incoming"})
    SPELL_TRY(base::make_folders(folder + part));

  // First: a full disk must not keep the service from coming back.
  self.space = std::make_unique<Space>(
      folder, self.timer,
      [&self](bool full) {
        if (self.options.log)
          self.options.log(full ? "the disk is full: new work is refused"
                                : "there is room on the disk again");
        if (auto* collector = self.to_hurry.load(); full && collector) collector->hurry();
      },
      options.keep_free,
      [&self] {
        if (self.options.give_up_caches) self.jobs.post(self.options.give_up_caches);
      });
  auto writer = store::Writer::open(folder + "/spell.db");
  if (!writer) return writer.error();
  self.writer.emplace(std::move(*writer));
  auto objects = spellfs::open_pack_store(folder + "/objects");
  if (!objects) return objects.error();
  self.objects = std::move(*objects);
  self.logs = std::make_unique<LogStore>(folder + "/logs");
  self.readers = std::make_unique<Readers>(folder + "/spell.db");
  self.secrets = std::make_unique<SecretBox>(folder + "/keys/secrets.key");

  StateOptions state_options;
  state_options.code_folder = folder + "/code";
  state_options.first_command = base::unix_us();
  state_options.managing = options.managing;
  state_options.log_size = [logs = self.logs.get()](const std::string& run) {
    return logs->size(run).value_or(0);
  };
  state_options.secrets = [&self](const RunRecord& run) {
    return self.secrets->values_for(run, *self.writer);
  };
  self.state = std::make_unique<State>(*self.writer, state_options);
  bool personal = options.kind == ServiceOptions::Kind::personal;
  // Without root all runs of a worker are one user's, and could reach each other's files.
  bool one_owner = !personal && ::geteuid() != 0;
  if (!options.machine.empty())
    self.state->add_machine(options.machine, {"cpu"}, options.places,
                            personal ? given_ahead * options.places : 0, personal,
                            one_owner ? options.owner : "");
  SPELL_TRY(self.state->load());
  self.machine_tokens.refresh(*self.state);
  SPELL_TRY(self.writer->drop_keys_before(base::unix_us() -
                                          std::chrono::microseconds(keys_kept).count()));

  self.streams = std::make_unique<Streams>(self.timer);
  self.machines = std::make_unique<MachineLink>(self.timer, self.writer->incarnation(), self);
  auto tag = pool_tag(*self.writer);
  if (!tag) return tag.error();
  self.reactor = std::make_unique<Reactor>(*self.state, self, base::unix_us);
  self.storage =
      std::make_unique<Storage>(*self.readers, *self.objects, *self.logs, folder, options.owner);
  self.collector =
      std::make_unique<Collector>(*self.storage, *self.readers, *self.reactor, self.timer,
                                  *self.logs, self.log_jobs, options.log, options.retention);
  self.packages = std::make_unique<Packages>(options.packages);
  self.sdk = std::make_unique<Sdk>(options.sdk);
  Pools::Options pooling;
  pooling.tag = *tag;
  pooling.programs = options.pools;
  pooling.worker = options.worker_program;
  pooling.personal = personal;
  pooling.folder = folder + "/pools";
  pooling.socket = options.socket_path;
  pooling.check = options.pool_check;
  pooling.url = [&self] { return self.url(); };
  pooling.fingerprint = [&self] { return self.context->fingerprint(); };
  pooling.install = [&self]() -> std::string {
    auto url = self.url();
    if (!url.starts_with("https:")) return "";
    return install_line(url, self.context->certificate()).value_or("");
  };
  pooling.log = options.log;
  self.pools = std::make_unique<Pools>(pooling, *self.reactor, self.timer);
  self.context.reset(
      new Context{.options = self.options,
                  .readers = *self.readers,
                  .reactor = *self.reactor,
                  .hub = self.hub,
                  .ends = self.ends,
                  .timer = self.timer,
                  .jobs = self.jobs,
                  .log_jobs = self.log_jobs,
                  .logs = *self.logs,
                  .objects = *self.objects,
                  .machines = *self.machines,
                  .space = *self.space,
                  .storage = *self.storage,
                  .streams = *self.streams,
                  .collector = *self.collector,
                  .packages = *self.packages,
                  .pools = *self.pools,
                  .sdk = *self.sdk,
                  .secrets = *self.secrets,
                  .metrics = self.metrics,
                  .started_us = base::unix_us(),
                  .request_stop = [&self](const std::string& reason) { self.request_stop(reason); },
                  .code_path =
                      [folder](const std::string& owner, const std::string& workspace) {
                        return folder + "/code/" + owner + "/" + workspace + ".git";
                      },
                  .url = [&self] { return self.url(); },
                  .fingerprint =
                      [&self] {
                        std::lock_guard lock(self.identity_mutex);
                        return self.fingerprint;
                      },
                  .certificate =
                      [&self] {
                        std::lock_guard lock(self.identity_mutex);
                        return self.certificate;
                      },
                  .guesses = self.guesses,
                  .passwords = self.passwords});
  SPELL_TRY(base::make_folders(folder + "/code/" + options.owner));
  if (options.kind == ServiceOptions::Kind::team) {
    auto team = std::make_unique<TeamCallers>(TeamCallers::Options{
        options.owner, options.machine, options.machine.empty() ? "" : self.machine_token,
        self.machine_tokens, base::unix_us, [&self](const std::string& token) {
          self.reactor->post([token](State& state, std::int64_t now) -> Reactor::Answer {
            (void)state.writer().set_seen(token, now);
            return {};
          });
        }});
    self.team = team.get();
    self.callers = std::move(team);
  } else {
    self.callers = std::make_unique<PersonalCallers>(options.owner, options.machine,
                                                     self.machine_token, self.machine_tokens);
  }
  self.router = std::make_unique<Router>(*self.context, *self.callers,
                                         [&self] { self.last_call_ns = base::boot_ns(); });
  // What the first answers need: the assignments of runs that an earlier process left.
  self.reactor->post([](State& state, std::int64_t) -> Reactor::Answer {
    state.announce_all();
    state.people_changed();
    return {};
  });

  net::ServerOptions server;
  server.socket_path = options.socket_path;
  server.spool_folder = folder + "/incoming";
  server.threads = 2;
  if (self.team) {
    auto tls = self.take_identity(options.identity);
    if (!tls) return tls.error();
    server.listen = options.listen;
    server.tls = *tls;
    // Before the first call comes.
    auto read =
        self.readers->with([&](store::Reader& reader) { return self.team->refresh(reader); });
    if (!read) return read.error();
  }
  auto started = net::Server::start(server, *self.router);
  if (!started) return started.error();
  self.server = std::move(*started);
  self.open_server = self.server.get();
  if (!options.workflow_socket.empty()) {
    SPELL_TRY(base::make_folders(
        options.workflow_socket.substr(0, options.workflow_socket.rfind('/')), 0700));
    self.workflow_callers = std::make_unique<WorkflowCallers>(*self.callers);
    self.workflow_router = std::make_unique<Router>(
        *self.context, *self.workflow_callers, [&self] { self.last_call_ns = base::boot_ns(); });
    net::ServerOptions inner;
    inner.socket_path = options.workflow_socket;
    inner.spool_folder = server.spool_folder;
    inner.threads = 1;
    auto opened = net::Server::start(inner, *self.workflow_router);
    if (!opened) return opened.error();
    self.workflow_server = std::move(*opened);
    self.open_workflow_server = self.workflow_server.get();
  }
  self.pools_open = true;
  self.reactor->post([](State&, std::int64_t) -> Reactor::Answer { return {}; });
  self.collector->start();
  self.to_hurry = self.collector.get();
  self.watch_idleness();
  return std::unique_ptr<Service>(new Service(std::move(impl)));
}

const spellfs::ChunkStore& Service::objects() const { return *impl_->objects; }
const std::string& Service::machine_token() const { return impl_->machine_token; }

Result<base::Fd> Service::dial() {
  auto ends = net::make_socket_pair();
  if (!ends) return ends.error();
  impl_->server->take(std::move(ends->first));
  return std::move(ends->second);
}
std::string Service::url() const { return impl_->context->url(); }
std::string Service::fingerprint() const { return impl_->context->fingerprint(); }

int Service::port() const { return impl_->server->port(); }

Result<> Service::set_identity(const net::Identity& identity) {
  auto tls = impl_->take_identity(identity);
  if (!tls) return tls.error();
  impl_->server->set_tls(*tls);
  return ok();
}

std::string Service::wait() {
  std::unique_lock lock(impl_->mutex);
  impl_->ended.wait(lock, [&] { return impl_->ending; });
  return impl_->end_reason;
}

void Service::request_stop(const std::string& reason) { impl_->request_stop(reason); }

void Service::stop() {
  if (!impl_ || impl_->stopped) return;
  impl_->stopped = true;
  if (impl_->workflow_server) impl_->workflow_server->stop();
  if (impl_->server) impl_->server->stop();
  impl_->timer.stop();
  if (impl_->collector) impl_->collector->stop();
  if (impl_->pools) impl_->pools->stop();
  impl_->jobs.stop();
  impl_->log_jobs.stop();
  impl_->passwords.stop();
  if (impl_->reactor) impl_->reactor->stop();
}

}  // namespace spell::service
