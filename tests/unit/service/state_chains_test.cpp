// Chains in the state: interruptions in, successors out.
#include "team_house.hpp"

using namespace spell;
using namespace spell::service;

namespace {

/// Two machines serve the type `spot`, each with room for one run of it.
struct Spots : Team {
  std::string a, b;
  explicit Spots(bool by_default = true) {
    connect();
    store::MachineTypeRecord type;
    type.owner = "ada";
    type.name = "spot";
    type.spot = true;
    type.auto_resume = by_default;
    type.cpus = 8;
    REQUIRE(change([&] { return state->put_machine_type(type, false); }));
    a = machine("a", {"spot"});
    b = machine("b", {"spot"});
  }
  Submission asked(std::optional<bool> auto_resume = {}, const std::string& key = "") {
    Submission s{"ada", "ada", key, "hash", {}};
    s.request.command = "train";
    s.request.machine_type = "spot";
    s.request.auto_resume = auto_resume;
    return s;
  }
  std::int64_t begin(const Submission& s) {
    auto made = change([&] { return state->submit(s, now); });
    REQUIRE(made);
    return made->run.number;
  }
  std::int64_t begin(std::optional<bool> auto_resume = {}) { return begin(asked(auto_resume)); }
  std::string on(std::int64_t number) { return run(number).machine == "a" ? a : b; }
  void runs(std::int64_t number) {
    auto report = report_of(number);
    auto taken = run(number).taken;
    report.events.push_back({taken + 1, "building", "Run is building"});
    report.events.push_back({taken + 2, "running", "Run is running"});
    REQUIRE(say(on(number), report));
  }
  void backs_up(std::int64_t number, const std::string& tree, std::int64_t files = 3) {
    auto report = report_of(number);
    report.backup = model::RunBackup{tree, files, 10 * files};
    REQUIRE(say(on(number), report));
  }
  void lose(std::int64_t number) {
    auto machine = on(number);
    REQUIRE(change([&] { return state->lost(machine, now), ok(); }));
  }
  /// What its machine holds, when that is back.
  void back(const std::string& machine, std::map<std::string, std::int64_t> holds = {}) {
    greet(machine, hello_of(8), std::move(holds));
  }
  Result<> ends(std::int64_t number, const std::string& status = "complete") {
    return say(on(number), end_of(number, status));
  }
  std::int64_t count() {
    store::RunQuery all;
    all.owner = "ada";
    all.archived = true;
    return std::ssize(writer->list_runs(all).value());
  }
  Words log(std::int64_t number) {
    Words out;
    for (auto& event : writer->events(run(number).id, 0).value()) out.push_back(event.text);
    return out;
  }
  bool says(std::int64_t number, const std::string& text) {
    auto lines = log(number);
    return std::any_of(lines.begin(), lines.end(),
                       [&](auto& line) { return line.find(text) != std::string::npos; });
  }
  std::int64_t starts(const std::string& machine) {
    std::int64_t out = 0;
    for (auto& command : state->machine_by_id(machine)->commands)
      if (command.type == "start") out = run_number(command.run);
    return out;
  }
  const model::StartCommand& start_of(std::int64_t number) {
    for (auto& command : state->machine_by_id(on(number))->commands)
      if (command.type == "start" && run_number(command.run) == number) return *command.start;
    FAIL("no start of it");
    throw 0;
  }
};

}  // namespace

TEST_CASE("whoever asks for it goes on after each kind of interruption, else nobody") {
  bool by_default = GENERATE(false, true);
  Spots spots(by_default);
  auto asked = GENERATE(as<std::optional<bool>>{}, std::nullopt, false, true);
  auto number = spots.begin(asked);
  spots.runs(number);
  auto machine = spots.on(number);
  SECTION("its machine is lost") { spots.lose(number); }
  SECTION("the computer was restarted") { REQUIRE(spots.ends(number, "interrupted")); }
  SECTION("its files are gone") { spots.back(machine); }
  SECTION("its machine is removed") {
    REQUIRE(spots.change([&] {
      return spots.state->remove_machine("ada", spots.run(number).machine, true, spots.now);
    }));
  }
  CHECK(spots.run(number).status == "interrupted");
  bool goes_on = asked.value_or(by_default);
  CHECK(spots.count() == (goes_on ? 2 : 1));
  CHECK(spots.run(number).resumed_as == (goes_on ? 2 : 0));
  if (goes_on) {
    CHECK(spots.run(2).resumed_from == 1);
    CHECK(spots.run(2).request.command == "train");
    CHECK(spots.run(2).request.auto_resume == asked);
  }
}

