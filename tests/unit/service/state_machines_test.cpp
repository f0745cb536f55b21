// Machines in the state: joining, being away, coming back late, going for good.
#include "team_house.hpp"

using namespace spell;
using namespace spell::service;

TEST_CASE("what is backed up of a run is its outputs, whatever becomes of its machine") {
  Team team;
  auto box = team.machine("box");
  REQUIRE(team.submit_to("box"));
  auto back_up = [&](const std::string& tree, std::int64_t files) {
    auto report = team.report_of(1);
    report.backup = model::RunBackup{tree, files, 10 * files};
    return report;
  };
  auto running = back_up("t1", 3);
  running.events.push_back({1, "building", "Run is building"});
  running.events.push_back({2, "running", "Run is running"});
  REQUIRE(team.say(box, running));
  CHECK(team.run(1).outputs == "t1");
  CHECK(team.run(1).status == "running");
  auto stale = back_up("t2", 4);
  --stale.epoch;
  CHECK(team.say(box, stale).error().code() == "stale_epoch");
  team.open();  // durable
  CHECK(team.run(1).outputs == "t1");
  CHECK(team.run(1).output_files == 3);
  CHECK(team.run(1).output_bytes == 30);
  team.greet(box, hello_of(8), {{team.run(1).id, team.run(1).epoch}});

  CHECK(team.change([&] { return team.state->lost(box, team.now), ok(); }));
  CHECK(team.run(1).status == "interrupted");
  CHECK(team.run(1).outputs == "t1");
  // Late files still come to it; its result is the last word.
  REQUIRE(team.say(box, back_up("t3", 5)));
  CHECK(team.run(1).outputs == "t3");
  CHECK(team.run(1).status == "interrupted");
  REQUIRE(team.say(box, team.end_of(1)));
  CHECK(team.run(1).status == "complete");
  CHECK(team.run(1).outputs.empty());
  REQUIRE(team.say(box, back_up("t4", 6)));
  CHECK(team.run(1).outputs.empty());
}

TEST_CASE("a machine is reached by its name and its types once it has joined") {
  Team team;
  auto box = team.record("box", {"v100"});
  REQUIRE(team.change([&] { return team.state->create_machine(box); }));
  CHECK(team.submit_to("box").error().code() == "unknown_machine_type");
  auto joined = team.join(team.token(box.id), hello_of(8, 2));
  REQUIRE(joined);
  CHECK(joined->id == box.id);
  // Provided, though nobody is connected.
  REQUIRE(team.submit_to("V100"));
  CHECK(team.run(1).machine.empty());
  team.greet(box.id, hello_of(8, 2));
  CHECK(team.run(1).machine == "box");
  CHECK(team.run(1).takes == Amounts{4, 32 * GB, 1});
  auto& start = *team.state->machine_by_id(box.id)->commands.back().start;
  CHECK(start.gpus == 1);
  CHECK(start.cpus == 4);
  CHECK(start.memory == 32 * GB);
  CHECK(start.code_url.empty());
  std::string story;
  for (auto& event : team.writer->events(team.run(1).id, 0).value()) story += event.text + "\n";
  CHECK(story.find("1 of 2 GPUs (--gpu 2 for all)") != std::string::npos);
}

TEST_CASE("a join token is good for one machine, one hour and one use") {
  Team team;
  auto box = team.record("box");
  REQUIRE(team.change([&] { return team.state->create_machine(box); }));
  CHECK(team.join("nonsense").error().code() == "unauthorized");
  auto first = team.token(box.id), second = team.token(box.id);
  // The first was never used: the second has taken its place.
  CHECK(team.join(first).error().code() == "unauthorized");
  REQUIRE(team.join(second));
  CHECK(team.join(second).error().code() == "join_token_used");
  team.open();
  CHECK(team.join(second).error().code() == "join_token_used");
  auto late = team.token(box.id);
  team.now += 3'600'000'001;
  CHECK(team.join(late).error().code() == "join_token_expired");
  REQUIRE(team.join(team.token(box.id)));
  // Whoever joined before has no credential any more.
  int credentials = 0;
  for (auto& [id, token] : team.state->tokens()) credentials += token.kind == "machine";
  CHECK(credentials == 1);
}

