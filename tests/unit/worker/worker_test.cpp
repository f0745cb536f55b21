// The whole worker with real supervisors, against a service that keeps the protocol and nothing
// else.
#include "worker/worker.hpp"

#include <fcntl.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "base/text.hpp"
#include "fake_world.hpp"
#include "model/log.hpp"
#include "net/server.hpp"
#include "spellfs/tree.hpp"
#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

constexpr std::chrono::seconds patience{30};

class ServedWorker : net::Handler {
 public:
  ServedWorker() {
    net::ServerOptions options;
    options.socket_path = folder.path + "/s";
    options.spool_folder = folder.path;
    auto started = net::Server::start(options, *this);
    REQUIRE(started);
    server_ = std::move(*started);
    start_worker();
  }
  ~ServedWorker() {
    stop_worker();
    {
      std::lock_guard lock(mutex_);
      waiting_.reset();
    }
    server_->stop(0);
  }

  void start_worker() {
    WorkerOptions options;
    options.endpoint = "unix:" + folder.path + "/s";
    options.token = "spm_test";
    options.machine = "here";
    options.folder = folder.path + "/worker";
    options.supervisor = std::string(SPELL_BINARY_DIR) + "/bin/spell-supervisor";
    options.base_environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LANG=C.UTF-8"};
    auto started = Worker::start(options);
    REQUIRE((started ? "" : started.error().message()) == "");
    worker_ = std::move(*started);
  }
  void stop_worker() {
    if (worker_) worker_->stop();
    worker_.reset();
  }

  void assign(const model::StartCommand& start) {
    std::lock_guard lock(mutex_);
    service_.assign(start);
    answer_poll();
  }
  void want(const std::string& run, const std::string& type) {
    std::lock_guard lock(mutex_);
    service_.want(run, type);
    answer_poll();
  }
  template <class Condition>
  ServedRun wait(const std::string& run, Condition condition) {
    std::unique_lock lock(mutex_);
    bool met = changed_.wait_for(lock, patience, [&] { return condition(service_.runs[run]); });
    INFO("log: " << logs_[run]);
    REQUIRE(met);
    return service_.runs[run];
  }
  ServedRun wait_end(const std::string& run) {
    return wait(run, [](auto& r) { return r.result.has_value(); });
  }
  std::string log(const std::string& run) {
    std::lock_guard lock(mutex_);
    return logs_[run];
  }
  bool wait_log(const std::string& run, const std::string& text) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience,
                             [&] { return logs_[run].find(text) != std::string::npos; });
  }

  TemporaryFolder folder;
  std::string pack, objects;      ///< what is sent as code, and as objects
  std::atomic<int> failures = 0;  ///< so often the service is not ready to send them
  void wait_asked() {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, patience, [&] { return !have_.empty(); }));
  }
  std::vector<std::string> have() {
    std::lock_guard lock(mutex_);
    return have_;
  }

 private:
  Result<net::BodyRule> body_rule(const net::Request& head) override {
    const std::string& target = head.raw_target;
    return net::BodyRule{64 << 20, target.find("/objects") != std::string::npos};
  }
  net::Response error(const Error& e, const std::string&) override {
    return {500, "text/plain", e.message(), {}};
  }

  void handle(net::Request request, net::Reply reply) override {
    std::lock_guard lock(mutex_);
    auto& route = request.target.segments.back();
    auto& query = request.target.query;
    if (net::find_header(request.headers, "Authorization") != "Bearer spm_test")
      return reply.send({401, "", "", {}});
    if (route == "log") {
      auto& log = logs_[query["run"]];
      if (std::stoul(query["offset"]) == log.size()) {
        model::FrameParser parser;
        parser.feed(request.body);
        for (auto frame = parser.next(); frame && *frame; frame = parser.next())
          log += (*frame)->payload;
      }
      answer(reply, {{"bytes", log.size()}});
    } else if (route == "missing") {
      answer(reply, {{"names", model::json::parse(request.body)["names"]}});
    } else if (route == "code") {
      have_.push_back(query["have"]);
      if (--failures >= 0) return reply.send({503, "text/plain", "not now", {}});
      reply.send({200, "application/vnd.git.pack", pack, {}});
    } else if (route == "read") {
      if (--failures >= 0) return reply.send({503, "text/plain", "not now", {}});
      reply.send({200, "application/octet-stream", objects, {}});
    } else if (route == "objects") {
      service_.runs[query["run"]].outputs.insert(std::to_string(request.body_size));
      answer(reply, model::json::object());
    } else {
      auto sync = model::parse_sync_request(model::json::parse(request.body));
      if (!sync) return reply.send({400, "text/plain", sync.error().message(), {}});
      auto out = service_.sync(*sync);
      if (sync->wait_ms > 0 && out->commands.empty()) {
        waiting_ = {*sync, reply};
      } else {
        answer(reply, model::to_json(*out));
      }
      answer_poll();
    }
    changed_.notify_all();
  }
  void answer(const net::Reply& reply, const model::json& body) {
    reply.send({200, "application/json", body.dump(), {}});
  }
  void answer_poll() {
    if (!waiting_) return;
    auto out = service_.sync(waiting_->first);
    if (out->commands.empty()) return;
    answer(waiting_->second, model::to_json(*out));
    waiting_.reset();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  FakeService service_;
  std::map<std::string, std::string> logs_;
  std::vector<std::string> have_;  ///< what the worker said it has, each time it asked for code
  std::optional<std::pair<model::SyncRequest, net::Reply>> waiting_;
  std::unique_ptr<net::Server> server_;
  std::unique_ptr<Worker> worker_;
};

