// Services and workers inside of a program.
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>

#include "../client/support.hpp"
#include "catch.hpp"
#include "spell/asio.hpp"
#include "spell/spell.hpp"
#include "spell/worker.hpp"

using namespace spell;
namespace asio = boost::asio;
namespace fs = std::filesystem;

namespace {

const std::string supervisor = SPELL_BINARY_DIR "/bin/spell-supervisor";

Result<Service> serve(const std::string& folder) {
  ServiceOptions options;
  options.folder = folder;
  return Service::start(options);
}

Result<Worker> work(const Service& service) {
  WorkerOptions options;
  options.supervisor = supervisor;
  return Worker::start(service, options);
}

RunSpec command(const std::string& text) {
  RunSpec spec;
  spec.command = text;
  return spec;
}

std::vector<std::string> sockets_in(const std::string& folder) {
  std::vector<std::string> out;
  for (auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_socket()) out.push_back(entry.path());
  return out;
}

}  // namespace

TEST_CASE("a pipeline runs with nothing but the library") {
  test::TemporaryFolder place;
  auto service = serve(place.path + "/state").value();
  auto client = service.client();
  auto first = client.run(command("echo 42 > answer")).value();  // waits for a worker
  auto worker = work(service).value();
  CHECK(first.wait_success().value().output_files == 1);
  auto spec = command("cat answer; test ! -e " + place.path + "/state/spell.db");
  spec.mounts = {{first.output("answer"), "answer"}};
  auto second = client.run(spec).value();
  auto log = second.logs({.follow = true, .only = LogKind::output}).all().value();
  REQUIRE(log.size() == 1);
  CHECK(log[0].text == "42");
  CHECK(second.wait_success());
  CHECK(client.resources().read(first.output("answer")).value() == "42\n");
}

TEST_CASE("managing runs reach a service without a socket by one that is theirs alone") {
  test::TemporaryFolder place;
  // Longer than the address of a socket may be.
  std::string state = place.path + "/" + std::string(120, 'x');
  {
    auto service = serve(state).value();
    auto worker = work(service).value();
    auto client = service.client();
    WorkflowSpec spec;
    spec.run = command(std::string(SPELL_BINARY_DIR) + "/bin/spell_flow chain true 'echo two'");
    auto made = client.workflows().create(spec).value();
    CHECK(client.runs().wait(made.run.value()).value().user_exit_code == 0);
    auto info = client.workflows().get(made.id).value().info().value();
    CHECK(info.status == RunStatus::complete);
    REQUIRE(info.runs.size() == 3);
    CHECK(info.runs[2].key == "run-2");
    auto sockets = sockets_in(state + "/workflow-socket");
    REQUIRE(sockets.size() == 1);
    ClientOptions other;
    other.service = "unix:" + sockets[0];
    CHECK(Client::make(other).value().status().error().code() == "unauthorized");
  }
  CHECK(sockets_in(state + "/workflow-socket").empty());
}

TEST_CASE("checkpoints of a run that goes on are told once they are safe, and come back whole") {
  test::TemporaryFolder place;
  auto service = serve(place.path + "/state").value();
  auto worker = work(service).value();
  auto client = service.client();
  auto run = client
                 .run(command("mkdir checkpoints; echo nine > checkpoints/step-9.txt; "
                              "echo ten > $SPELL_CHECKPOINTS/step-10.txt; "
                              "echo half > checkpoints/.step-11.txt.part"))
                 .value();
  auto first = run.wait_checkpoint().value();  // begins before there is any
  CHECK(first.step == 9);
  auto second = run.wait_checkpoint(first).value();
  CHECK(second.path == "runs/1/checkpoints/step-10.txt");
  CHECK(run.wait_checkpoint(second).error().code() == "wait_failed");
  CHECK(second.download(place.path + "/here").value().files == 1);
  std::string line;
  std::getline(std::ifstream(place.path + "/here"), line);
  CHECK(line == "ten");
}