TEST_CASE("what a user has made for machines to join with ends when it is told") {
  Team team;
  std::vector<store::MachineRecord> made;
  for (auto* name : {"box", "desk", "rack"}) {
    made.push_back(team.record(name));
    REQUIRE(team.change([&] { return team.state->create_machine(made.back()); }));
  }
  auto used = team.token(made[0].id, "eve"), unused = team.token(made[1].id, "eve"),
       type = team.token("type:ada/v100", "eve"), other = team.token(made[2].id);
  REQUIRE(team.join(used));
  team.lost_change([&] { return team.state->drop_join_tokens_of("eve"); });
  CHECK(team.state->tokens().contains(unused));
  REQUIRE(team.change([&] { return team.state->drop_join_tokens_of("eve"); }));
  CHECK(team.join(unused).error().code() == "unauthorized");
  CHECK(team.join(type).error().code() == "unauthorized");
  CHECK(team.join(used).error().code() == "join_token_used");  // its machine stays
  CHECK(team.join(other));
  team.open();
  CHECK_FALSE(team.state->tokens().contains(unused));
}

TEST_CASE("a machine has heard of its own owner's numbers alone") {
  Team team;
  auto box = team.machine("box");
  auto submit = [&](const std::string& owner) {
    Submission s{owner, "eve", "", "", {}};
    s.request.command = "true";
    return team.change([&] { return team.state->submit(s, team.now); })->run.number;
  };
  CHECK(submit("ada") == 1);
  CHECK(submit("lab") == 1);
  std::map<std::string, std::int64_t> numbers{{"ada", 41}, {"lab", 41}, {"nobody", 41}};
  REQUIRE(team.change([&] { return team.state->heard_of_numbers(box, numbers); }));
  REQUIRE(team.change([&] { return team.state->heard_of_numbers("no machine", {{"lab", 41}}); }));
  CHECK(submit("ada") == 42);
  CHECK(submit("lab") == 2);
}

TEST_CASE("a token of a type makes a machine that serves it, under its own name") {
  Team team;
  auto token = team.token("type:ada/v100");
  auto joined = team.join(token, hello_of(4, 1));
  REQUIRE(joined);
  CHECK(joined->name == "host");
  CHECK(joined->serves == Words{"v100"});
  CHECK(team.join(token).error().code() == "join_token_used");
  CHECK(team.join(team.token("type:ada/v100")).error().code() == "name_taken");
}

TEST_CASE("machines, types and links have one name space") {
  Team team;
  team.machine("box", {"v100"});
  auto taken = [&](const std::string& name) {
    auto made = team.change([&] { return team.state->create_machine(team.record(name)); });
    return !made && made.error().code() == "name_taken";
  };
  CHECK(taken("box"));
  CHECK(taken("v100"));
  CHECK(taken("cpu"));
  CHECK(taken("here"));
  REQUIRE(team.change([&] {
    return team.writer->put_link("ada", {"data", "uploads/x", 1, "ada"});
  }));
  CHECK(taken("data"));
  store::MachineTypeRecord type{"ada", "v100"};
  type.gpus = 2;
  CHECK(team.change([&] { return team.state->put_machine_type(type, false); }));
  CHECK_FALSE(team.change([&] { return team.state->put_machine_type(type, false); }));
  type.name = "box";
  CHECK_FALSE(team.change([&] { return team.state->put_machine_type(type, false); }));
}

TEST_CASE("machines, their types and what they give survive a restart") {
  Team team;
  auto id = team.machine("box", {"v100"}, hello_of(8, 4));
  store::MachineTypeRecord type{"ada", "v100"};
  type.gpus = 2;
  REQUIRE(team.change([&] { return team.state->put_machine_type(type, false); }));
  REQUIRE(team.submit_to("v100"));
  REQUIRE(team.submit_to("v100"));
  REQUIRE(team.submit_to("v100"));
  CHECK(team.state->cluster().find("box")->used.gpus == 4);
  team.open();
  CHECK(team.state->cluster().find("box")->used.gpus == 4);
  CHECK_FALSE(team.state->cluster().find("box")->connected);
  CHECK(team.state->cluster().find("box")->offers.gpus == 4);
  team.greet(id, hello_of(8, 4));
  CHECK(team.commands_of(id) == Words{"start 1", "start 2"});
  REQUIRE(team.say(id, team.end_of(1)));
  CHECK(team.commands_of(id) == Words{"start 2", "forget 1", "start 3"});
}

TEST_CASE("a drained machine gets no new runs, a resumed one does") {
  Team team;
  auto id = team.machine("box");
  MachineChange drain;
  drain.drained = true;
  REQUIRE(team.submit_to("box"));
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "box", drain); }));
  REQUIRE(team.submit_to("box"));
  CHECK(team.run(2).machine.empty());
  team.open();
  team.greet(id);
  CHECK(team.run(2).machine.empty());
  drain.drained = false;
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "box", drain); }));
  CHECK(team.run(2).machine == "box");
}