model::StartCommand command(const std::string& text) {
  auto start = start_command();
  start.request.command = text;
  return start;
}

/// A repository with one commit, and the pack that a service would send of it.
struct SentCode {
  TemporaryFolder folder;
  std::string commit, pack;

  SentCode() {
    sh("git init -q -b main . && echo hello >hello.txt && git add . && "
       "git -c user.name=A -c user.email=a@b commit -qm one && git rev-parse HEAD >../id && "
       "git rev-list --objects HEAD | cut -d' ' -f1 | "
       "git pack-objects -q --stdout --window=0 >../pack");
    commit = std::string(base::trim(base::read_file(folder.path + "/id").value()));
    pack = base::read_file(folder.path + "/pack").value();
  }
  void sh(const std::string& command) const {
    std::string line = "mkdir -p " + folder.path + "/code && cd " + folder.path +
                       "/code && GIT_CONFIG_GLOBAL=/dev/null " + command;
    REQUIRE(std::system(("{ " + line + "; }").c_str()) == 0);
  }
  model::StartCommand start(const std::string& text) const {
    auto start = start_with_code();
    start.request.command = text;
    start.request.code->commit = commit;
    start.code_url = "service:";
    return start;
  }
};

}  // namespace

TEST_CASE("a command runs, its output arrives, its files are saved, its folder goes") {
  ServedWorker world;
  world.assign(command("echo hello; echo $SPELL_RUN; echo data > out.txt"));
  auto run = world.wait_end(id);
  CHECK(run.statuses() == std::vector<std::string>{"building", "running", "saving", "pushing"});
  CHECK(run.result->status == "complete");
  CHECK(run.result->exit_code == 0);
  CHECK(run.result->output_files == 1);
  CHECK(run.result->output_bytes == 5);
  CHECK(!run.result->outputs.empty());
  CHECK(run.result->log_bytes == 8);
  CHECK(run.outputs.size() == 1);
  CHECK(run.count("Saved 1 file, 5 B") == 1);
  CHECK(world.log(id) == "hello\n7\n");
  world.stop_worker();
  world.start_worker();
}

TEST_CASE("python is there where only python3 is") {
  ServedWorker world;
  world.assign(command("command -v python >/dev/null && python -c 'print(41 + 1)'"));
  auto run = world.wait_end(id);
  CHECK(run.result->exit_code == 0);
  CHECK(world.log(id) == "42\n");
}

TEST_CASE("a folder that is not in the code fails the run by name") {
  ServedWorker world;
  auto start = command("true");
  start.request.folder = "no/such";
  world.assign(start);
  auto run = world.wait_end(id);
  CHECK(run.result->status == "failed");
  CHECK(run.result->reason_code == "no_such_folder");
}

TEST_CASE("a repository that is not there fails the build") {
  ServedWorker world;
  auto start = start_with_code();
  start.code_url = "file://" + world.folder.path + "/none.git";
  world.assign(start);
  CHECK(world.wait_end(id).result->status == "build_failed");
}

TEST_CASE("stop reaches the command, and its files are saved") {
  ServedWorker world;
  world.assign(command(
      "trap 'echo bye; echo x > kept; exit 3' TERM; echo ready; while :; do sleep 0.01; done"));
  REQUIRE(world.wait_log(id, "ready\n"));
  world.want(id, "stop");
  auto run = world.wait_end(id);
  CHECK(run.result->status == "stopped");
  CHECK(run.result->exit_code == 3);
  CHECK(run.result->output_files == 1);
  CHECK(world.log(id).ends_with("bye\n"));
}

