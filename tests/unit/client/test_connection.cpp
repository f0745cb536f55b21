#include <set>

#include "catch.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"
#include "spell/workflow.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::detail;
using namespace spell::test;

namespace {

std::string run_answer(std::int64_t id) {
  RunInfo info;
  info.id = id;
  return json{{"run", info}}.dump();
}

/// Makes runs, once a key, as the service does.
struct Service {
  std::map<std::string, int> runs;
  int last = 0;
  Answer operator()(const net::ClientRequest& request) {
    if (request.method == "GET") return {200, run_answer(1)};
    auto [found, made] = runs.try_emplace(header_of(request, "Idempotency-Key"), last + 1);
    if (made) ++last;
    return {made ? 201 : 200, run_answer(found->second)};
  }
};

const Call get_run{.route = model::Route::get_run, .names = {"1"}};
const Call make_project{.route = model::Route::create_project, .body = {{"name", "x"}}};

}  // namespace

TEST_CASE("routes are filled in and encoded") {
  CHECK(make_request({.route = model::Route::get_run, .names = {"7"}}, "ada").target ==
        "/v1/owners/ada/runs/7");
  CHECK(make_request({.route = model::Route::read_file, .names = {"runs/7/a b/%"}}, "ada").target ==
        "/v1/owners/ada/files/runs/7/a%20b/%25");
  CHECK(make_request({.route = model::Route::list_resource, .names = {""}}, "a/b").target ==
        "/v1/owners/a%2Fb/resources");
  CHECK(make_request({.route = model::Route::get_project,
                      .names = {"a/b"},
                      .query = {{"x", "1&2"}, {"y", "z"}}},
                     "ada")
            .target == "/v1/owners/ada/projects/a%2Fb?x=1%262&y=z");
  auto request = make_request(make_project, "ada");
  CHECK(request.method == "POST");
  CHECK(request.body == R"({"name":"x"})");
}

TEST_CASE("a submission makes one run, whichever step fails in whatever way") {
  auto kind =
      GENERATE(Fault::unreachable, Fault::lost_before, Fault::lost_after, Fault::shutting_down);
  for (int failing = 1;; ++failing) {
    World world;
    auto service = std::make_shared<Service>();
    world.transport->serve = [service](const net::ClientRequest& request) {
      return (*service)(request);
    };
    bool failed = false;
    world.transport->fault = [&](int step) {
      return step == failing ? (failed = true, kind) : Fault::none;
    };
    auto run = Runs(world.connection).submit({.command = "true"});
    INFO("step " << failing);
    REQUIRE(run.ok());
    CHECK(run->id == 1);
    CHECK(service->last == 1);
    CHECK(world.control->starts == (failed && kind == Fault::unreachable ? 1 : 0));
    if (!failed) {
      CHECK(failing > 2);  // at least the introduction and the submission
      break;
    }
  }
}

TEST_CASE("what must not be done twice is not sent again after a lost connection") {
  World world;
  world.transport->serve = [](const net::ClientRequest&) { return Answer{200, "{}"}; };
  SECTION("lost after the service has taken it") {
    world.transport->fault = [](int step) { return step == 2 ? Fault::lost_after : Fault::none; };
    auto answer = world.connection->call(make_project);
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code() == "connection_lost");
    CHECK(world.transport->steps == 2);
  }
  SECTION("but lost while the service was being met, nothing had been asked for") {
    world.transport->fault = [](int step) { return step == 1 ? Fault::lost_before : Fault::none; };
    CHECK(world.connection->call(make_project).ok());
  }
  SECTION("and a service that is ending has not taken it") {
    world.transport->fault = [](int step) {
      return step == 2 ? Fault::shutting_down : Fault::none;
    };
    CHECK(world.connection->call(make_project).ok());
  }
}