TEST_CASE("this computer stays drained when its service starts again") {
  House house;
  MachineChange drain;
  drain.drained = true;
  house.lost_change([&] { return house.state->change_machine("ada", "here", drain); });
  CHECK_FALSE(house.state->machines().at("here").record.drained);
  REQUIRE(house.change([&] { return house.state->change_machine("ada", "here", drain); }));
  house.open();
  house.connect();
  CHECK(house.state->cluster().find("here")->drained);
  REQUIRE(house.submit("true"));
  CHECK(house.run(1).machine.empty());
  drain.drained = false;
  REQUIRE(house.change([&] { return house.state->change_machine("ada", "here", drain); }));
  CHECK(house.run(1).machine == "here");
  house.open();
  CHECK_FALSE(house.state->cluster().find("here")->drained);
}

TEST_CASE("this computer's runs stay its own when it is called otherwise") {
  House house;
  house.connect();
  REQUIRE(house.submit("true"));
  REQUIRE(house.report(1, {"building", "running"}));
  house.open(2, 0, "there");
  CHECK(house.run(1).machine == "there");
  REQUIRE(house.change([&] {
    return house.state->hello("there", {}, {{house.run(1).id, 1}}, house.now);
  }));
  CHECK(house.state->machines().at("there").commands.empty());
  CHECK(house.state->cluster().find("there")->used.cpus == 1);
}

TEST_CASE("without its worker a service keeps what that has, and ends it when asked") {
  House house;
  house.connect();
  REQUIRE(house.submit("first"));
  REQUIRE(house.submit("second"));
  for (int number : {1, 2}) REQUIRE(house.report(number, {"building", "running"}));
  house.open(2, 0, "");
  CHECK(house.run(1).status == "running");
  auto ended = house.change([&] { return house.state->end("ada", 1, "stop", house.now); });
  REQUIRE(ended);
  CHECK(ended->status == "killed");
  house.open();
  house.connect({{house.run(1).id, 1}, {house.run(2).id, 1}});
  CHECK(house.commands() == Words{"forget 1"});
  CHECK(house.run(2).status == "running");
}

TEST_CASE("a renamed machine keeps its worker and its runs") {
  Team team;
  auto id = team.machine("box");
  REQUIRE(team.submit_to("box"));
  MachineChange rename;
  rename.name = "desk";
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "box", rename); }));
  CHECK(team.run(1).machine == "desk");
  CHECK(team.state->machine_by_id(id)->record.name == "desk");
  REQUIRE(team.say(id, team.end_of(1)));
  CHECK(team.run(1).status == "complete");
  CHECK(team.submit_to("box").error().code() == "unknown_machine_type");
  CHECK(team.state->cluster().find("desk")->used == Amounts{});
  REQUIRE(team.change([&] { return team.state->create_machine(team.record("box")); }));
}

TEST_CASE("a removed machine's runs end, and its worker is told to end them") {
  Team team;
  auto id = team.machine("box");
  REQUIRE(team.submit_to("box"));
  (void)team.state->take_farewells();
  auto remove = [&](const std::string& name, bool with_runs) {
    return team.change(
        [&] { return team.state->remove_machine("ada", name, with_runs, team.now); });
  };
  CHECK(remove("box", false).error().code() == "machine_in_use");
  CHECK(team.state->take_farewells().empty());
  REQUIRE(remove("box", true));
  CHECK(team.run(1).status == "interrupted");
  CHECK(team.run(1).reason_code == "machine_removed");
  auto farewells = team.state->take_farewells();
  REQUIRE(farewells[id].size() == 1);
  CHECK(farewells[id][0].type == "kill");
  CHECK(team.state->tokens().empty());
  CHECK_FALSE(team.say(id, team.end_of(1)));
  CHECK(remove("here", true).error().code() == "not_permitted");
}