TEST_CASE("this computer's CPU is among the machine types, and nothing that it has not") {
  test::TemporaryFolder place;
  auto service = serve(place.path + "/state").value();
  auto worker = work(service).value();
  auto client = service.client();
  client.run(command("true")).value().wait_success().value();  // the worker is there
  auto found = client.select({.cpus = 1}).value();
  CHECK(found.front().name == "CPU");
  CHECK(found.front().connected == 1);
  CHECK(found.front().reason.find("1 of 1 machine connected") != std::string::npos);
  auto none = client.select({.cpus = 100'000});
  CHECK(none.error().code() == "no_machine_type");
  CHECK(none.error().message().find("CPU: ") != std::string::npos);
}

TEST_CASE("runs of a real service are awaited together, and a wait is canceled alone") {
  test::TemporaryFolder place;
  auto service = serve(place.path + "/state").value();
  auto client = service.client();
  constexpr int count = 40;
  asio::io_context context;
  int ended = 0, canceled = 0;
  asio::cancellation_signal signal;
  for (int i = 0; i < count; ++i) {
    auto run = client.run(command("exit " + std::to_string(i % 3))).value();
    async_wait(run, asio::bind_executor(context, [&](Result<RunInfo> end) { ended += end.ok(); }));
  }
  auto worker = work(service).value();
  auto last = client.run(command("sleep 1000")).value();
  async_wait(last, asio::bind_cancellation_slot(
                       signal.slot(), asio::bind_executor(context, [&](Result<RunInfo> end) {
                         canceled += end.error().code() == "canceled";
                       })));
  while (ended < count) context.run_one();
  signal.emit(asio::cancellation_type::terminal);
  context.run();
  CHECK(canceled == 1);
  CHECK(last.kill());
}

TEST_CASE("several services live in one program, each with its own runs") {
  test::TemporaryFolder place;
  std::vector<Service> services;
  std::vector<Worker> workers;
  std::vector<Run> runs;
  for (int i = 0; i < 3; ++i) {
    services.push_back(serve(place.path + "/" + std::to_string(i)).value());
    workers.push_back(work(services.back()).value());
  }
  for (auto& service : services) runs.push_back(service.client().run(command("pwd")).value());
  for (auto& run : runs) {
    CHECK(run.id() == 1);
    CHECK(run.wait_success());
  }
  auto taken = serve(place.path + "/1");
  CHECK(taken.error().code() == "folder_in_use");
}

TEST_CASE("what was answered is there again, and what runs goes on") {
  test::TemporaryFolder place;
  std::string go = place.path + "/go";
  std::int64_t id = 0;
  {
    auto service = serve(place.path + "/state").value();
    auto worker = work(service).value();
    auto run = service.client()
                   .run(command("echo begun; until [ -e " + go + " ]; do sleep 0.05; done"))
                   .value();
    auto log = run.logs({.follow = true, .only = LogKind::output});
    CHECK(log.next()->value().text == "begun");
    id = run.id();
  }
  auto service = serve(place.path + "/state").value();
  auto worker = work(service).value();
  std::ofstream(go) << "go";
  CHECK(service.client().runs().wait(id).value().user_exit_code == 0);
}

TEST_CASE("a client that outlives its service is told so") {
  test::TemporaryFolder place;
  auto service = serve(place.path + "/state").value();
  auto client = service.client();
  CHECK(client.status());
  service.stop();
  CallOptions options;
  options.timeout = std::chrono::milliseconds(200);
  auto asked = client.status(options);
  CHECK(!asked);
  auto again = serve(place.path + "/state");
  CHECK(again);
}

TEST_CASE("a socket is there for other programs where one is wanted") {
  test::TemporaryFolder place;
  ServiceOptions options;
  options.folder = place.path + "/state";
  options.socket = place.path + "/socket";
  auto service = Service::start(options).value();
  ClientOptions other;
  other.service = "unix:" + options.socket;
  CHECK(Client::make(other).value().status().value().owner ==
        service.client().status().value().owner);
}

TEST_CASE("what is missing is said") {
  CHECK(serve("").error().code() == "invalid_request");
  test::TemporaryFolder place;
  std::ofstream(place.path + "/file") << "x";
  CHECK(!serve(place.path + "/file"));
  auto service = serve(place.path + "/state").value();
  WorkerOptions options;
  options.supervisor = place.path + "/none";
  CHECK(!Worker::start(service, options));
}