TEST_CASE("a service that is not there") {
  SECTION("is started if it is the personal one, at once") {
    World world;
    world.transport->serve = [](const net::ClientRequest&) { return Answer{200, run_answer(1)}; };
    world.transport->fault = [&](int) {
      return world.control->starts == 0 ? Fault::unreachable : Fault::none;
    };
    CHECK(world.connection->call(get_run).ok());
    CHECK(world.control->starts == 1);
    CHECK(world.waiter->sleeps.empty());
  }
  SECTION("is not started against the user's will") {
    World world(true, false);
    world.transport->fault = [](int) { return Fault::unreachable; };
    auto answer = world.connection->call(get_run);
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code() == "service_unreachable");
    CHECK(world.control->starts == 0);
    CHECK(world.transport->steps == 1);
  }
  SECTION("and cannot be started: its own words are the error") {
    World world;
    world.transport->fault = [](int) { return Fault::unreachable; };
    world.control->on_start = [] { return base::error("disk_full", "no space in /x"); };
    auto answer = world.connection->call(get_run);
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code() == "disk_full");
    CHECK(world.control->starts == 1);
  }
  SECTION("and goes away again after every start: for 30 s, ever more slowly") {
    World world;
    world.transport->fault = [](int) { return Fault::unreachable; };
    auto answer = world.connection->call(get_run);
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code() == "service_unreachable");
    CHECK(world.waiter->time.time_since_epoch() >= 30s);
    CHECK(world.waiter->time.time_since_epoch() < 33s);
    CHECK(world.waiter->sleeps.front() == 20ms);
    CHECK(world.waiter->sleeps.back() == 2s);
    CHECK(std::is_sorted(world.waiter->sleeps.begin(), world.waiter->sleeps.end()));
  }
  SECTION("though it was there before: it may be back soon") {
    World world(false);
    world.transport->serve = [](const net::ClientRequest&) { return Answer{200, run_answer(1)}; };
    world.transport->fault = [](int step) {
      return step > 1 && step < 6 ? Fault::unreachable : Fault::none;
    };
    REQUIRE(world.connection->call(get_run).ok());
    CHECK(world.connection->call(get_run).ok());
    CHECK(world.waiter->sleeps.size() == 4);
  }
}

TEST_CASE("a call ends at its time limit and at its stop token") {
  World world;
  world.transport->serve = [](const net::ClientRequest&) { return Answer{200, run_answer(1)}; };
  world.transport->fault = [](int) { return Fault::lost_before; };
  SECTION("time") {
    auto answer = world.connection->call(get_run, {.timeout = 5s});
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code() == "timeout");
    CHECK(world.waiter->time.time_since_epoch() == 5s);
  }
  SECTION("stop") {
    std::stop_source source;
    source.request_stop();
    auto answer = world.connection->call(get_run, {.timeout = {}, .stop = source.get_token()});
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code() == "canceled");
    CHECK(world.transport->steps == 0);
  }
}

TEST_CASE("what the service refuses is an error with its code, status and request") {
  World world;
  world.transport->serve = [](const net::ClientRequest&) {
    return Answer{
        404,
        R"({"error":{"code":"run_not_found","message":"there is no run 1","request_id":"abc"}})"};
  };
  auto answer = world.connection->call(get_run);
  REQUIRE_FALSE(answer.ok());
  CHECK(answer.error().code() == "run_not_found");
  CHECK(answer.error().message() == "there is no run 1");
  CHECK(answer.error().http_status() == 404);
  CHECK(answer.error().request_id() == "abc");
  CHECK(world.transport->steps == 1);
}

TEST_CASE("an answer that is none is an error too") {
  auto body = GENERATE("", "<html>", "[]", R"({"run":7})", R"({"run":{"id":"x","status":"y"}})");
  World world;
  world.transport->serve = [&](const net::ClientRequest&) { return Answer{200, body}; };
  auto info = Run(world.connection, 1).info();
  REQUIRE_FALSE(info.ok());
  CHECK(info.error().code() == "invalid_answer");
}

