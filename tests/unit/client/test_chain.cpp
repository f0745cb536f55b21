// A run that is interrupted and goes on as another: whoever holds the first has hold of its chain.
#include <deque>
#include <map>

#include "catch.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

using namespace spell;
using test::Answer;
using test::World;

namespace {

/// Runs with their logs and points. What happens does so while somebody waits for it, step by step.
struct Runs7to9 {
  World world;
  std::map<std::int64_t, RunInfo> runs;
  std::map<std::int64_t, std::string> output;
  std::map<std::int64_t, std::vector<Metric>> points;
  std::deque<std::function<void()>> steps;
  std::vector<std::string> posted;

  Runs7to9() {
    set(7, "running");
    world.transport->serve = [this](const net::ClientRequest& request) { return answer(request); };
  }
  /// Run 7 is interrupted, and goes on as run 9, which ends in this way.
  void ended_as(const std::string& status, std::optional<int> exit_code = {}) {
    set(7, "interrupted");
    runs[7].resumed_as_run = 9;
    set(9, status);
    runs[9].user_exit_code = exit_code;
  }
  RunInfo& set(std::int64_t id, const std::string& status) {
    auto& run = runs[id];
    run.id = id;
    run.status = RunStatus(status);
    ++run.version;
    return run;
  }
  void point(std::int64_t run, double value) {
    points[run].push_back({.name = "loss", .index = std::ssize(points[run]), .value = value});
  }
  bool happens() {
    if (steps.empty()) return false;
    auto step = std::move(steps.front());
    steps.pop_front();
    step();
    return true;
  }

  Answer answer(const net::ClientRequest& request) {
    auto target = test::target_of(request);
    auto& parts = target.segments;
    if (parts.back() == "healthz") return {200, "{}"};
    std::int64_t id = std::stoll(parts.at(4));
    if (!runs.contains(id)) return {404, R"({"error":{"code":"run_not_found","message":"none"}})"};
    if (parts.size() == 5) {
      bool waits = target.query.contains("wait_ms");
      if (waits && target.query["version"] == std::to_string(runs[id].version) && !happens())
        world.waiter->time += std::chrono::milliseconds(std::stoi(target.query["wait_ms"]));
      return {200, detail::json{{"run", runs[id]}}.dump()};
    }
    if (request.method == "POST") {
      posted.push_back(parts[5] + " " + parts[4]);
      if (!runs[id].status.is_final()) set(id, parts[5] == "stop" ? "stopped" : "killed");
      return {200, detail::json{{"run", runs[id]}}.dump()};
    }
    return parts[5] == "log" ? log(id, target.query) : page(id, target.query);
  }

  Answer log(std::int64_t id, std::map<std::string, std::string> query) {
    auto cursor = model::LogCursor::parse(query["cursor"]).value_or(model::LogCursor{});
    auto text = output[id];
    auto from = static_cast<std::size_t>(cursor.bytes);
    if (query.contains("tail")) {
      from = text.size();
      for (int lines = std::stoi(query["tail"]); lines >= 0 && from > 0; --lines)
        from = text.rfind('\n', from - 1) == text.npos ? 0 : text.rfind('\n', from - 1);
      if (from > 0) ++from;
    }
    std::string body;
    if (from < text.size())
      model::append_frame(body, {.kind = model::FrameKind::output, .sequence = from},
                          std::string_view(text).substr(from));
    runs[id].log_bytes = std::ssize(text);
    if (query.contains("follow")) happens();
    return {200, body};
  }

  Answer page(std::int64_t id, std::map<std::string, std::string> query) {
    auto from = static_cast<std::size_t>(std::stoll(query["from"]));
    if (query.contains("wait_ms") && from == points[id].size() && !runs[id].status.is_final())
      happens();
    auto& all = points[id];
    std::vector<Metric> rest(all.begin() + static_cast<std::ptrdiff_t>(from), all.end());
    return {200, detail::json{{"metrics", rest},
                              {"next", std::to_string(all.size())},
                              {"final", runs[id].status.is_final()}}
                     .dump()};
  }

