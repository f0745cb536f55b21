#include "model/worker_protocol.hpp"

#include "catch.hpp"

using namespace spell;
using namespace spell::model;

namespace {

// What protocol 1 looks like; workers of this version stay in use, so it must never change.
const char* const golden_request = R"({
  "protocol": 1, "incarnation": "i1", "seen": 4, "wait_ms": 10000,
  "hello": {"version": "0.1.0", "boot_id": "b", "cores": 2, "memory": 8589934592, "disk_free": 5,
            "capabilities": {"containment": "namespaces"}, "shares": ["/data"], "gpus": [], "notes": ["n"]},
  "holds": {"0123": 3}, "numbers": {},
  "reports": [{"run": "0123", "epoch": 3,
    "events": [{"number": 1, "status": "running", "text": "Run is running", "important": true, "age_us": 5, "log_offset": 0,
                "reason_code": null}],
    "result": {"status": "complete", "reason_code": "", "reason": "", "exit_code": 0, "signal": null, "log_bytes": 6,
               "outputs": "s0", "output_files": 1, "output_bytes": 2, "ended_age_us": 7}},
    {"run": "0456", "epoch": 1, "events": [], "result": null, "backup": {"outputs": "s0", "files": 2, "bytes": 3}}]})";

const char* const golden_answer = R"({
  "incarnation": "i1", "lease_ms": 30000, "lost_after": 0,
  "commands": [
    {"number": 5, "type": "start", "run": "0123", "epoch": 3, "reason_code": "", "reason": "",
     "start": {"run": "0123", "epoch": 3, "number": 7, "owner": "ada", "machine": "laptop", "places": 2, "request": {"command": "true"},
               "code_url": "file:///x.git", "env": {"SPELL_RUN": "7"}, "secrets": {},
               "manages": false, "restore": "s0", "cpus": 0, "memory": 0, "gpus": 0, "allowance_ms": 0,
               "mounts": [{"resource": "runs/3/data", "at": "/spell/data", "type": "folder", "node": "s0", "below": "data", "run": 0,
                           "size": 5, "files": 1, "mode": 493, "modified_us": 6}]},
     "stream": "", "kind": "", "remaining_ms": 0, "allowance_ms": 0},
    {"number": 6, "type": "stop", "run": "0123", "epoch": 3, "reason_code": "user", "reason": "stopped by ada", "start": null,
     "stream": "", "kind": "", "remaining_ms": 0, "allowance_ms": 0},
    {"number": 7, "type": "open_stream", "run": "0123", "epoch": 3, "reason_code": "", "reason": "", "start": null,
     "stream": "5f", "kind": "exec", "remaining_ms": 0, "allowance_ms": 0}],
  "refused": {"0456": "stale_epoch"}})";

}  // namespace

TEST_CASE("golden messages of worker protocol 1, both ways") {
  json request = json::parse(golden_request), answer = json::parse(golden_answer);
  auto parsed_request = parse_sync_request(request);
  REQUIRE(parsed_request);
  CHECK(to_json(*parsed_request) == request);
  auto parsed_answer = parse_sync_answer(answer);
  REQUIRE(parsed_answer);
  CHECK(to_json(*parsed_answer) == answer);

  CHECK(parsed_request->hello->capabilities.at("containment") == "namespaces");
  CHECK(parsed_request->reports.at(0).result->exit_code == 0);
  CHECK_FALSE(parsed_request->reports.at(0).result->signal);
  CHECK(parsed_request->reports.at(1).backup->files == 2);
  CHECK(parsed_answer->commands.at(0).start->request.command == "true");
  CHECK_FALSE(parsed_answer->commands.at(1).start);
}

TEST_CASE("the smallest messages") {
  auto request = parse_sync_request(json{{"protocol", 1}});
  REQUIRE(request);
  CHECK_FALSE(request->hello);
  CHECK(request->reports.empty());
  auto answer = parse_sync_answer(json{{"incarnation", "i"}});
  REQUIRE(answer);
  CHECK(answer->lease_ms == 75'000);
}

TEST_CASE("a whole submission travels in a start command") {
  json body = {{"command", "true"},
               {"env", {{"A", "1"}}},
               {"timeout", 5},
               {"code", {{"workspace", std::string(40, 'a')}, {"commit", std::string(40, 'b')}}}};
  SyncAnswer answer;
  answer.commands.resize(1);
  answer.commands[0].start = StartCommand{};
  answer.commands[0].start->request = *parse_run_request(body);
  auto parsed = parse_sync_answer(to_json(answer));
  REQUIRE(parsed);
  CHECK(to_json(parsed->commands[0].start->request) == body);
}

TEST_CASE("requests with unknown members are refused, answers with them are understood") {
  json request = json::parse(golden_request), answer = json::parse(golden_answer);
  for (auto where : {"/new", "/hello/new", "/reports/0/new", "/reports/0/events/0/new",
                     "/reports/0/result/new"}) {
    INFO(where);
    json changed = request;
    changed[json::json_pointer(where)] = 1;
    auto parsed = parse_sync_request(changed);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == "invalid_request");
    CHECK(parsed.error().message().find("'new'") != std::string::npos);
  }
  for (auto where :
       {"/new", "/commands/0/new", "/commands/0/start/new", "/commands/0/start/request/new"}) {
    INFO(where);
    json changed = answer;
    changed[json::json_pointer(where)] = 1;
    auto parsed = parse_sync_answer(changed);
    REQUIRE(parsed);
    CHECK(to_json(*parsed) == answer);
  }
}

TEST_CASE("every member of the wrong type is refused by name") {
  const json request = json::parse(golden_request), flat = request.flatten();
  for (auto& [pointer, value] : flat.items()) {
    INFO(pointer);
    json changed = request;
    changed[json::json_pointer(pointer)] = json::array({json::object({{"x", 1}})});
    auto parsed = parse_sync_request(changed);
    REQUIRE_FALSE(parsed);
    auto name = pointer.substr(pointer.rfind('/') + 1);
    if (pointer != "/hello/notes/0")
      CHECK(parsed.error().message().find(name) != std::string::npos);
  }
  const json answer = json::parse(golden_answer), flat_answer = answer.flatten();
  for (auto& [pointer, value] : flat_answer.items()) {
    INFO(pointer);
    json changed = answer;
    changed[json::json_pointer(pointer)] = json::array({json::object({{"x", 1}})});
    auto parsed = parse_sync_answer(changed);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == "invalid_answer");
  }
}

TEST_CASE("what a message cannot do without") {
  for (auto [base, where, is_request] :
       {std::tuple{golden_request, "/protocol", true},
        {golden_request, "/reports/0/run", true},
        {golden_request, "/reports/0/epoch", true},
        {golden_request, "/reports/0/events/0/number", true},
        {golden_request, "/reports/0/result/status", true},
        {golden_answer, "/incarnation", false},
        {golden_answer, "/commands/0/number", false},
        {golden_answer, "/commands/0/type", false},
        {golden_answer, "/commands/0/start/request", false},
        {golden_answer, "/commands/0/start/request/command", false}}) {
    INFO(where);
    json changed = json::parse(base);
    json::json_pointer pointer(where);
    changed[pointer.parent_pointer()].erase(pointer.back());
    auto message = is_request ? parse_sync_request(changed).error().message()
                              : parse_sync_answer(changed).error().message();
    CHECK(message.find(pointer.back() + " is missing") != std::string::npos);
  }
}