TEST_CASE("a service of another version") {
  World world;
  std::string version = "0.0.9";
  int protocol = api_protocol();
  world.transport->version = version;
  bool stop_asked = false;
  world.transport->serve = [&](const net::ClientRequest& request) -> Answer {
    if (request.target == "/v1/status") {
      ServiceInfo info;
      info.version = world.transport->version;
      info.protocol = protocol;
      return {200, json{{"service", info}}.dump()};
    }
    if (request.target == "/v1/service/stop") {
      stop_asked = true;
      CHECK(request.body == R"({"handover":true})");
      world.control->alive = false;
      return {202, R"({"pid":1})"};
    }
    return {200, run_answer(1)};
  };
  world.transport->fault = [&](int) {
    return world.control->alive ? Fault::none : Fault::unreachable;
  };
  world.control->on_start = [&] { return world.transport->version = spell::version(), ok(); };

  SECTION("an older personal one makes room, once") {
    CHECK(world.connection->call(get_run).ok());
    CHECK(stop_asked);
    CHECK(world.control->starts == 1);
    CHECK(world.transport->version == spell::version());
  }
  SECTION("before anything is changed on it") {
    CHECK(world.connection->call(make_project).ok());
    CHECK(stop_asked);
    CHECK(world.transport->seen.back() == "POST /v1/owners/ada/projects");
    CHECK(std::count(world.transport->seen.begin(), world.transport->seen.end(),
                     "POST /v1/owners/ada/projects") == 1);
  }
  SECTION("that comes back in the old version is used as it is") {
    world.control->on_start = [] { return ok(); };
    CHECK(world.connection->call(get_run).ok());
    CHECK(world.connection->call(get_run).ok());
    CHECK(world.control->starts == 1);
  }
  SECTION("a newer one of the same protocol is used") {
    world.transport->version = "99.0.0";
    CHECK(world.connection->call(get_run).ok());
    CHECK_FALSE(stop_asked);
  }
  SECTION("one of another protocol is refused, with both versions and the way out") {
    world.transport->version = "99.0.0";
    protocol = 99;
    for (auto& call : {get_run, make_project}) {
      auto answer = world.connection->call(call);
      REQUIRE_FALSE(answer.ok());
      CHECK(answer.error().code() == "incompatible_service");
      for (auto& part : {"99.0.0", "protocol 99", spell::version(), "spell service stop"})
        CHECK_THAT(answer.error().message(), Catch::Contains(part));
    }
    CHECK_FALSE(stop_asked);
    for (auto& line : world.transport->seen) CHECK_THAT(line, Catch::StartsWith("GET "));
  }
  SECTION("something else altogether is refused") {
    world.transport->version.clear();
    world.transport->serve = [](const net::ClientRequest&) { return Answer{200, "hello"}; };
    auto answer = world.connection->call(get_run);
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.error().code() == "incompatible_service");
  }
  SECTION("a shared one of another protocol is refused, with who is to be upgraded") {
    World shared(false);
    shared.transport->serve = world.transport->serve;
    shared.transport->version = world.transport->version = "99.0.0";
    for (auto [spoken, way_out] : {std::pair{api_protocol() + 1, "upgrade this program"},
                                   {api_protocol() - 1, "upgrade the service"}}) {
      protocol = spoken;
      auto answer = shared.connection->call(make_project);
      REQUIRE_FALSE(answer.ok());
      CHECK(answer.error().code() == "incompatible_service");
      CHECK_THAT(answer.error().message(), Catch::Contains(way_out));
    }
    CHECK_FALSE(stop_asked);
  }
  SECTION("a shared one is never asked to make room") {
    World shared(false);
    shared.transport->version = version;
    shared.transport->serve = world.transport->serve;
    CHECK(shared.connection->call(get_run).ok());
    CHECK_FALSE(stop_asked);
  }
}

