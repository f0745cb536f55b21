// Whose turn it is, as the state sees to it: priorities, quotas, runs that others wait for, and
// runs of which memory holds their turn alone.
#include <algorithm>

#include "team_house.hpp"

using namespace spell;
using namespace spell::service;

namespace {

struct Ask {
  std::string creator = "ada", type = "v100", priority{};
  std::vector<std::int64_t> after{};
  std::int64_t workflow = 0;
  std::string project{};
};

/// Of a worker that knows of no allowances.
model::WorkerHello hello() {
  auto out = hello_of(2);
  out.capabilities = {{"exclusive", "1"}, {"restore", "1"}};
  return out;
}

/// A machine with room for one run of type V100, which run 1 takes.
struct Line : Team {
  std::string box = machine("box", {"v100", "k80"}, hello());

  Line() { REQUIRE(put({}) == 1); }

  std::int64_t put(const Ask& ask) {
    Submission s{"ada", ask.creator, "", "", {}};
    s.request.command = "train";
    s.request.machine_type = ask.type;
    s.request.priority = ask.priority;
    s.request.after = ask.after;
    s.request.workflow = ask.workflow;
    s.request.project = ask.project;
    if (ask.workflow != 0) s.key = "k" + std::to_string(++keys);
    auto made = change([&] { return state->submit(s, now); });
    REQUIRE(made);
    return made->run.number;
  }
  /// Ends the run that is on the machine, and says which one comes then; 0: none.
  std::int64_t next() {
    REQUIRE(say(box, end_of(there())));
    return there();
  }
  std::int64_t there() {
    for (auto& [id, takes] : state->machine_by_id(box)->assigned) return run_number(id);
    return 0;
  }
  void quota(const std::string& name, std::int64_t amount, const std::string& user = "ada") {
    REQUIRE(change([&] {
      REQUIRE(writer->put_quota({"ada", user, name, amount}));
      return state->load_quotas();
    }));
  }
  /// As after a start, with so many runs in memory.
  void reopen(std::size_t awake) {
    House::open(2, 0, "here", awake);
    auto known = there();
    std::map<std::string, std::int64_t> holds;
    if (known != 0) holds[run(known).id] = run(known).epoch;
    greet(box, hello(), holds);
  }
  int keys = 0;
};

}  // namespace

TEST_CASE("the higher priority has its turn first, then the user who has less") {
  Line line;
  auto low = line.put({.priority = "low"}), usual = line.put({}),
       high = line.put({.priority = "high"});
  auto other = line.put({.creator = "bob"});
  CHECK(line.next() == high);
  CHECK(line.next() == usual);  // nobody has anything: the older
  CHECK(line.next() == other);
  CHECK(line.next() == low);
}

TEST_CASE("a user's turn comes between the many of another") {
  Line line;
  auto second = line.machine("second", {"v100"}, hello_of(2));
  std::vector<std::int64_t> many;
  for (int i = 0; i < 5; ++i) many.push_back(line.put({}));
  auto one = line.put({.creator = "bob"});
  REQUIRE(line.run(many[0]).machine == "second");
  CHECK(line.next() == one);  // ada has the other machine
}

TEST_CASE("a run that others wait for is never behind those that wait for it") {
  Line line;
  auto before = line.put({}), first = line.put({.priority = "low"});
  // What waits for what waits for it counts, too; and who waits takes nobody's turn.
  auto second = line.put({.priority = "low", .after = {first}});
  auto third = line.put({.priority = "high", .after = {second}});
  CHECK(line.next() == first);
  CHECK(line.next() == second);
  CHECK(line.next() == third);
  CHECK(line.next() == before);
}

TEST_CASE("a run that goes on as another is still not behind those that wait for it") {
  Line line;
  Submission s{"ada", "ada", "", "", {}};
  s.request.command = "train";
  s.request.machine_type = "v100";
  s.request.priority = "low";
  s.request.auto_resume = true;
  auto resumes = line.change([&] { return line.state->submit(s, line.now); })->run.number;
  auto high = line.put({.priority = "high", .after = {resumes}});
  auto usual = line.put({});
  CHECK(line.next() == resumes);
  auto again = line.put({.priority = "high"});
  REQUIRE(line.say(line.box, line.end_of(resumes, "interrupted")));
  auto next = line.run(resumes).resumed_as;
  REQUIRE(next != 0);
  CHECK(line.there() == next);  // as high as what waits for it, and it goes on
  CHECK(line.next() == high);
  CHECK(line.next() == again);
  CHECK(line.next() == usual);
}