TEST_CASE("other ends are final") {
  Spots spots;
  auto number = spots.begin(true);
  spots.runs(number);
  auto status = GENERATE(as<std::string>{}, "complete", "failed", "stopped", "killed");
  REQUIRE(spots.ends(number, status));
  CHECK(spots.run(1).status == status);
  CHECK(spots.count() == 1);
}

TEST_CASE("on a named machine and on CPU a run goes on where it asked for it") {
  Team team;
  team.machine("box", {"cpu"});
  Submission s{"ada", "ada", "", "", {}};
  s.request.command = "train";
  s.request.machine_type = GENERATE("box", "", "CPU");
  if (GENERATE(false, true)) s.request.auto_resume = true;
  REQUIRE(team.change([&] { return team.state->submit(s, team.now); }));
  auto id = team.state->machines().at("box").record.id;
  if (team.run(1).machine != "box") return;  // on the service's own
  REQUIRE(team.change([&] { return team.state->lost(id, team.now), ok(); }));
  CHECK(team.run(1).status == "interrupted");
  CHECK(team.run(1).resumed_as == (s.request.auto_resume ? 2 : 0));
}

TEST_CASE("the successor has what its predecessor had, and what that has saved") {
  Spots spots;
  auto s = spots.asked();
  s.request.project = "vision";
  s.request.labels = {"x"};
  s.request.env = {{"SEED", "1"}};
  REQUIRE(spots.change([&] {
    store::ProjectRecord project;
    project.name = "vision";
    return spots.state->writer().put_project("ada", "vision", project);
  }));
  spots.begin(s);
  spots.runs(1);
  spots.backs_up(1, "tree", 12);
  REQUIRE(spots.change([&] { return spots.state->label("ada", 1, {"y"}, {}); }));
  auto first = spots.on(1);
  spots.lose(1);
  auto next = spots.run(2);
  CHECK(next.project == "vision");
  CHECK(next.labels == spots.run(1).labels);
  CHECK(next.creator == "ada");
  CHECK(next.identity == spots.run(1).identity);
  CHECK(model::to_json(next.request) == model::to_json(s.request));
  CHECK(next.outputs == "tree");
  CHECK(next.output_files == 12);
  CHECK(next.output_bytes == 120);
  CHECK(next.not_before_us == 0);
  // It is on the other machine, and told what to begin with.
  CHECK(spots.on(2) != first);
  auto start = spots.start_of(2);
  CHECK(start.restore == "tree");
  CHECK(start.env.at("SPELL_RESUMED_FROM") == "1");
  CHECK(spots.says(1, "Auto-resume: it goes on as run 2"));
  CHECK(spots.says(2, "It goes on from run 1, which was interrupted, with 12 files of it"));
  // A collection keeps its files, also when its predecessor is removed.
  REQUIRE(spots.change([&] { return spots.state->remove("ada", 1); }));
  auto roots = spots.writer->roots().value();
  CHECK(std::any_of(roots.begin(), roots.end(),
                    [](auto& root) { return root.resource == "runs/2" && root.node == "tree"; }));
  spots.open();
  CHECK(spots.run(2).resumed_from == 1);
  CHECK(spots.run(2).restored == "tree");
}

TEST_CASE("interruption and successor are one transaction") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  auto machine = spots.on(1);
  spots.lost_change([&] { return spots.state->lost(machine, spots.now), ok(); });
  CHECK(spots.run(1).status == "running");
  CHECK(spots.count() == 1);
  spots.lose(1);
  spots.open();
  CHECK(spots.count() == 2);
  CHECK(spots.run(1).resumed_as == 2);
}

TEST_CASE("what goes on comes before all that waits") {
  Spots spots;
  spots.begin();
  spots.begin();
  spots.begin();  // waits
  spots.runs(1);
  spots.lose(1);
  CHECK(spots.run(4).resumed_from == 1);
  REQUIRE(spots.ends(2));
  CHECK(spots.run(4).machine != "");
  CHECK(spots.run(3).machine == "");
}