  Run run(std::int64_t id = 7) { return Run(world.connection, id); }
};

std::vector<std::string> lines(Stream<LogEntry> log) {
  std::vector<std::string> out;
  for (auto& entry : log)
    out.push_back(entry ? std::to_string(entry->run) + ": " + entry->text : entry.error().code());
  return out;
}

std::vector<double> values(Stream<Metric> metrics) {
  std::vector<double> out;
  for (auto& point : metrics) out.push_back(point.value().number());
  return out;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("waiting for a run waits for the end of its chain") {
  Runs7to9 service;
  service.steps = {[&] { service.ended_as("machine_requested"); },
                   [&] { service.set(9, "running"); },
                   [&] { service.set(9, "complete").user_exit_code = 0; }};
  SECTION("whatever it is") {
    auto end = service.run().wait().value();
    CHECK(end.id == 9);
    CHECK(end.status == RunStatus::complete);
  }
  SECTION("with success") { CHECK(service.run().wait_success().value().id == 9); }
  SECTION("in a status") {
    CHECK(service.run().wait_status({"interrupted"}).value().id == 7);
    CHECK(service.run().wait_status({"complete"}).value().id == 9);
  }
  SECTION("through every change") {
    Lines seen;
    for (auto info = service.run().info(); info && seen.size() < 10;
         info = service.run().wait_change(*info)) {
      seen.push_back(std::to_string(info->id) + " " + info->status.name());
      if (info->status == RunStatus::complete) break;
    }
    CHECK(seen ==
          Lines{"7 running", "7 interrupted", "9 machine_requested", "9 running", "9 complete"});
  }
  SECTION("no longer than allowed") {
    service.steps.resize(2);
    auto end = service.run().wait({.timeout = std::chrono::seconds(70)});
    CHECK(end.error().code() == "timeout");
    CHECK_THAT(end.error().message(), Catch::Contains("running"));
  }
}

TEST_CASE("a status that comes once more in the chain is waited for") {
  Runs7to9 service;
  service.ended_as("machine_requested");
  service.steps = {[&] { service.set(9, "running"); }};
  CHECK(service.run().wait_status({"running"}).value().id == 9);
  service.set(9, "saving");
  auto gone = service.run().wait_status({"running"});
  CHECK(gone.error().code() == "wait_failed");
  CHECK_THAT(gone.error().message(), Catch::Contains("run 7 (resumed as run 9)"));
}

TEST_CASE("a chain that does not end well says which of its runs did not") {
  Runs7to9 service;
  service.ended_as("complete", 3);
  service.output[7] = "of the first\n";
  service.output[9] = "one\ntwo\n";
  auto end = service.run().wait_success();
  CHECK(end.error().code() == "run_unsuccessful");
  CHECK(end.error().message() ==
        "run 7 (resumed as run 9) ended with exit code 3; its last output: one | two");
}

TEST_CASE("an interrupted run that nothing goes on as has ended") {
  Runs7to9 service;
  service.set(7, "interrupted").reason = "the machine was lost";
  auto asked_at = service.world.waiter->time;
  auto end = service.run().wait_success();
  CHECK(end.error().code() == "run_unsuccessful");
  CHECK(end.error().message() == "run 7 ended with status interrupted: the machine was lost");
  CHECK(service.run().wait().value().status == RunStatus::interrupted);
  CHECK(service.run().wait_status({"running"}).error().code() == "wait_failed");
  CHECK(service.run().wait_metric("loss", "<", 1).error().code() == "wait_failed");
  CHECK(service.world.waiter->time == asked_at);  // at once
}

TEST_CASE("a success that comes late is what a chain ends with") {
  Runs7to9 service;
  service.ended_as("running");
  auto& second = service.runs[9];
  second.resumed_from_run = 7;
  service.steps = {[&] {
    service.set(7, "complete").user_exit_code = 0;
    service.set(9, "stopped").reason_code = "chain_complete";
  }};
  // Also for those who know of the second run only.
  auto asked = GENERATE(7, 9);
  CHECK(service.run(asked).wait_success().value().id == 7);
  CHECK(service.run(asked).output("x") == "runs/7/x");
  CHECK(service.run(asked).wait().value().id == 7);
  // Of the first nothing may be left.
  service.runs.erase(7);
  CHECK(service.run(9).wait().value().status == RunStatus::stopped);
}

TEST_CASE("a chain's beginning may be removed while it is waited for") {
  Runs7to9 service;
  service.ended_as("running");
  service.steps = {[&] {
    service.runs.erase(7);
    service.set(9, "failed");
  }};
  CHECK(service.run().wait().value().id == 9);
}

TEST_CASE("a service that names a run before it as the one that goes on makes no endless chain") {
  Runs7to9 service;
  service.ended_as("interrupted");
  service.runs[9].resumed_as_run = 7;
  CHECK(service.run().wait().value().id == 9);
}

TEST_CASE("logs run on into the run that goes on") {
  Runs7to9 service;
  service.output[7] = "one\ntwo";
  SECTION("while it is followed") {
    service.steps = {[] {},
                     [&] {
                       service.ended_as("running");
                       service.output[9] = "three\n";
                     },
                     [&] { service.output[9] += "four\n"; }, [&] { service.set(9, "complete"); }};
    CHECK(lines(service.run().logs({.follow = true})) ==
          Lines{"7: one", "7: two", "9: three", "9: four"});
  }
  service.output[9] = "three\nfour\n";
  SECTION("as it is") {
    service.ended_as("running");
    CHECK(lines(service.run().logs()) == Lines{"7: one", "7: two", "9: three", "9: four"});
    CHECK(lines(service.run(9).logs()) == Lines{"9: three", "9: four"});
  }
  SECTION("and a tail is that of the last") {
    service.ended_as("complete");
    CHECK(lines(service.run().logs({.tail = 1})) == Lines{"9: four"});
    CHECK(lines(service.run().logs({.follow = true, .tail = 1})) == Lines{"9: four"});
  }
}

TEST_CASE("the log of a chain is whole over an outage at any step") {
  auto kind = GENERATE(test::Fault::unreachable, test::Fault::lost_before, test::Fault::lost_after,
                       test::Fault::shutting_down);
  for (int failing = 1;; ++failing) {
    Runs7to9 service;
    service.output[7] = "one\ntwo\n";
    service.output[9] = "three\n";
    service.ended_as("complete");
    service.world.transport->piece = 20;
    bool failed = false;
    service.world.transport->fault = [&](int step) {
      return step == failing ? (failed = true, kind) : test::Fault::none;
    };
    INFO("step " << failing);
    CHECK(lines(service.run().logs({.follow = true})) == Lines{"7: one", "7: two", "9: three"});
    if (!failed) break;
  }
}

TEST_CASE("metrics run on into the run that goes on") {
  Runs7to9 service;
  service.point(7, 4);
  SECTION("while they are followed") {
    service.steps = {[&] { service.point(7, 3); },
                     [&] {
                       service.ended_as("running");
                       service.point(9, 2);
                     },
                     [&] {
                       service.point(9, 1);
                       service.set(9, "complete");
                     }};
    CHECK(values(service.run().metrics({.follow = true})) == std::vector<double>{4, 3, 2, 1});
  }
  SECTION("as they are") {
    service.ended_as("running");
    service.point(9, 2);
    CHECK(values(service.run().metrics()) == std::vector<double>{4, 2});
    CHECK(values(service.run(9).metrics()) == std::vector<double>{2});
  }
  SECTION("and so does who waits for one") {
    service.steps = {[&] { service.ended_as("running"); }, [&] { service.point(9, 1); }};
    CHECK(service.run().wait_metric("loss", "<", 2).value().number() == 1);
    service.set(9, "failed");
    CHECK(service.run().wait_metric("loss", "<", 0.5).error().code() == "wait_failed");
  }
}

TEST_CASE("an output is that of the run that finished") {
  Runs7to9 service;
  CHECK(service.run().output() == "runs/7");
  service.ended_as("complete", 0);
  CHECK(service.run().output() == "runs/9");
  CHECK(service.run().output("a/b") == "runs/9/a/b");
  CHECK(service.run(9).output("a/b") == "runs/9/a/b");
  service.runs.clear();
  CHECK(service.run().output("a") == "runs/7/a");
}

TEST_CASE("ending a run ends its chain") {
  Runs7to9 service;
  service.ended_as("running");
  SECTION("with its outputs") {
    auto ended = service.run().stop().value();
    CHECK(ended.id == 9);
    CHECK(ended.status == RunStatus::stopped);
    CHECK(service.posted == Lines{"stop 7", "stop 9"});
  }
  SECTION("at once") {
    CHECK(service.run().kill().value().status == RunStatus::killed);
    CHECK(service.posted == Lines{"kill 7", "kill 9"});
    CHECK(service.run().kill().value().id == 9);  // once more is fine
  }
  SECTION("and no more than that") {
    service.set(9, "complete");
    CHECK(service.run().stop().value().status == RunStatus::complete);
    service.runs.erase(9);
    CHECK(service.run().stop().error().code() == "run_not_found");
  }
}