TEST_CASE("the priority of those that wait is known after a start") {
  Line line;
  auto before = line.put({}), first = line.put({.priority = "low"});
  line.put({.priority = "high", .after = {first}});
  line.reopen(GENERATE(0, 1000));
  CHECK(line.next() == first);
  CHECK(line.next() == first + 1);
  CHECK(line.next() == before);
}

TEST_CASE("the runs of a workflow have the priority of the one that manages it") {
  Line line;
  NewWorkflow asked;
  asked.owner = asked.creator = "ada";
  asked.run = Submission{"ada", "ada", "", "", {}, {}};
  asked.run->request.command = "pipeline";
  asked.run->request.priority = "high";
  auto made = line.change([&] { return line.state->create_workflow(asked, line.now); });
  REQUIRE(made);
  auto usual = line.put({});
  auto child = line.put({.workflow = made->workflow.number});
  auto modest = line.put({.priority = "low", .workflow = made->workflow.number});
  CHECK(line.run(child).request.priority == "high");
  CHECK(line.run(modest).request.priority == "low");
  CHECK(line.next() == child);
  CHECK(line.next() == usual);
  // The program asks again with another body, and says nothing of it.
  Submission s{"ada", "ada", "k1", "another", {}};
  s.request.command = "train";
  s.request.machine_type = "v100";
  s.request.workflow = made->workflow.number;
  auto again = line.change([&] { return line.state->submit(s, line.now); });
  REQUIRE(again);
  CHECK(again->run.number == child);
  CHECK(again->existed);
}

TEST_CASE("a quota for a machine type holds back what asks for it, and nothing else") {
  Line line;
  auto room = line.machine("room", {"v100", "k80"}, hello_of(8));
  line.quota("runs_of:v100", 1);
  auto held = line.put({}), other = line.put({.type = "k80"}), bobs = line.put({.creator = "bob"});
  CHECK(line.run(held).machine.empty());
  CHECK(line.run(other).machine == "room");
  CHECK(line.run(bobs).machine == "room");
  // Of everybody it counts each one's own.
  line.quota("runs_of:k80", 1, "");
  auto second = line.put({.type = "k80"}), of_bob = line.put({.creator = "bob", .type = "k80"});
  CHECK(line.run(second).machine.empty());
  CHECK(line.run(of_bob).machine == "room");
  SECTION("until one ends") {
    REQUIRE(line.say(line.box, line.end_of(1)));
    CHECK(!line.run(held).machine.empty());
    CHECK(line.run(second).machine.empty());
    // What is counted is what is there, also after a start.
    line.reopen(1000);
    auto more = line.put({});
    CHECK(line.run(more).machine.empty());
  }
  SECTION("until it is taken away") {
    REQUIRE(line.change([&] {
      REQUIRE(line.writer->delete_quota({"ada", "ada", "runs_of:v100", 0}));
      return line.state->load_quotas();
    }));
    CHECK(!line.run(held).machine.empty());
  }
}