TEST_CASE("what comes after a run comes after its chain") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  auto after = spots.asked();
  after.request.machine_type = "";
  after.request.after = {1};
  spots.begin(after);
  spots.lose(1);
  REQUIRE(spots.run(3).resumed_from == 1);
  CHECK(spots.run(2).status == "machine_requested");
  if (GENERATE(false, true)) {
    spots.open();
    spots.connect();
  }
  if (spots.run(3).machine.empty()) spots.back(spots.b);
  spots.begin(after);  // and what is asked for now, by the number that he knows
  CHECK(spots.run(4).machine == "");
  CHECK(spots.state->is_awaited("ada", 3));
  SECTION("that ends well") {
    REQUIRE(spots.ends(3));
    CHECK(spots.run(2).machine != "");
    CHECK(spots.run(4).machine != "");
  }
  SECTION("that fails") {
    REQUIRE(spots.ends(3, "failed"));
    CHECK(spots.run(2).status == "failed");
    CHECK(spots.run(2).reason_code == "dependency_failed");
  }
}

TEST_CASE("a mount of what a run will save is of what its chain will have saved") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  auto mounts = spots.asked();
  mounts.request.machine_type = "";
  mounts.request.mounts = {{"runs/1/model", "/data"}};
  model::ResolvedMount mount;
  mount.resource = "runs/1/model";
  mount.at = "/data";
  mount.below = "model";
  mount.run = 1;
  mounts.mounts = {mount};
  spots.begin(mounts);
  spots.lose(1);
  CHECK(spots.run(2).status == "machine_requested");
  auto end = spots.end_of(3);
  end.result->outputs = "final";
  REQUIRE(spots.say(spots.on(3), end));
  CHECK(spots.run(2).mounts.find("final") != std::string::npos);
}

TEST_CASE("a chain is ended by any of its runs, and nothing goes on then") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  spots.lose(1);
  spots.runs(2);
  auto how = GENERATE(as<std::string>{}, "stop", "kill");
  auto ended = spots.change([&] { return spots.state->end("ada", 1, how, spots.now); });
  REQUIRE(ended);
  CHECK(ended->number == 2);
  CHECK(spots.run(2).wanted == how);
  SECTION("it ends") { REQUIRE(spots.ends(2, how == "stop" ? "stopped" : "killed")); }
  SECTION("its machine is lost before it has") { spots.lose(2); }
  CHECK(spots.count() == 2);
  auto again = spots.change([&] { return spots.state->end("ada", 1, how, spots.now); });
  CHECK(again->number == 2);
}

TEST_CASE("a stop in the moment of the interruption ends what would go on") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  auto machine = spots.on(1);
  REQUIRE(spots.change([&] {
    spots.state->lost(machine, spots.now);
    return spots.state->end("ada", 1, "stop", spots.now);
  }));
  CHECK(spots.run(2).status == "killed");
  CHECK(spots.count() == 2);
}

TEST_CASE("who is interrupted before he has saved anything new waits, longer each time") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  spots.backs_up(1, "t1");
  auto lose_last = [&](std::int64_t number) {
    if (spots.run(number).machine.empty()) {
      spots.back(spots.a);
      spots.back(spots.b);
    }
    REQUIRE(spots.run(number).machine != "");
    spots.runs(number);
    spots.lose(number);
  };
  lose_last(1);
  CHECK(spots.run(2).not_before_us == 0);  // it had saved something
  lose_last(2);
  std::int64_t second = 1'000'000;
  for (std::int64_t number = 3, wait = 1; number < 14;
       ++number, wait = std::min<std::int64_t>(2 * wait, 300)) {
    auto run = spots.run(number);
    auto made = run.created_us;
    CHECK(run.not_before_us == made + wait * second);
    CHECK(run.reason_code == "resume_delayed");
    CHECK(run.reason.find("before it had saved anything new") != std::string::npos);
    CHECK(run.outputs == "t1");
    if (number == 5) spots.open();  // durable
    spots.back(spots.a);
    spots.back(spots.b);
    CHECK(spots.state->next_start_us() == run.not_before_us);
    spots.now = run.not_before_us - 2000;
    REQUIRE(spots.change([] { return ok(); }));
    CHECK(spots.run(number).machine == "");
    spots.now = run.not_before_us;
    REQUIRE(spots.change([] { return ok(); }));
    CHECK(spots.run(number).machine != "");
    CHECK(spots.run(number).reason == "");
    CHECK(spots.state->next_start_us() == 0);
    lose_last(number);
  }
  // Whoever is stopped while he waits is not started.
  REQUIRE(spots.change([&] { return spots.state->end("ada", 1, "stop", spots.now); }));
  CHECK(spots.run(14).status == "killed");
  CHECK(spots.state->next_start_us() == 0);
}