TEST_CASE("stopping the service waits for its end") {
  World world;
  SECTION("that takes a while") {
    int polls = 0;
    world.transport->serve = [&](const net::ClientRequest&) { return Answer{202, R"({"pid":1})"}; };
    struct Slow : FakeControl {
      int* polls = nullptr;
      std::int64_t holder() override { return ++*polls < 10 ? 1 : end; }
      std::int64_t end = 0;
    };
    auto slow = std::make_shared<Slow>();
    slow->polls = &polls;
    SECTION("and another is there at once") { slow->end = 2; }
    SECTION("and none is there") {}
    Connection::Parts parts;
    auto* transport = new FakeTransport;
    transport->serve = world.transport->serve;
    parts.transport.reset(transport);
    parts.waiter = world.waiter;
    parts.service = slow;
    Connection connection(std::move(parts));
    CHECK(connection.stop_service(false, Limit({}, *world.waiter)).ok());
    CHECK(polls == 10);
    CHECK(transport->seen == std::vector<std::string>{"POST /v1/service/stop"});
  }
  SECTION("that has come already, and starts nothing") {
    world.control->alive = false;
    world.transport->fault = [](int) { return Fault::unreachable; };
    CHECK(Client(world.connection).stop_service().ok());
    CHECK(world.control->starts == 0);
  }
  SECTION("that never comes") {
    world.transport->serve = [&](const net::ClientRequest&) { return Answer{202, R"({"pid":1})"}; };
    auto stopped = Client(world.connection).stop_service();
    REQUIRE_FALSE(stopped.ok());
    CHECK(stopped.error().code() == "timeout");
    CHECK_THAT(stopped.error().message(), Catch::Contains("/log"));
  }
}

TEST_CASE("waiting for a run") {
  World world;
  std::vector<std::pair<std::int64_t, std::string>> states = {
      {1, "machine_requested"}, {2, "running"}, {5, "complete"}};
  std::vector<std::string> versions;
  world.transport->serve = [&](const net::ClientRequest& request) -> Answer {
    auto query = target_of(request).query;
    if (request.target.find("/log") != std::string::npos) {
      std::string frames;
      model::append_frame(frames, {.kind = model::FrameKind::output}, "one\ntwo\nthree");
      return {200, frames};
    }
    RunInfo info;
    info.id = 1;
    if (query.contains("version")) {
      versions.push_back(query["version"]);
      // The time of a poll passes where nothing changes.
      auto next = std::find_if(states.begin(), states.end(), [&](auto& state) {
        return std::to_string(state.first) > query["version"] || query["version"] == "-1";
      });
      if (next == states.end())
        next = std::prev(next),
        world.waiter->time += std::chrono::milliseconds(std::stoi(query["wait_ms"]));
      info.version = next->first;
      info.status = RunStatus(next->second);
    }
    if (info.status == RunStatus::complete) info.user_exit_code = 3;
    return {200, json{{"run", info}}.dump()};
  };
  Run run(world.connection, 1);

  SECTION("until its end") {
    auto info = run.wait();
    REQUIRE(info.ok());
    CHECK(info->status == RunStatus::complete);
    CHECK(versions == std::vector<std::string>{"-1", "1", "2"});
  }
  SECTION("until something changes") {
    RunInfo before;
    before.version = 1;
    auto info = run.wait_change(before);
    REQUIRE(info.ok());
    CHECK(info->status == RunStatus::running);
  }
  SECTION("no longer than allowed") {
    states.resize(2);
    auto info = run.wait({.timeout = 70s});
    REQUIRE_FALSE(info.ok());
    CHECK(info.error().code() == "timeout");
    CHECK_THAT(info.error().message(), Catch::Contains("run 1") && Catch::Contains("running"));
    CHECK(world.waiter->time.time_since_epoch() == 70s);
  }
  SECTION("that was to succeed and did not") {
    auto info = run.wait_success();
    REQUIRE_FALSE(info.ok());
    CHECK(info.error().code() == "run_unsuccessful");
    CHECK_THAT(info.error().message(), Catch::Contains("run 1 ended with exit code 3") &&
                                           Catch::Contains("one | two | three"));
  }
}

