// The API's JSON of the public value types: every member is there, and comes back as it was.
#include "spell/json.hpp"

#include "catch.hpp"
#include "model/run.hpp"

using namespace spell;
using nlohmann::json;

namespace {

Time at(std::int64_t us) {
  return Time(std::chrono::duration_cast<Time::duration>(std::chrono::microseconds(us)));
}

RunInfo full_run() {
  RunInfo run;
  run.id = 7;
  run.status = RunStatus::complete;
  run.reason_code = "user";
  run.reason = "stopped by ada";
  run.user_exit_code = 137;
  run.user_signal = 9;
  run.command = "echo \"ä\"\n";
  run.description = "first";
  run.creator = "ada";
  run.project = "p";
  run.machine_type = "CPU";
  run.machine = "laptop";
  run.labels = {"a", "b"};
  run.env = {{"A", "1"}};
  run.git_commit = std::string(40, 'a');
  run.git_base_commit = std::string(40, 'b');
  run.workspace = std::string(40, 'c');
  run.repository = "char-rnn";
  run.github_url = "https://example.org/x";
  run.folder = "src";
  run.after = {1, 2};
  run.timeout = std::chrono::seconds(60);
  run.created_at = at(1'700'000'000'000'001);
  run.started_at = at(1'700'000'001'000'000);
  run.ended_at = at(1'700'000'002'500'000);
  run.resumed_as_run = 9;
  run.resumed_from_run = 3;
  run.log_bytes = (1LL << 53) - 1;
  run.output_files = 2;
  run.output_bytes = 3;
  run.outputs = "s" + std::string(64, '0');
  run.archived = true;
  run.already_existed = true;
  run.version = 12;
  run.mounts = {{"runs/3/data", "/spell/data"}};
  run.auto_resume = true;
  run.priority = "low";
  run.image = "debian:12";
  run.conda_file = "e.yml";
  return run;
}

}  // namespace

// Scripts read this: members may be added, never renamed.
TEST_CASE("golden JSON of a run") {
  json expected = json::parse(R"({
    "id": 7, "status": "complete", "reason_code": "user", "reason": "stopped by ada", "user_exit_code": 137, "user_signal": 9,
    "command": "echo \"ä\"\n", "description": "first", "creator": "ada", "project": "p", "machine_type": "CPU",
    "machine": "laptop", "labels": ["a", "b"], "env": {"A": "1"},
    "git_commit": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "git_base_commit": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "workspace": "cccccccccccccccccccccccccccccccccccccccc", "repository": "char-rnn",
    "github_url": "https://example.org/x", "folder": "src", "after": [1, 2], "timeout": 60,
    "created_at": "2023-11-14T22:13:20.000001Z", "started_at": "2023-11-14T22:13:21.000000Z",
    "ended_at": "2023-11-14T22:13:22.500000Z", "resumed_as_run": 9, "resumed_from_run": 3,
    "log_bytes": 9007199254740991, "output_files": 2, "output_bytes": 3,
    "outputs": "s0000000000000000000000000000000000000000000000000000000000000000",
    "archived": true, "already_existed": true, "version": 12,
    "mounts": [{"resource": "runs/3/data", "at": "/spell/data"}], "secrets": {},
    "workflow": null, "key": "", "manages": false, "params": {}, "auto_resume": true,
    "exclusive": false, "notice_signal": "", "append": [], "backlog": null,
    "price": null, "cost": null, "max_cost": null, "pip": [], "apt": [], "requirements": "", "setup": "",
    "environment": [], "priority": "low", "image": "debian:12", "conda_file": "e.yml"})");
  CHECK(json(full_run()) == expected);
  CHECK(model::to_json(full_run()) == expected);
}

TEST_CASE("a run comes back as it was") {
  json written = full_run();
  CHECK(json(written.get<RunInfo>()) == written);
  auto parsed = model::parse_run_info(written);
  REQUIRE(parsed);
  CHECK(parsed->created_at == full_run().created_at);
  CHECK(parsed->timeout == std::chrono::seconds(60));
  CHECK(json(*parsed) == written);
}

TEST_CASE("what is not set is there, as null") {
  json written = RunInfo{};
  CHECK(written.size() == json(full_run()).size());
  for (auto name : {"user_exit_code", "user_signal", "timeout", "created_at", "started_at",
                    "ended_at", "resumed_as_run", "resumed_from_run"}) {
    INFO(name);
    REQUIRE(written.contains(name));
    CHECK(written[name].is_null());
  }
  auto parsed = model::parse_run_info(written);
  REQUIRE(parsed);
  CHECK_FALSE(parsed->ended_at);
}

TEST_CASE("answers of later versions are understood") {
  auto run = model::parse_run_info(
      json::parse(R"({"id": 1, "status": "hibernating", "gpus": [1], "spot": {"a": 1}})"));
  REQUIRE(run);
  CHECK(run->status.name() == "hibernating");
  CHECK_FALSE(run->status.is_final());
}

TEST_CASE("answers that make no sense are errors, not exceptions") {
  for (auto body :
       {R"(null)", R"([])", R"({})", R"({"id": 1})", R"({"id": "1", "status": "running"})",
        R"({"id": 1, "status": 5})", R"({"id": 9007199254740992, "status": "running"})",
        R"({"id": 1, "status": "running", "created_at": "yesterday"})",
        R"({"id": 1, "status": "running", "user_exit_code": 4294967296})",
        R"({"id": 1, "status": "running", "labels": {"a": 1}})"}) {
    INFO(body);
    auto parsed = model::parse_run_info(json::parse(body));
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == "invalid_answer");
    CHECK_THROWS_AS(json::parse(body).get<RunInfo>(), Error);
  }
}

TEST_CASE("log entries") {
  LogEntry entry;
  entry.kind = LogKind::status;
  entry.run = 7;
  entry.status = "running";
  entry.time = at(0);
  entry.important = true;
  entry.text = "Run is running";
  CHECK(
      json(entry) ==
      json::parse(
          R"({"kind": "status", "run": 7, "status": "running", "status_event": true, "level": "info",
    "timestamp": "1970-01-01T00:00:00.000000Z", "important": true, "stderr": false, "log": "Run is running"})"));
  entry.kind = LogKind::output;
  entry.is_stderr = true;
  entry.text = "\xff\x01";
  json output = entry;
  CHECK(output["log"] == "\xEF\xBF\xBD\x01");
  CHECK(output["kind"] == "output");
  CHECK(output["status_event"] == false);
  CHECK(output["stderr"] == true);
  CHECK_NOTHROW(output.dump());
}

TEST_CASE("the other value types come back as they were") {
  auto same = [](auto value) {
    json written = value;
    return json(written.get<decltype(value)>()) == written;
  };
  ResourceInfo resource{"a/b", EntryType::link, 5, 0777, at(1), "../c"};
  CHECK(json(resource) == json::parse(R"({"path": "a/b", "type": "link", "size": 5, "mode": 511,
    "modified_at": "1970-01-01T00:00:00.000001Z", "link_target": "../c", "node": "", "bytes": 0,
    "files": 0})"));
  CHECK(same(resource));
  CHECK(same(ResourceInfo{"x", EntryType::folder}));
  CHECK(same(ProjectInfo{"p", "d", true, 3, at(2)}));
  CHECK(same(RepositoryInfo{std::string(40, 'a'), "r", 1, 2, at(3)}));
  MachineInfo machine{"laptop",
                      true,
                      8,
                      8,
                      1,
                      1LL << 34,
                      1LL << 40,
                      {"CPU", "laptop"},
                      {{"containment", "namespaces"}}};
  CHECK(same(machine));
  ServiceInfo service;
  service.version = "0.1.0";
  service.pid = 5;
  service.started_at = at(4);
  service.runs_by_status = {{"running", 2}};
  service.machines = {machine};
  service.notes = {"n"};
  CHECK(same(service));
  CHECK(json(service)["machines"][0] == json(machine));
  CHECK_THROWS_AS(json::parse(R"({"path": "x", "type": "socket"})").get<ResourceInfo>(), Error);
  CHECK_THROWS_AS(json::parse(R"({"version": "1", "machines": [{"cores": 1}]})").get<ServiceInfo>(),
                  Error);
}
