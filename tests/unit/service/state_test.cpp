// The state of the service, as its protocol reads: commands and reports in, statuses and commands
// out. No clock, no sockets.
#include "service/state.hpp"

#include "house.hpp"

using namespace spell;
using namespace spell::service;

TEST_CASE("a run goes through its life and leaves its story") {
  House house;
  house.connect();
  REQUIRE(house.submit("true"));
  CHECK(house.commands() == Words{"start 1"});
  house.acknowledge();
  REQUIRE(house.report(1, {"building", "running"}));
  CHECK(house.run(1).status == "running");
  CHECK(house.run(1).started_us > 0);
  REQUIRE(house.report(1, {"saving", "pushing"}, 0));
  auto run = house.run(1);
  CHECK(run.status == "complete");
  CHECK(run.exit_code == 0);
  CHECK(house.commands() == Words{"forget 1"});
  Words story;
  for (auto& event : house.writer->events(run.id, 0).value())
    if (event.step) story.push_back(event.status);
  CHECK(story == Words{"machine_requested", "building", "running", "saving", "pushing", "complete",
                       "complete"});
}

TEST_CASE("runs wait in their order for a place") {
  House house(2);
  house.connect();
  for (int i = 0; i < 4; ++i) REQUIRE(house.submit("sleep 1"));
  CHECK(house.commands() == Words{"start 1", "start 2"});
  REQUIRE(house.report(2, {"building", "running", "saving", "pushing"}, 0));
  CHECK(house.commands() == Words{"start 1", "forget 2", "start 3"});
}

TEST_CASE("a run given ahead of a place waits until its worker begins it") {
  House house(1, 1);
  house.connect();
  for (int i = 0; i < 3; ++i) REQUIRE(house.submit("sleep 1"));
  CHECK(house.commands() == Words{"start 1", "start 2"});
  CHECK(house.run(2).status == "machine_requested");
  CHECK(house.run(2).placed_us == 0);
  SECTION("its time begins with its place") {
    REQUIRE(house.report(2, {"building", "running"}));
    CHECK(house.run(2).placed_us > 0);
  }
  SECTION("who ends it asks its worker, which may have begun it a moment ago") {
    REQUIRE(house.change([&] { return house.state->end("ada", 2, "stop", house.now); }));
    CHECK(house.commands() == Words{"start 1", "start 2", "kill 2"});
    REQUIRE(house.report(2, {}, 137, "killed"));
    CHECK(house.run(2).status == "killed");
    CHECK(house.commands() == Words{"start 1", "forget 2", "start 3"});
  }
}

TEST_CASE("a run's reason is what its worker says it waits for, until it goes on") {
  House house;
  house.connect();
  REQUIRE(house.submit("yes"));
  REQUIRE(house.report(1, {"building", "running"}));
  auto say = [&](std::int64_t number, const std::string& code, const std::string& text) {
    model::RunReport report{.run = house.run(1).id, .epoch = 1, .events = {}, .result = {}};
    model::RunEvent event;
    event.number = number;
    event.text = text;
    event.reason_code = code;
    report.events.push_back(event);
    REQUIRE(house.change([&] { return house.state->report("here", report, house.now); }));
  };
  say(3, "log_full", "log is full: the command waits");
  CHECK(house.run(1).reason_code == "log_full");
  CHECK(house.run(1).reason == "log is full: the command waits");
  say(4, "", "log has room again");
  CHECK(house.run(1).reason_code.empty());
  CHECK(house.run(1).reason.empty());
}

TEST_CASE("what could not be stored is not done") {
  House house(1);
  house.connect();
  SECTION("a run that was refused is not started") {
    Submission s{"ada", "ada", "", "", {}};
    s.request.command = "true";
    house.lost_change([&] { return house.state->submit(s, house.now); });
    CHECK(house.commands().empty());
    REQUIRE(house.submit("true"));
    CHECK(house.commands() == Words{"start 1"});
  }
  SECTION("a run whose end was lost keeps its folder, and its place, until it is told again") {
    REQUIRE(house.submit("true"));
    REQUIRE(house.submit("false"));
    house.acknowledge();
    REQUIRE(house.report(1, {"building", "running", "saving", "pushing"}));
    model::RunReport end{.run = house.run(1).id,
                         .epoch = house.run(1).epoch,
                         .events = {},
                         .result = model::RunResult{}};
    end.result->status = "complete";
    end.result->exit_code = 0;
    house.lost_change([&] { return house.state->report("here", end, house.now); });
    CHECK(house.commands().empty());
    CHECK(house.run(1).status == "pushing");
    REQUIRE(house.change([&] { return house.state->report("here", end, house.now); }));
    CHECK(house.commands() == Words{"forget 1", "start 2"});
  }
}