TEST_CASE("of runs that wait for a machine alone memory holds their turn") {
  Line line;
  line.reopen(2);
  for (auto* name : {"p", "q"}) {
    store::ProjectRecord project;
    project.name = name;
    REQUIRE(line.change([&] { return line.writer->put_project("ada", name, project); }));
  }
  std::vector<std::int64_t> runs;
  for (int i = 0; i < 8; ++i) runs.push_back(line.put({.project = i % 2 ? "p" : ""}));
  CHECK(line.state->active() == 9);
  CHECK(line.state->asleep() >= 6);
  SECTION("they come in their order, also after a start") {
    for (int i = 0; i < 8; ++i) {
      if (i == 4) {
        line.reopen(2);
        CHECK(line.state->active() == 5);
      }
      CHECK(line.next() == runs[static_cast<std::size_t>(i)]);
    }
    CHECK(line.next() == 0);
    CHECK(line.state->asleep() == 0);
    CHECK(line.state->active() == 0);
  }
  SECTION("they can be ended") {
    REQUIRE(line.change([&] { return line.state->end("ada", runs[0], "kill", line.now); }));
    REQUIRE(line.change([&] { return line.state->end("ada", runs[7], "stop", line.now); }));
    CHECK(line.run(runs[7]).status == "killed");
    CHECK(line.state->active() == 7);
    for (int i = 1; i < 7; ++i) CHECK(line.next() == runs[static_cast<std::size_t>(i)]);
    CHECK(line.next() == 0);
  }
  SECTION("others can come after them") {
    auto after = line.put({.priority = "high", .after = {runs[6]}});
    CHECK(line.next() == runs[6]);
    CHECK(line.next() == after);
    CHECK(line.next() == runs[0]);
  }
  SECTION("they change project, as one and with all of it") {
    REQUIRE(line.change([&] { return line.state->set_project("ada", runs[6], "q", line.now); }));
    REQUIRE(line.change([&] { return line.state->rename_project("ada", "p", "r"); }));
    CHECK(line.run(runs[6]).project == "q");
    CHECK(line.run(runs[7]).project == "r");
    auto only = line.record("only", {"v100"});
    only.allow = {"r"};
    REQUIRE(line.change([&] { return line.state->create_machine(only); }));
    REQUIRE(line.join(line.token(only.id), hello_of(2)));
    line.greet(only.id, hello_of(2));
    CHECK(line.run(runs[1]).machine == "only");
  }
  SECTION("a budget that comes counts for them") {
    store::MachineTypeRecord type;
    type.owner = "ada";
    type.name = "v100";
    type.price = 1'000'000'000;
    REQUIRE(line.change([&] { return line.state->put_machine_type(type, true); }));
    store::BudgetRecord budget;
    budget.owner = "ada";
    budget.kind = "project";
    budget.name = "p";
    budget.amount = 1'000'000'000;
    REQUIRE(line.change([&] { return line.state->put_budget(budget, line.now); }));
    CHECK(line.next() == runs[0]);
    CHECK(line.next() == runs[2]);  // the box is too old for those of the project
    REQUIRE(line.change([&] { return line.state->remove_budget("ada", "project", "p"); }));
    CHECK(line.next() == runs[1]);
  }
  SECTION("what could not be stored is not done") {
    Submission s{"ada", "ada", "", "", {}};
    s.request.command = "train";
    s.request.machine_type = "v100";
    line.lost_change([&] { return line.state->submit(s, line.now); });
    line.lost_change([&] { return line.state->end("ada", runs[7], "kill", line.now); });
    CHECK(line.state->active() == 9);
    line.greet(line.box, hello(), {{line.run(1).id, line.run(1).epoch}});
    for (auto number : runs) CHECK(line.next() == number);
  }
  SECTION("they end with the machine that alone could take them") {
    REQUIRE_FALSE(
        line.change([&] { return line.state->remove_machine("ada", "box", false, line.now); }));
    REQUIRE(line.change([&] { return line.state->remove_machine("ada", "box", true, line.now); }));
    for (auto number : runs) CHECK(line.run(number).status == "failed");
    CHECK(line.state->active() == 0);
  }
  SECTION("the same key finds them, the same request does with --idempotent") {
    Submission s{"ada", "ada", "", "", {}};
    s.request.command = "train";
    s.request.machine_type = "v100";
    s.request.idempotent = true;
    auto same = line.change([&] { return line.state->submit(s, line.now); });
    REQUIRE(same);
    CHECK(same->existed);
  }
}

TEST_CASE("a workflow that is ended ends the runs of which memory holds their turn alone") {
  Line line;
  line.reopen(1);
  NewWorkflow asked;
  asked.owner = asked.creator = "ada";
  auto made = line.change([&] { return line.state->create_workflow(asked, line.now); });
  REQUIRE(made);
  std::vector<std::int64_t> runs;
  for (int i = 0; i < 5; ++i) runs.push_back(line.put({.workflow = made->workflow.number}));
  CHECK(line.state->asleep() >= 4);
  REQUIRE(line.change(
      [&] { return line.state->end_workflow("ada", made->workflow.number, "kill", line.now); }));
  for (auto number : runs) CHECK(line.run(number).status == "killed");
  CHECK(line.state->asleep() == 0);
}