TEST_CASE("with progress nobody waits, however often he is interrupted") {
  Spots spots;
  spots.begin();
  for (std::int64_t number = 1; number < 20; ++number) {
    spots.back(spots.a);
    spots.back(spots.b);
    REQUIRE(spots.run(number).machine != "");
    spots.runs(number);
    spots.backs_up(number, "t" + std::to_string(number));
    spots.lose(number);
    CHECK(spots.run(number + 1).not_before_us == 0);
  }
}

TEST_CASE("a clock that is set back keeps nobody waiting") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  spots.lose(1);
  spots.runs(2);
  spots.lose(2);
  REQUIRE(spots.run(3).not_before_us != 0);
  spots.back(spots.a);
  spots.now -= 3600'000'000;
  REQUIRE(spots.change([] { return ok(); }));
  CHECK(spots.run(3).machine != "");
}

TEST_CASE("an exclusive run that had counted as lost ends, though it goes on nowhere else") {
  Spots spots;
  auto asked = spots.asked(false);
  asked.request.exclusive = true;
  auto hello = hello_of(8);
  hello.capabilities["exclusive"] = "1";
  for (auto& machine : {spots.a, spots.b}) spots.greet(machine, hello);
  spots.begin(asked);
  auto first = spots.on(1);
  spots.lose(1);
  REQUIRE(spots.run(1).status == "interrupted");
  spots.greet(first, hello, {{spots.run(1).id, 1}});
  REQUIRE(spots.commands_of(first) == Words{"stop 1"});
  CHECK(spots.state->machine_by_id(first)->commands[0].reason_code == "lease_expired");
}

TEST_CASE("a machine that comes back late is told to end what goes on elsewhere") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  spots.backs_up(1, "t1");
  auto first = spots.on(1);
  spots.lose(1);
  spots.back(first, {{spots.run(1).id, 1}});
  CHECK(spots.commands_of(first) == Words{"stop 1"});
  spots.runs(2);

  SECTION("what it brings is the old run's, which stays interrupted") {
    auto end = spots.end_of(1, "stopped");
    end.result->outputs = "late";
    end.result->output_files = 4;
    REQUIRE(spots.say(first, end));
    CHECK(spots.run(1).status == "interrupted");
    CHECK(spots.run(1).reason_code == "late_result");
    CHECK(spots.run(1).outputs == "late");
    CHECK(spots.run(1).exit_code == std::nullopt);
    CHECK(spots.run(2).status == "running");
    CHECK(spots.run(2).outputs == "t1");
    CHECK(spots.commands_of(first) == Words{"forget 1"});
    spots.back(first, {{spots.run(1).id, 1}});  // it had not heard it
    CHECK(spots.commands_of(first) == Words{"forget 1"});
    CHECK(spots.count() == 2);
  }
  SECTION("nothing of it takes away what was safe") {
    REQUIRE(spots.say(first, spots.end_of(1, "killed")));
    CHECK(spots.run(1).outputs == "t1");
  }
  SECTION("its success ends the chain") {
    auto after = spots.asked();
    after.request.machine_type = "";
    after.request.after = {1};
    spots.begin(after);
    after.request.after = {2};
    spots.begin(after);
    REQUIRE(spots.say(first, spots.end_of(1)));
    CHECK(spots.run(1).status == "complete");
    CHECK(spots.run(1).reason_code == "late_result");
    CHECK(spots.run(2).wanted == "stop");
    CHECK(spots.run(3).machine == "");  // not while the other works
    auto end = spots.end_of(2, "stopped");
    end.result->reason_code = "chain_complete";
    REQUIRE(spots.say(spots.on(2), end));
    CHECK(spots.count() == 4);
    CHECK(spots.run(3).machine != "");
    CHECK(spots.run(4).machine != "");
  }
  SECTION("its success comes too late") {
    REQUIRE(spots.ends(2));
    REQUIRE(spots.say(first, spots.end_of(1)));
    CHECK(spots.run(1).status == "complete");
    CHECK(spots.run(2).status == "complete");
  }
}