TEST_CASE("a run's times follow each other, however long the reports were on their way") {
  House house;
  house.connect();
  REQUIRE(house.submit("true"));
  model::RunReport report{.run = house.run(1).id,
                          .epoch = house.run(1).epoch,
                          .events = {{.number = 1, .status = "running"}},
                          .result = {}};
  REQUIRE(house.change([&] { return house.state->report("here", report, house.now); }));
  report.events.clear();
  report.result.emplace();
  report.result->status = "complete";
  report.result->ended_age_us = 500'000'000;
  REQUIRE(house.change([&] { return house.state->report("here", report, house.now); }));
  auto run = house.run(1);
  CHECK(run.created_us <= run.started_us);
  CHECK(run.started_us <= run.ended_us);
}

TEST_CASE("nothing starts while the machine is away") {
  House house;
  REQUIRE(house.submit("true"));
  CHECK(house.commands().empty());
  house.connect();
  CHECK(house.commands() == Words{"start 1"});
}

TEST_CASE(
    "the same key and request give the same run, another request is a conflict that names the "
    "field") {
  House house;
  auto first = house.submit("true", "k");
  auto again = house.submit("true", "k");
  REQUIRE(again);
  CHECK(again->existed);
  CHECK(again->run.number == first->run.number);
  auto other = house.submit("false", "k");
  REQUIRE_FALSE(other);
  CHECK(other.error().code() == "key_conflict");
  CHECK(other.error().message().find("'command'") != std::string::npos);
  house.open();
  CHECK(house.submit("true", "k")->existed);
  CHECK(house.submit("true")->run.number == 2);
}

TEST_CASE("whatever two requests of one key differ in is named") {
  using Change = std::function<void(model::RunRequest&)>;
  const std::map<std::string, Change> changes{
      {"command", [](auto& r) { r.command = "false"; }},
      {"machine_type", [](auto& r) { r.machine_type = "CPU"; }},
      {"description", [](auto& r) { r.description = "other"; }},
      {"project", [](auto& r) { r.project = "letters"; }},
      {"folder", [](auto& r) { r.folder = "sub"; }},
      {"virtual_env", [](auto& r) { r.virtual_env = "/venv"; }},
      {"env", [](auto& r) { r.env["A"] = "2"; }},
      {"labels", [](auto& r) { r.labels = {"night"}; }},
      {"after", [](auto& r) { r.after = {1}; }},
      {"timeout", [](auto& r) { r.timeout = 60; }},
      {"stop_grace", [](auto& r) { r.stop_grace = 31; }},
      {"log_limit", [](auto& r) { r.log_limit = 1 << 20; }},
      {"split_output", [](auto& r) { r.split_output = true; }},
      {"save_all", [](auto& r) { r.save_all = true; }},
      {"idempotent", [](auto& r) { r.idempotent = true; }},
      {"code", [](auto& r) { r.code = model::CodeRef{.commit = std::string(40, 'b')}; }},
      {"mounts",
       [](auto& r) {
         r.mounts = {{"uploads/x", "y"}};
       }},
      {"secrets",
       [](auto& r) {
         r.secrets = {{"KEY", "KEY"}};
       }},
      {"cpus", [](auto& r) { r.cpus = 2; }},
      {"memory", [](auto& r) { r.memory = 1 << 20; }},
      {"gpus", [](auto& r) { r.gpus = 0; }},
      {"gpu_name", [](auto& r) { r.gpu_name = "A100"; }},
      {"workflow", [](auto& r) { r.workflow = 1; }},
      {"build", [](auto& r) { r.build = "target"; }},
      {"params", [](auto& r) { r.params["rate"] = "0.1"; }}};
  House house;
  Submission s{"ada", "ada", "k", "first", {}};
  s.request.command = "true";
  s.request.env["A"] = "1";
  REQUIRE(house.change([&] { return house.state->submit(s, house.now); }));
  model::RunRequest all = s.request;
  for (auto& [field, apply] : changes) {
    auto other = s;
    other.body_hash = "other";
    apply(other.request);
    apply(all);
    auto refused = house.change([&] { return house.state->submit(other, house.now); });
    // A run of a workflow has a key of that workflow.
    if (field == "workflow") {
      CHECK(refused.error().code() == "workflow_not_found");
      continue;
    }
    INFO(field);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == "key_conflict");
    CHECK(refused.error().message().find("belongs to run 1, which differs in '" + field + "'") !=
          std::string::npos);
  }
  // There is no member that the table leaves out.
  auto members = model::to_json(all);
  for (auto& [field, value] : members.items()) {
    INFO(field);
    CHECK(changes.contains(field));
  }
  CHECK(changes.size() == members.size());
  // Only written differently it is the same.
  s.body_hash = "with more spaces";
  CHECK(house.change([&] { return house.state->submit(s, house.now); })->existed);
}