TEST_CASE("kill saves nothing") {
  ServedWorker world;
  world.assign(command("echo x > file; echo ready; sleep 1000"));
  REQUIRE(world.wait_log(id, "ready\n"));
  world.want(id, "kill");
  auto run = world.wait_end(id);
  CHECK(run.result->status == "killed");
  CHECK(run.result->outputs.empty());
  CHECK(run.outputs.empty());
}

TEST_CASE("a worker that comes back finds its runs, the living and the dead") {
  ServedWorker world;
  world.assign(command("echo one; while [ ! -e $SPELL_ROOT/go ]; do sleep 0.01; done; echo two"));
  REQUIRE(world.wait_log(id, "one\n"));
  world.wait(id, [](auto& run) { return run.count("Run is running") == 1; });
  world.stop_worker();
  SECTION("while the command runs") {
    world.start_worker();
    REQUIRE(base::write_file(world.folder.path + "/worker/runs/" + id + "/spell/go", ""));
  }
  SECTION("when it has ended") {
    REQUIRE(base::write_file(world.folder.path + "/worker/runs/" + id + "/spell/go", ""));
    world.start_worker();
  }
  auto run = world.wait_end(id);
  CHECK(run.statuses() == std::vector<std::string>{"building", "running", "saving", "pushing"});
  CHECK(run.result->status == "complete");
  CHECK(world.log(id) == "one\ntwo\n");
  CHECK(run.result->log_bytes == 8);
}

TEST_CASE("code comes over the wire, and the second time not again") {
  ServedWorker world;
  SentCode code;
  world.pack = code.pack;
  world.failures = 2;  // a service that is not ready is asked again
  auto start = code.start("cat hello.txt");
  world.assign(start);
  CHECK(world.wait_end(id).result->status == "complete");
  CHECK(world.log(id) == "hello\n");
  CHECK(world.have() == std::vector<std::string>{"", "", ""});
  auto second = code.start("cat hello.txt; echo again");
  second.run = "0190a0b0c0d07000800000000000000b";
  world.assign(second);
  CHECK(world.wait_end(second.run).result->status == "complete");
  CHECK(world.log(second.run) == "hello\nagain\n");
  CHECK(world.have().size() == 3);
}

TEST_CASE("a pack that is not the run's code fails the build") {
  ServedWorker world;
  SentCode code;
  world.pack = "PACK nonsense";
  world.assign(code.start("true"));
  auto run = world.wait_end(id);
  CHECK(run.result->status == "build_failed");
  CHECK(run.result->reason_code == "bad_pack");
}

TEST_CASE("a run that waits for its code can be killed") {
  ServedWorker world;
  SentCode code;
  world.failures = 1'000'000;
  world.assign(code.start("true"));
  world.wait_asked();
  world.want(id, "kill");
  CHECK(world.wait_end(id).result->status == "killed");
}

TEST_CASE("what a run mounts comes over the wire") {
  ServedWorker world;
  TemporaryFolder data;
  REQUIRE(base::write_file(data.path + "/file", "content", 0644));
  auto file = base::open(data.path + ".pack", O_RDWR | O_CREAT).value();
  spellfs::PackWriter writer(file.get());
  auto saved = spellfs::save(data.path, {}, writer).value();
  auto size = writer.finish().value();
  world.objects.resize(static_cast<std::size_t>(size));
  REQUIRE(base::pread_full(file.get(), world.objects.data(), world.objects.size(), 0));
  REQUIRE(base::remove_tree(data.path + ".pack"));
  world.failures = 1;
  auto start = start_with_mount();
  start.request.command = "cat x/file";
  start.mounts[0].type = "folder";
  start.mounts[0].node = saved.tree->text();
  start.mounts[0].size = 7;
  start.mounts[0].files = 1;
  start.mounts[0].mode = 0755;
  world.assign(start);
  auto run = world.wait_end(id);
  CHECK(run.result->reason == "");
  CHECK(run.result->status == "complete");
  CHECK(world.log(id) == "content");
}

TEST_CASE("many lines of output arrive whole") {
  ServedWorker world;
  world.assign(command("seq 1 200000"));
  auto run = world.wait_end(id);
  std::string expected;
  for (int i = 1; i <= 200000; ++i) expected += std::to_string(i) + "\n";
  CHECK((world.log(id) == expected));
  CHECK(run.result->log_bytes == static_cast<std::int64_t>(expected.size()));
}
