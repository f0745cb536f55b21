// What testers of their own programs get.
#include <condition_variable>
#include <mutex>

#include "catch.hpp"
#include "spell/spell.hpp"
#include "spell/testing.hpp"

using namespace spell;
using namespace spell::testing;

TEST_CASE("a client's service can be a function") {
  int lost = 0;
  FakeTransport fake([&](const Request& request) -> Result<Answer> {
    if (request.path == "/v1/owners/test/runs/7" && lost++ == 0)
      return Error("connection_lost", "cut");
    if (request.path == "/v1/owners/test/runs/7")
      return Answer{200, R"({"run": {"id": 7, "status": "complete", "user_exit_code": 0}})"};
    return refusal(404, "run_not_found", "there is none");
  });
  auto client = fake.client();
  CHECK(client.runs().get(7).value().info().value().status == RunStatus::complete);
  auto missing = client.runs().get(8);
  CHECK(missing.error().code() == "run_not_found");
  CHECK(missing.error().http_status() == 404);
  auto asked = fake.requests();
  REQUIRE(asked.size() == 4);
  CHECK(asked[0].method == "GET");
  CHECK(asked[3].path == "/v1/owners/test/runs/8");
}

TEST_CASE("a fake service that cannot be reached is given up without waiting") {
  FakeTransport fake([](const Request&) -> Result<Answer> {
    return Error("service_unreachable", "nobody there");
  });
  CHECK(fake.client().status().error().code() == "service_unreachable");
}

TEST_CASE("commands can be functions of a service that is real") {
  auto service = MockService::start([](Execution& run) {
                   if (run.command() == "fail") {
                     run.print("it went wrong\n");
                     return 3;
                   }
                   run.print("hello " + run.env().at("WHO") + "\n");
                   run.save("checkpoints/step-10.pt", "weights");
                   run.save("checkpoints/step-20.pt", "better weights");
                   for (double loss : {2.0, 1.0, 0.5}) run.send_metric("loss", loss);
                   return 0;
                 }).value();
  auto client = service.client();
  RunSpec spec;
  spec.command = "train";
  spec.env = {{"WHO", "ada"}};
  auto run = client.run(spec, "a key").value();
  CHECK(client.run(spec, "a key").value().id() == run.id());
  CHECK(run.wait_metric("loss", "<", 0.6).value().index == 2);
  CHECK(run.wait_success());
  auto log = run.logs({.only = LogKind::output}).all().value();
  REQUIRE(log.size() == 1);
  CHECK(log[0].text == "hello ada");
  auto checkpoints = run.checkpoints(true).all().value();
  REQUIRE(checkpoints.size() == 2);
  CHECK(checkpoints[1].step == 20);
  auto file = checkpoints[1].open().value();
  char buffer[64];
  CHECK(std::string(buffer, file.read(buffer, sizeof buffer).value()) == "better weights");
  spec.command = "fail";
  auto conflict = client.run(spec, "a key");
  CHECK(conflict.error().code() == "key_conflict");
  auto failed = client.run(spec).value().wait_success();
  CHECK(failed.error().message().find("exit code 3") != std::string::npos);
  CHECK(failed.error().message().find("it went wrong") != std::string::npos);
}

TEST_CASE("a mock run is stopped and killed, and its executor's exception is its failure") {
  std::mutex mutex;
  std::condition_variable_any changed;
  auto service = MockService::start([&](Execution& run) {
                   if (run.command() == "throw") throw std::runtime_error("out of ideas");
                   run.print("begun\n");
                   run.save("partial", "x");
                   std::unique_lock lock(mutex);
                   changed.wait(lock, run.stop(), [] { return false; });
                   return 143;
                 }).value();
  auto client = service.client();
  RunSpec spec;
  spec.command = "wait";
  auto begun = [&] {
    auto run = client.run(spec).value();
    auto log = run.logs({.follow = true, .only = LogKind::output});
    CHECK(log.next()->value().text == "begun");
    return run;
  };
  auto one = begun(), two = begun();
  one.stop().value();
  auto stopped = one.wait().value();
  CHECK(stopped.status == RunStatus::stopped);
  CHECK(stopped.output_files == 1);
  two.kill().value();
  auto killed = two.wait().value();
  CHECK(killed.status == RunStatus::killed);
  CHECK(killed.output_files == 0);
  spec.command = "throw";
  auto thrown = client.run(spec).value().wait().value();
  CHECK(thrown.status == RunStatus::failed);
  CHECK(thrown.reason == "out of ideas");
  // What still runs at the end is asked to stop.
  spec.command = "wait";
  begun();
}