TEST_CASE("a refused submission uses no number up") {
  House house;
  Submission s{"ada", "ada", "", "", {}};
  s.request.command = "true";
  s.request.machine_type = "K80";
  auto refused = house.change([&] { return house.state->submit(s, house.now); });
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == "unknown_machine_type");
  CHECK(refused.error().message().find("CPU") != std::string::npos);
  CHECK(house.submit("true")->run.number == 1);
}

TEST_CASE("a number is never used twice, also after rm") {
  House house;
  REQUIRE(house.submit("true"));
  REQUIRE(house.change([&] { return house.state->end("ada", 1, "kill", house.now); }));
  REQUIRE(house.change([&] { return house.state->remove("ada", 1); }));
  CHECK_FALSE(house.writer->find_run("ada", 1).value());
  house.open();
  CHECK(house.submit("true")->run.number == 2);
}

TEST_CASE("stop of a running run asks its worker; of a waiting one it is the end") {
  House house(2);
  house.connect();
  for (int i = 0; i < 3; ++i) REQUIRE(house.submit("sleep 9"));
  house.acknowledge();
  REQUIRE(house.report(1, {"building", "running"}));
  REQUIRE(house.change([&] { return house.state->end("ada", 1, "stop", house.now); }));
  CHECK(house.run(1).status == "stopping");
  CHECK(house.commands() == Words{"stop 1"});
  REQUIRE(house.change([&] { return house.state->end("ada", 1, "stop", house.now); }));
  CHECK(house.commands() == Words{"stop 1"});
  REQUIRE(house.change([&] { return house.state->end("ada", 1, "kill", house.now); }));
  CHECK(house.commands() == Words{"stop 1", "kill 1"});
  REQUIRE(house.change([&] { return house.state->end("ada", 3, "stop", house.now); }));
  CHECK(house.run(3).status == "killed");
  REQUIRE(house.report(1, {}, 137, "killed"));
  CHECK(house.run(1).status == "killed");
}

TEST_CASE("stop before the command has begun is a kill") {
  House house;
  house.connect();
  REQUIRE(house.submit("true"));
  house.acknowledge();
  REQUIRE(house.change([&] { return house.state->end("ada", 1, "stop", house.now); }));
  CHECK(house.commands() == Words{"kill 1"});
}

TEST_CASE("after a crash the worker is told what it does not have, and to forget what has ended") {
  House house;
  house.connect();
  REQUIRE(house.submit("a"));
  REQUIRE(house.submit("b"));
  house.acknowledge();
  REQUIRE(house.report(1, {"building", "running"}));
  std::string id1 = house.run(1).id, id2 = house.run(2).id;
  house.open();
  SECTION("a run whose start was never taken over is started") {
    house.connect({{id1, 1}});
    CHECK(house.commands() == Words{"start 2"});
    CHECK(house.run(1).status == "running");
  }
  SECTION("a running run whose files are gone is interrupted, not run again") {
    house.connect({{id2, 1}});
    CHECK(house.run(1).status == "interrupted");
    CHECK(house.run(1).reason_code == "run_folder_lost");
  }
  SECTION("a stop that was on its way is said again") {
    REQUIRE(house.change([&] { return house.state->end("ada", 1, "stop", house.now); }));
    house.open();
    house.connect({{id1, 1}, {id2, 1}});
    CHECK(house.commands() == Words{"stop 1"});
  }
  SECTION("what has ended is forgotten") {
    REQUIRE(house.report(1, {"saving", "pushing"}, 0));
    house.open();
    house.connect({{id1, 1}, {id2, 1}});
    CHECK(house.commands() == Words{"forget 1"});
  }
  SECTION("a folder that the store knows nothing of is left alone") {
    house.connect({{std::string(32, 'f'), 1}, {id1, 1}, {id2, 1}});
    CHECK(house.commands().empty());
  }
}