TEST_CASE("runs that wait for a removed machine end, but none that another can take") {
  Team team;
  auto id = team.machine("box", {"v100"}, hello_of(8, 2));
  team.machine("small", {"v100"}, hello_of(8, 1));
  auto remove = [&](const std::string& name, bool with_runs) {
    return team.change(
        [&] { return team.state->remove_machine("ada", name, with_runs, team.now); });
  };
  REQUIRE(team.submit_to("v100", 2));      // 1: on box
  REQUIRE(team.submit_to("v100", 2));      // 2: for box alone
  REQUIRE(team.submit_to("box"));          // 3: by its name
  REQUIRE(team.submit_to("v100"));         // 4: on small
  REQUIRE(team.submit_to("v100"));         // 5: either will do
  REQUIRE(team.submit("after", "", {2}));  // 6: after 2
  CHECK(remove("box", false).error().message().find("on it: 1, waiting for it alone: 2") !=
        std::string::npos);
  // What is gone already, such as a GPU, does not keep a run either.
  team.greet(id, hello_of(8), {{team.run(1).id, 1}});
  REQUIRE(remove("box", true));
  CHECK(team.run(1).status == "interrupted");
  for (int number : {2, 3}) {
    CHECK(team.run(number).status == "failed");
    CHECK(team.run(number).reason_code == "machine_removed");
  }
  CHECK(team.run(4).machine == "small");
  CHECK(team.run(5).status == "machine_requested");
  CHECK(team.run(6).reason_code == "dependency_failed");
  CHECK(team.state->active() == 2);
  CHECK(remove("small", false).error().message().find("on it: 1, waiting for it alone: 1") !=
        std::string::npos);
}

TEST_CASE("runs that wait for a machine by its name go with it when it is renamed") {
  Team team;
  team.machine("box");
  MachineChange change;
  change.drained = true;
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "box", change); }));
  REQUIRE(team.submit_to("Box"));
  change = {};
  change.name = "desk";
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "box", change); }));
  CHECK(team.run(1).request.machine_type == "desk");
  change = {};
  change.drained = false;
  REQUIRE(team.change([&] { return team.state->change_machine("ada", "desk", change); }));
  CHECK(team.run(1).machine == "desk");
}

TEST_CASE("a machine that is away gets nothing, and is the same when it is back") {
  Team team;
  auto id = team.machine("box");
  REQUIRE(team.submit_to("box"));
  REQUIRE(team.say(id, team.report_of(1)));
  auto session = team.state->machine_by_id(id)->session;
  CHECK(team.change([&] { return team.state->away(id, session - 1, team.now), ok(); }));
  CHECK(team.state->machine_by_id(id)->connected);  // it has said hello since
  CHECK(team.change([&] { return team.state->away(id, session, team.now), ok(); }));
  CHECK_FALSE(team.state->machine_by_id(id)->connected);
  REQUIRE(team.submit_to("box"));
  CHECK(team.run(2).machine.empty());
  team.greet(id, hello_of(8), {{team.run(1).id, 1}});
  CHECK(team.run(2).machine == "box");
  CHECK(team.commands_of(id) == Words{"start 2"});
}

TEST_CASE("a lost machine's runs end, and what it brings later is still theirs") {
  Team team;
  auto id = team.machine("box");
  REQUIRE(team.submit_to("box"));
  auto begun = team.report_of(1);
  begun.events.push_back({1, "building", "now building"});
  begun.events.push_back({2, "running", "now running"});
  REQUIRE(team.say(id, begun));
  CHECK(team.change([&] { return team.state->lost(id, team.now), ok(); }));
  CHECK(team.run(1).status == "interrupted");
  CHECK(team.run(1).reason_code == "machine_lost");
  CHECK(team.run(1).reason == "machine box has not been heard of for 600 s");
  CHECK(team.state->cluster().find("box")->used == Amounts{});
  CHECK(team.commands_of(id).empty());  // nothing that would delete its files
  if (GENERATE(false, true)) team.open();

  // It is back with the run: that takes its room, is not forgotten, and is not run again.
  team.greet(id, hello_of(8), {{team.run(1).id, 1}});
  CHECK(team.commands_of(id).empty());
  REQUIRE(team.state->late_run(team.run(1).id));
  CHECK(team.state->late_run(team.run(1).id)->epoch == 1);
  CHECK(team.state->cluster().find("box")->used == team.run(1).takes);
  auto more = team.report_of(1);
  more.events.push_back({3, "saving", "now saving"});
  REQUIRE(team.say(id, more));
  CHECK(team.run(1).status == "interrupted");

  SECTION("a success") {
    REQUIRE(team.say(id, team.end_of(1)));
    CHECK(team.run(1).status == "complete");
    CHECK(team.run(1).exit_code == 0);
    CHECK(team.run(1).reason_code == "late_result");
    CHECK(team.commands_of(id) == Words{"forget 1"});
    CHECK(team.state->cluster().find("box")->used == Amounts{});
    CHECK_FALSE(team.state->late_run(team.run(1).id));
    auto version = team.run(1).version;
    REQUIRE(team.say(id, team.end_of(1)));  // said again
    CHECK(team.run(1).version == version);
  }
  SECTION("a failure") {
    REQUIRE(team.say(id, team.end_of(1, "failed")));
    CHECK(team.run(1).status == "failed");
    CHECK(team.run(1).exit_code == 1);
  }
  SECTION("of another epoch or machine: nothing") {
    auto other = team.machine("other");
    auto stale = team.end_of(1);
    stale.epoch = 2;
    (void)team.say(id, stale);
    (void)team.say(other, team.end_of(1));
    CHECK(team.run(1).status == "interrupted");
  }
  SECTION("whoever wants it ended can") {
    REQUIRE(team.change([&] { return team.state->end("ada", 1, "kill", team.now); }));
    CHECK(team.commands_of(id) == Words{"kill 1"});
  }
  SECTION("a transaction that fails forgets none of it") {
    team.lost_change([&] { return team.state->report(id, team.end_of(1), team.now); });
    CHECK(team.run(1).status == "interrupted");
    CHECK(team.state->cluster().find("box")->used == team.run(1).takes);
    REQUIRE(team.state->late_run(team.run(1).id));
    REQUIRE(team.say(id, team.end_of(1)));
    CHECK(team.run(1).status == "complete");
  }
}