TEST_CASE("a run that did not succeed is told with all that is known of it") {
  struct Row {
    std::string status, reason;
    std::optional<int> exit_code, signal;
    std::string message;
  };
  const Row row = GENERATE(values<Row>({
      {"complete", "", 3, {}, "run 1 ended with exit code 3"},
      {"complete", "", 137, 9, "run 1 ended with exit code 137 (signal 9)"},
      {"killed", "by ada", 143, 15, "run 1 ended with status killed (signal 15): by ada"},
      {"failed", "out of memory", {}, {}, "run 1 ended with status failed: out of memory"},
      {"interrupted",
       "machine box is lost",
       {},
       {},
       "run 1 ended with status interrupted: machine box is lost"},
      {"stopped", "", {}, {}, "run 1 ended with status stopped"},
  }));
  World world;
  bool has_log = GENERATE(true, false);
  world.transport->serve = [&](const net::ClientRequest& request) -> Answer {
    if (target_of(request).segments.back() == "log") {
      std::string frames;
      model::append_frame(frames, {.kind = model::FrameKind::output}, "one\ntwo");
      if (has_log) return {200, frames};
      return {503, R"({"error":{"code":"overloaded","message":"later"}})"};
    }
    RunInfo info;
    info.id = 1;
    info.status = RunStatus(row.status);
    info.reason = row.reason;
    info.user_exit_code = row.exit_code;
    info.user_signal = row.signal;
    return {200, json{{"run", info}}.dump()};
  };
  // The limit holds for the last words too: without them the answer is the same.
  auto ended = Run(world.connection, 1).wait_success({.timeout = 1s});
  CHECK(ended.error().code() == "run_unsuccessful");
  CHECK(ended.error().message() == row.message + (has_log ? "; its last output: one | two" : ""));
  CHECK(world.waiter->time.time_since_epoch() <= 1s);
}

TEST_CASE("a service that says when to come again is asked again then, not before") {
  int status = GENERATE(429, 503);
  std::string when = "7";
  int refusals = 1;
  World world(false);
  world.transport->serve = [&](const net::ClientRequest& request) -> Answer {
    if (request.target.ends_with("healthz") || --refusals < 0) return {200, "{}"};
    return {status,
            R"({"error":{"code":"too_many_attempts","message":"later"}})",
            {{"Retry-After", when}}};
  };
  auto& sleeps = world.waiter->sleeps;
  SECTION("whatever is asked: nothing was done") {
    CHECK(world.connection->call(make_project).ok());
    CHECK(sleeps == std::vector<std::chrono::milliseconds>{7s});
  }
  SECTION("again and again") {
    refusals = 3;
    CHECK(world.connection->call(get_run).ok());
    CHECK(sleeps == std::vector<std::chrono::milliseconds>{7s, 7s, 7s});
  }
  SECTION("no longer than the call allows") {
    refusals = 100;
    auto answer = world.connection->call(get_run, {.timeout = 2s});
    CHECK(answer.error().code() == "timeout");
    CHECK(world.waiter->time.time_since_epoch() == 2s);
  }
  SECTION("as long as the call allows") {
    when = "300";
    CHECK(world.connection->call(get_run, {.timeout = 301s}).ok());
    CHECK(sleeps == std::vector<std::chrono::milliseconds>{300s});
  }
  SECTION("but not longer than any outage, where it allows all the time in the world") {
    when = "31";
    auto answer = world.connection->call(get_run);
    CHECK(answer.error().code() == "too_many_attempts");
    CHECK(sleeps.empty());
  }
  SECTION("of a stream too") {
    world.transport->serve = [&](const net::ClientRequest& request) -> Answer {
      if (target_of(request).segments.back() != "log") return {200, run_answer(1)};
      if (--refusals < 0) return {200, ""};
      return {status, R"({"error":{"code":"x","message":"later"}})", {{"Retry-After", when}}};
    };
    CHECK(Run(world.connection, 1).logs().all().ok());
    CHECK(sleeps == std::vector<std::chrono::milliseconds>{7s});
  }
  SECTION("or as it pleases, where that is no time") {
    when = GENERATE("soon", "-1", "Fri, 27 Nov 2026 00:00:00 GMT");
    auto answer = world.connection->call(get_run);
    CHECK(answer.ok() == (status == 503));
    CHECK(sleeps.size() == (status == 503 ? 1u : 0u));
    for (auto& sleep : sleeps) CHECK(sleep == 20ms);
  }
}