TEST_CASE("a report that is said again changes nothing") {
  House house;
  house.connect();
  REQUIRE(house.submit("true"));
  auto record = house.run(1);
  model::RunReport report;
  report.run = record.id;
  report.epoch = record.epoch;
  report.events.push_back({1, "building", "Run is building"});
  report.events.push_back({2, "running", "Run is running"});
  REQUIRE(house.change([&] { return house.state->report("here", report, house.now); }));
  auto entries = house.run(1).entries;
  REQUIRE(house.change([&] { return house.state->report("here", report, house.now); }));
  CHECK(house.run(1).entries == entries);
  report.result.emplace();
  report.result->status = "complete";
  report.result->exit_code = 0;
  REQUIRE(house.change([&] { return house.state->report("here", report, house.now); }));
  auto ended = house.run(1);
  REQUIRE(house.change([&] { return house.state->report("here", report, house.now); }));
  CHECK(house.run(1).version == ended.version);
  CHECK(house.commands().back() == "forget 1");
}

TEST_CASE("reports of another epoch, machine or run are refused") {
  House house;
  house.connect();
  REQUIRE(house.submit("true"));
  model::RunReport report;
  report.run = house.run(1).id;
  report.epoch = 7;
  auto refused = house.change([&] { return house.state->report("here", report, house.now); });
  CHECK(refused.error().code() == "stale_epoch");
  report.run = std::string(32, 'a');
  refused = house.change([&] { return house.state->report("here", report, house.now); });
  CHECK(refused.error().code() == "run_not_found");
}

TEST_CASE("--after: starts when the others are complete with 0") {
  House house(4);
  house.connect();
  REQUIRE(house.submit("a"));
  REQUIRE(house.submit("b", "", {1}));
  REQUIRE(house.submit("c", "", {2}));
  CHECK(house.commands() == Words{"start 1"});
  house.acknowledge();
  SECTION("success goes on") {
    REQUIRE(house.report(1, {"building", "running", "saving", "pushing"}, 0));
    CHECK(house.commands() == Words{"forget 1", "start 2"});
    house.open(4);
    house.connect({{house.run(2).id, 1}});
    REQUIRE(house.report(2, {"building", "running", "saving", "pushing"}, 0));
    CHECK(house.run(3).machine == "here");
  }
  SECTION("failure ends those that wait, one after the other") {
    REQUIRE(house.report(1, {"building", "running", "saving", "pushing"}, 1));
    CHECK(house.run(2).status == "failed");
    CHECK(house.run(2).reason_code == "dependency_failed");
    CHECK(house.run(3).status == "failed");
    auto late = house.submit("d", "", {1});
    REQUIRE_FALSE(late);
    CHECK(late.error().code() == "dependency_failed");
  }
  SECTION("killing the one they wait for ends them too") {
    REQUIRE(house.change([&] { return house.state->end("ada", 2, "kill", house.now); }));
    CHECK(house.run(2).status == "killed");
    CHECK(house.run(3).status == "failed");
  }
}

TEST_CASE("--idempotent finds a run that is under way or has succeeded, not one that failed") {
  House house;
  house.connect();
  Submission s{"ada", "ada", "", "", {}};
  s.request.command = "true";
  s.request.idempotent = true;
  auto first = house.change([&] { return house.state->submit(s, house.now); });
  REQUIRE_FALSE(first->existed);
  s.request.description = "other words";
  CHECK(house.change([&] { return house.state->submit(s, house.now); })->existed);
  REQUIRE(house.report(1, {"building", "running", "saving", "pushing"}, 1));
  auto next = house.change([&] { return house.state->submit(s, house.now); });
  CHECK_FALSE(next->existed);
  CHECK(next->run.number == 2);
}