TEST_CASE("an end that was asked for while a machine was away is told when it is back") {
  Team team;
  auto id = team.machine("box");
  REQUIRE(team.submit_to("box"));
  auto begun = team.report_of(1);
  begun.events.push_back({1, "building", "now building"});
  begun.events.push_back({2, "running", "now running"});
  REQUIRE(team.say(id, begun));
  auto stop = [&] {
    REQUIRE(team.change([&] { return team.state->end("ada", 1, "stop", team.now); }));
  };
  bool before = GENERATE(false, true);
  if (before) stop();
  CHECK(team.change([&] { return team.state->lost(id, team.now), ok(); }));
  if (!before) stop();
  if (GENERATE(false, true)) team.open();
  team.greet(id, hello_of(8), {{team.run(1).id, 1}});
  CHECK(team.commands_of(id) == Words{"stop 1"});
  REQUIRE(team.say(id, team.end_of(1, "stopped")));
  CHECK(team.run(1).status == "stopped");
  CHECK(team.run(1).wanted.empty());
}

TEST_CASE("how long a machine may be away is its own word, its types', or ten minutes") {
  Team team;
  auto id = team.machine("box", {"v100", "k80"});
  auto seconds = [&] { return team.state->lost_after(*team.state->machine_by_id(id)); };
  CHECK(seconds() == 600);
  store::MachineTypeRecord type{"ada", "v100"};
  type.lost_after = 60;
  REQUIRE(team.change([&] { return team.state->put_machine_type(type, false); }));
  CHECK(seconds() == 60);
}

TEST_CASE("a worker cannot speak of runs that are not its own") {
  Team team;
  auto box = team.machine("box"), other = team.machine("other");
  REQUIRE(team.submit_to("box"));
  REQUIRE(team.submit_to("box"));
  REQUIRE(team.say(box, team.end_of(1)));
  auto before = team.run(2);
  CHECK(team.say(other, team.end_of(2)).error().code() == "stale_epoch");
  REQUIRE(team.say(other, team.end_of(1)));  // ended; nothing changes
  CHECK(team.run(2).version == before.version);
  CHECK(team.commands_of(other).empty());
  auto unknown = team.end_of(1);
  unknown.run = std::string(32, 'f');
  CHECK(team.say(box, unknown).error().code() == "run_not_found");
  // Nor have them forgotten, or given to itself, by claiming to hold them.
  team.greet(other, hello_of(8), {{team.run(2).id, 1}});
  CHECK(team.run(2).status == before.status);
  CHECK(team.run(2).machine == "box");
}

TEST_CASE("a start that a worker does not hold is given again, and outdates the first") {
  Team team;
  auto box = team.machine("box");
  REQUIRE(team.submit_to("box"));
  REQUIRE(team.submit_to("box"));
  auto first = team.end_of(1), held = team.end_of(2);
  team.greet(box, hello_of(8), {{held.run, held.epoch}});
  CHECK(team.commands_of(box) == Words{"start 1"});
  CHECK(team.run(1).epoch == first.epoch + 1);
  CHECK(team.run(2).epoch == held.epoch);
  CHECK(team.say(box, first).error().code() == "stale_epoch");
  REQUIRE(team.say(box, held));
  // What the first had told of its way is no part of the second's.
  auto again = team.end_of(1);
  model::RunEvent event;
  event.number = 1;
  event.status = "building";
  again.events.push_back(event);
  REQUIRE(team.say(box, again));
  CHECK(team.run(1).status == "complete");
  CHECK(team.run(1).placed_us > 0);
}