TEST_CASE("clients that lose their service together do not come back together") {
  for (auto [dice, pause] : {std::pair{0.0, 10ms}, {0.5, 15ms}, {1.0, 20ms}}) {
    World world(false);
    world.waiter->dice = dice;
    world.transport->serve = [](const net::ClientRequest&) { return Answer{200, run_answer(1)}; };
    world.transport->fault = [](int step) { return step <= 3 ? Fault::lost_before : Fault::none; };
    CHECK(world.connection->call(get_run).ok());
    CHECK(world.waiter->sleeps ==
          std::vector<std::chrono::milliseconds>{pause, 2 * pause, 4 * pause});
  }
  auto one = make_waiter(), two = make_waiter();
  std::set<double> seen;
  for (int i = 0; i < 100; ++i)
    for (auto& waiter : {one, two}) {
      double dice = waiter->random();
      CHECK((dice >= 0 && dice < 1));
      seen.insert(dice);
    }
  CHECK(seen.size() > 190);  // by chance fewer in none of 10^15 cases
}

TEST_CASE("what is not there yet is refused by its name before anything is sent") {
  std::vector<std::pair<std::string, RunSpec>> specs(1);
  specs[0] = {"checkpoints", {.command = "true", .checkpoints = "models"}};
  World world;
  world.transport->serve = [](const net::ClientRequest&) { return Answer{201, run_answer(1)}; };
  for (auto& [name, spec] : specs) {
    auto run = Runs(world.connection).create(spec);
    CHECK(run.error().code() == "not_available");
    CHECK(run.error().message() == name + " is not available in this version");
    auto made =
        Workflows(world.connection).create({.run = spec, .program = WorkflowProgram{"/none"}});
    CHECK(made.error().code() == "not_available");
  }
  CHECK(world.transport->steps == 0);
  CHECK(Runs(world.connection).create({.command = "true", .auto_resume = true}).ok());
  CHECK(Runs(world.connection).create({.command = "true", .checkpoints = "checkpoints"}).ok());
}

TEST_CASE("lists of runs are put together from pages, newest first") {
  World world;
  world.transport->serve = [](const net::ClientRequest& request) -> Answer {
    auto query = target_of(request).query;
    int below = query.contains("cursor") ? std::stoi(query["cursor"]) : 2501;
    int limit = std::stoi(query["limit"]);
    CHECK(query["label"] == "a&b");
    json runs = json::array();
    for (int id = below - 1; id >= 1 && limit-- > 0; --id) {
      RunInfo info;
      info.id = id;
      runs.push_back(info);
    }
    int last = below - static_cast<int>(runs.size());
    return {200,
            json{{"runs", runs}, {"next", last > 1 ? json(std::to_string(last)) : json()}}.dump()};
  };
  auto limit = GENERATE(1, 50, 1000, 2001, 5000);
  auto runs = Runs(world.connection).list({.limit = limit, .label = "a&b"}).all();
  REQUIRE(runs.ok());
  REQUIRE(static_cast<int>(runs->size()) == std::min(limit, 2500));
  CHECK(runs->front().id == 2500);
  for (std::size_t i = 1; i < runs->size(); ++i) REQUIRE((*runs)[i].id == (*runs)[i - 1].id - 1);
}

TEST_CASE("what the service would refuse is refused before anything is sent") {
  World world;
  auto run = Runs(world.connection).submit({.command = "", .code = Code::here()});
  REQUIRE_FALSE(run.ok());
  CHECK(run.error().code() == "invalid_request");
  CHECK(world.transport->steps == 0);
}

TEST_CASE("addresses that this version does not know are named") {
  TemporaryFolder folder;
  auto client = Client::make({.service = "ftp://host", .spell_dir = folder.path});
  REQUIRE_FALSE(client.ok());
  CHECK(client.error().code() == "invalid_configuration");
  CHECK_THAT(client.error().message(),
             Catch::Contains("ftp://host") && Catch::Contains("is no address of a service"));
}