TEST_CASE("archive and rm are for runs that have ended; labels for all") {
  House house;
  REQUIRE(house.submit("true"));
  CHECK(house.change([&] { return house.state->archive("ada", 1, true); }).error().code() ==
        "run_not_final");
  CHECK(house.change([&] { return house.state->remove("ada", 1); }).error().code() ==
        "run_not_final");
  REQUIRE(house.change([&] { return house.state->label("ada", 1, {"a", "b", "a"}, {}); }));
  REQUIRE(house.change([&] { return house.state->label("ada", 1, {"c"}, {"a"}); }));
  CHECK(store::split_labels(house.run(1).labels) == Words{"b", "c"});
  CHECK(house.change([&] { return house.state->archive("ada", 9, true); }).error().code() ==
        "run_not_found");
}

TEST_CASE("a user has as many runs at once as his quota allows, and holds nobody else back") {
  House house(8);
  house.connect();
  auto limit = [&](const std::string& user, std::int64_t runs) {
    REQUIRE(house.change([&]() -> Result<> {
      auto put = house.writer->put_quota({"ada", user, "runs", runs});
      return put ? house.state->load_quotas() : put;
    }));
  };
  limit("", 2);
  auto submit_as = [&](const std::string& user) {
    Submission s{"ada", user, "", "", {}};
    s.request.command = "true";
    REQUIRE(house.change([&] { return house.state->submit(s, house.now); }));
  };
  for (int i = 0; i < 4; ++i) submit_as("ada");
  submit_as("bob");
  CHECK(house.commands() == Words{"start 1", "start 2", "start 5"});
  house.acknowledge();
  SECTION("one that ends makes room for the next, in order") {
    REQUIRE(house.report(1, {"building", "running"}, 0));
    CHECK(house.commands() == Words{"forget 1", "start 3"});
  }
  SECTION("a higher limit lets them go") {
    limit("ada", 4);
    CHECK(house.commands() == Words{"start 3", "start 4"});
  }
  SECTION("after a restart the same runs wait") {
    house.open(8);
    house.connect();
    CHECK(house.commands() == Words{"start 1", "start 2", "start 5"});
  }
  SECTION("one that waits for its quota can be ended") {
    REQUIRE(house.change([&] { return house.state->end("ada", 3, "kill", house.now); }));
    CHECK(house.run(3).status == "killed");
    house.acknowledge();
    REQUIRE(house.report(1, {"building", "running"}, 0));
    CHECK(house.commands() == Words{"forget 1", "start 4"});
  }
}

TEST_CASE("a log is limited by the quota of who runs it") {
  House house;
  house.connect();
  REQUIRE(house.change([&]() -> Result<> {
    auto put = house.writer->put_quota({"ada", "ada", "log_bytes", 5000});
    return put ? house.state->load_quotas() : put;
  }));
  REQUIRE(house.submit("true"));
  CHECK(house.state->machines().at("here").commands[0].start->request.log_limit == 5000);
  CHECK(house.run(1).request.log_limit == 10LL << 30);
}

TEST_CASE("numbers that a worker has heard of are not given again") {
  House house;
  REQUIRE(house.submit("true"));
  auto hear = [&](std::map<std::string, std::int64_t> numbers) {
    REQUIRE(house.change([&] { return house.state->heard_of_numbers("here", numbers); }));
  };
  hear({{"ada", 41}, {"nobody", 7}});
  CHECK(house.submit("true")->run.number == 42);
  hear({{"ada", 5}});
  CHECK(house.submit("true")->run.number == 43);
  hear({{"ada", INT64_MAX}});
  CHECK(house.submit("true")->run.number == 44);
  hear({{"ada", 50}});
  house.open();
  CHECK(house.submit("true")->run.number == 51);
}

TEST_CASE("a run's secrets must be there, and are said again to a worker that may have lost them") {
  House house;
  Submission s{"ada", "ada", "", "", {}};
  s.request.command = "true";
  s.request.secrets = {{"X", "token"}};
  auto submit = [&] { return house.change([&] { return house.state->submit(s, house.now); }); };
  CHECK(submit().error().code() == "secret_not_found");
  REQUIRE(house.change([&] { return house.writer->put_secret("ada", "ada", {"token", "…", 1}); }));
  house.connect();
  REQUIRE(submit());
  std::string id = house.run(1).id;
  house.acknowledge();
  house.connect({{id, 1}});
  CHECK(house.commands() == Words{"start 1"});
  REQUIRE(house.report(1, {"building", "running"}));
  house.acknowledge();
  house.connect({{id, 1}});
  CHECK(house.commands().empty());
}