TEST_CASE("a success that comes with the loss is what counts") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  auto first = spots.on(1);
  auto end = spots.end_of(1);
  REQUIRE(spots.change([&] {
    spots.state->lost(first, spots.now);
    return spots.state->report(first, end, spots.now);
  }));
  CHECK(spots.run(1).status == "complete");
  CHECK(spots.run(2).status == "killed");
  CHECK(spots.run(2).reason_code == "chain_complete");
}

TEST_CASE("a submission that is repeated finds the chain as it is now") {
  Spots spots;
  auto s = spots.asked({}, "key");
  spots.begin(s);
  spots.runs(1);
  spots.lose(1);
  auto again = spots.change([&] { return spots.state->submit(s, spots.now); });
  REQUIRE(again);
  CHECK(again->existed);
  CHECK(again->run.number == 2);
  // And so does one that is the same but for what an interruption is to mean.
  auto same = spots.asked(true);
  same.request.idempotent = true;
  auto found = spots.change([&] { return spots.state->submit(same, spots.now); });
  REQUIRE(found);
  CHECK(found->run.number == 2);
}

TEST_CASE("a run that leaves its chain leaves no gap") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  spots.lose(1);
  spots.runs(2);
  spots.backs_up(2, "t2");
  spots.lose(2);
  REQUIRE(spots.change([&] { return spots.state->remove("ada", 2); }));
  CHECK(spots.run(1).resumed_as == 3);
  CHECK(spots.run(3).resumed_from == 1);
  auto ended = spots.change([&] { return spots.state->end("ada", 1, "kill", spots.now); });
  REQUIRE(ended);
  CHECK(ended->number == 3);
}

TEST_CASE("where no machine could ever take it nothing goes on, and what waits for it fails") {
  Spots spots;
  auto s = spots.asked(true);
  s.request.machine_type = "a";
  spots.begin(s);
  spots.runs(1);
  auto after = spots.asked();
  after.request.after = {1};
  spots.begin(after);
  REQUIRE(spots.change([&] { return spots.state->remove_machine("ada", "a", true, spots.now); }));
  CHECK(spots.count() == 2);
  CHECK(spots.run(1).resumed_as == 0);
  CHECK(spots.says(1, "Auto-resume: it does not go on"));
  CHECK(spots.run(2).status == "failed");
}

TEST_CASE("a workflow goes on with the run that its managing run goes on as") {
  Spots spots;
  NewWorkflow asked;
  asked.owner = asked.creator = "ada";
  asked.run = spots.asked();
  auto made = spots.change([&] { return spots.state->create_workflow(asked, spots.now); });
  REQUIRE(made);
  auto token = [&](std::int64_t number) {
    return spots.start_of(number).secrets.at("SPELL_TOKEN");
  };
  auto child = spots.asked({}, "child");
  child.request.workflow = 1;
  spots.begin(child);
  spots.runs(1);
  auto old = token(1);
  REQUIRE(spots.state->tokens().size() > 0);
  auto workflow = [&] { return spots.writer->find_workflow("ada", 1).value().value(); };

  SECTION("with credentials of its own") {
    auto id = spots.run(1).id;
    spots.lose(1);
    CHECK(workflow().status == "running");
    REQUIRE(workflow().run != 1);
    auto next = workflow().run;
    CHECK(spots.run(next).resumed_from == 1);
    CHECK(spots.run(next).manages);
    CHECK(spots.run(next).machine != "");
    CHECK(token(next) != old);
    for (auto& [key, record] : spots.state->tokens()) CHECK(record.run != id);
    // The child that it has made is found by its name, whatever it goes on as.
    spots.runs(2);
    spots.back(spots.a);
    spots.back(spots.b);
    auto found = spots.change([&] { return spots.state->submit(child, spots.now); });
    REQUIRE(found);
    CHECK(found->existed);
    CHECK(found->run.name == "child");
    REQUIRE(spots.ends(next));
    CHECK(workflow().status == "complete");
  }
  SECTION("not when it is ended") {
    REQUIRE(spots.change([&] { return spots.state->end_workflow("ada", 1, "stop", spots.now); }));
    spots.lose(1);
    CHECK(workflow().status == "interrupted");
    CHECK(spots.run(1).resumed_as == 0);
  }
}

TEST_CASE("files that a run goes on with count once") {
  Spots spots;
  spots.begin();
  spots.runs(1);
  spots.backs_up(1, "t1", 5);
  spots.lose(1);
  CHECK(spots.writer->bytes_of("ada", "ada").value() == 50);
}
