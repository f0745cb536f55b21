// Workflows in the state: commands and reports in, statuses, commands and credentials out.
#include "base/hash.hpp"
#include "house.hpp"
#include "service/caller.hpp"
#include "service/machine_tokens.hpp"

using namespace spell;
using namespace spell::service;

namespace {

struct Flow : House {
  explicit Flow(int places = 1) : House(places) { connect(); }

  Result<MadeWorkflow> create(const std::string& command = "pipeline", const std::string& key = "",
                              std::int64_t within = 0) {
    NewWorkflow asked;
    asked.owner = asked.creator = "ada";
    asked.key = key;
    asked.body_hash = command;
    asked.within = within;
    asked.commits = commits;
    if (!command.empty()) {
      asked.run = Submission{"ada", "ada", key, command, {}, {}};
      asked.run->request.command = command;
      if (!label.empty()) asked.run->request.code = model::CodeRef{.label = label};
    }
    return change([&] { return state->create_workflow(asked, now); });
  }
  Result<Submitted> child(std::int64_t workflow, const std::string& key,
                          const std::string& command = "true") {
    Submission s{"ada", "ada", key, command, {}, {}};
    s.request.command = command;
    s.request.workflow = workflow;
    return change([&] { return state->submit(s, now); });
  }
  Result<store::WorkflowRecord> end(std::int64_t workflow, const std::string& how) {
    return change([&] { return state->end_workflow("ada", workflow, how, now); });
  }
  std::string status(std::int64_t workflow) {
    return writer->find_workflow("ada", workflow).value().value().status;
  }
  /// The credentials that the last start command of a run carries; "": none.
  std::string token(std::int64_t number) {
    std::string found;
    for (auto& command : state->machines().at("here").commands)
      if (command.type == "start" && run_number(command.run) == number)
        found = command.start->secrets.contains("SPELL_TOKEN")
                    ? command.start->secrets.at("SPELL_TOKEN")
                    : "";
    return found;
  }
  /// Whose workflow a token acts for; 0: nobody's.
  std::int64_t acts_for(const std::string& token) {
    MachineTokens tokens;
    tokens.refresh(*state);
    net::Request request;
    request.headers = {{"Authorization", "Bearer " + token}};
    auto caller = tokens.identify(request);
    return caller && *caller ? (*caller)->workflow : 0;
  }
  void runs_to_its_end(std::int64_t number, int code = 0) {
    REQUIRE(report(number, {"building", "running", "saving", "pushing"}, code));
  }

  std::map<std::string, model::CodeRef> commits;
  std::string label;
};

const std::string id_of_40(40, 'a');

}  // namespace

TEST_CASE("workflows of chained runs, one in another, end on a machine with one place") {
  Flow flow(1);
  constexpr int count = 8;
  // All managers begin: they take no place.
  for (int i = 1; i <= count; ++i) REQUIRE(flow.create()->workflow.number == i);
  std::size_t begun = 0;
  for (auto& command : flow.commands()) begun += command.starts_with("start ");
  CHECK(begun == count);
  for (int i = 1; i <= count; ++i) REQUIRE(flow.report(i, {"building", "running"}));
  auto nested = flow.create("inner", "inner", 1);
  REQUIRE(nested);
  CHECK(nested->workflow.number == 1);
  REQUIRE(nested->run);
  CHECK(nested->run->manages);
  CHECK(nested->run->workflow == 1);
  REQUIRE(flow.report(nested->run->number, {"building", "running"}));
  for (auto* key : {"fetch", "train", "sample"})
    for (int i = 1; i <= count; ++i) {
      auto run = flow.child(i, key);
      REQUIRE(run);
      CHECK(flow.run(run->run.number).machine == "here");
      flow.runs_to_its_end(run->run.number);
    }
  flow.runs_to_its_end(nested->run->number);
  CHECK(flow.status(1) == "running");
  for (int i = 1; i <= count; ++i) {
    flow.runs_to_its_end(i);
    CHECK(flow.status(i) == "complete");
  }
  CHECK(flow.writer->workflow_graph("ada", 1)->size() == 5);
}

TEST_CASE("what two workflows of one key differ in is named") {
  Flow flow;
  NewWorkflow first;
  first.owner = first.creator = "ada";
  first.key = "k";
  first.body_hash = "first";
  first.description = "letters";
  first.commits["code"] = {.workspace = id_of_40, .commit = id_of_40, .repository = "rnn"};
  first.run = Submission{"ada", "ada", "k", "first", {}, {}};
  first.run->request.command = "./pipeline";
  first.run->request.code = model::CodeRef{.label = "code"};
  first.run->request.mounts = {{"uploads/pipeline", ".spell-program/pipeline"}};
  first.run->mounts.emplace_back().at = ".spell-program/pipeline";
  auto& upload = first.uploads.emplace_back();
  upload.owner = "ada";
  upload.name = "pipeline";
  upload.type = "file";
  upload.node = id_of_40;
  auto create = [&](const NewWorkflow& asked) {
    return flow.change([&] { return flow.state->create_workflow(asked, flow.now); });
  };
  REQUIRE(create(first));
  auto conflict = [&](const std::function<void(NewWorkflow&)>& change) {
    auto other = first;
    other.body_hash = "other";
    change(other);
    auto refused = create(other);
    if (refused) return std::string(refused->existed ? "the same" : "another");
    CHECK(refused.error().code() == "key_conflict");
    std::string text = refused.error().message(), before = "workflow 1, which differs in '";
    CHECK(text.find(before) != std::string::npos);
    text = text.substr(text.find(before) + before.size());
    return text.substr(0, text.find('\''));
  };
  CHECK(conflict([](auto&) {}) == "the same");
  CHECK(conflict([](auto& w) { w.description = "words"; }) == "description");
  CHECK(conflict([](auto& w) { w.commits["code"].commit[0] = 'b'; }) == "commits");
  CHECK(conflict([](auto& w) { w.commits["more"] = w.commits["code"]; }) == "commits");
  CHECK(conflict([](auto& w) {
          w.run.reset();
          w.uploads.clear();
        }) == "run");
  CHECK(conflict([](auto& w) { w.uploads[0].node[0] = 'b'; }) == "program");
  CHECK(conflict([](auto& w) { w.uploads[0].name = "other"; }) == "program");
  CHECK(conflict([](auto& w) { w.run->request.command = "./pipeline 2"; }) == "run.command");
  CHECK(conflict([](auto& w) { w.run->request.env["A"] = "1"; }) == "run.env");
  CHECK(conflict([](auto& w) { w.run->request.labels = {"x"}; }) == "run.labels");
  CHECK(conflict([](auto& w) { w.run->request.code.reset(); }) == "run.code");
  CHECK(conflict([](auto& w) { w.run->request.mounts[0].at = "elsewhere"; }) == "run.mounts");
  CHECK(conflict([](auto& w) {
          w.run->request.build = "target";
          w.uploads[0].node[0] = 'b';
        }) == "build");
  CHECK(flow.state->find_workflow("ada", 2).error().code() == "workflow_not_found");
  // So it is when it has ended, and where no run manages it.
  flow.runs_to_its_end(1);
  CHECK(conflict([](auto& w) { w.run->request.timeout = 60; }) == "run.timeout");
  CHECK(conflict([](auto&) {}) == "the same");
  NewWorkflow elsewhere;
  elsewhere.owner = elsewhere.creator = "ada";
  elsewhere.key = "here";
  elsewhere.body_hash = "first";
  REQUIRE(create(elsewhere)->workflow.number == 2);
  elsewhere.description = "other";
  elsewhere.body_hash = "other";
  CHECK(create(elsewhere).error().message().find("workflow 2, which differs in 'description'") !=
        std::string::npos);
}

TEST_CASE("a machine carries so many managing runs and no more") {
  Flow flow;
  for (int i = 0; i < 52; ++i) REQUIRE(flow.create());
  std::size_t begun = 0;
  for (auto& command : flow.commands()) begun += command.starts_with("start ");
  CHECK(begun == 50);
  CHECK(flow.state->cluster().why_waiting(waiting_of(flow.run(51))) ==
        "waiting for a CPU machine: 1 managing run wanted, 0 free");
  flow.runs_to_its_end(1);
  CHECK(flow.run(51).machine == "here");
}

TEST_CASE("a run that manages a workflow within it never waits for the one that waits for it") {
  Flow flow;
  for (int i = 0; i < 50; ++i) REQUIRE(flow.create());
  for (int i = 0; i < 50; ++i) {
    auto nested = flow.create("inner", "inner " + std::to_string(i), 1);
    REQUIRE(nested);
    CHECK(flow.run(nested->run->number).machine == "here");
    CHECK(flow.run(nested->run->number).takes == Amounts{});
  }
  CHECK(flow.run(1).takes == Amounts{0, 0, 0, 1});
  auto more = flow.create("inner", "one more", 1);
  REQUIRE_FALSE(more);
  CHECK(more.error().code() == "quota_exceeded");
  CHECK(flow.create("inner", "inner 3", 1)->existed);
  CHECK(flow.create("inner", "inner 3", 2));
  flow.open(1);  // as the store has it
  CHECK(flow.run(51).takes == Amounts{});
  CHECK(flow.run(1).takes == Amounts{0, 0, 0, 1});
  flow.connect({{flow.run(51).id, flow.run(51).epoch}});
  flow.runs_to_its_end(51);
  CHECK(flow.create("inner", "one more", 1));
  auto child = flow.child(1, "fetch");
  CHECK(flow.run(child->run.number).machine == "here");  // its only place is still there
}

TEST_CASE("ten thousand runs of a workflow that is stopped") {
  Flow flow;
  REQUIRE(flow.create());
  REQUIRE(flow.report(1, {"building", "running"}));
  constexpr int count = 10'000;
  REQUIRE(flow.change([&] {
    for (int i = 0; i < count; ++i) {
      Submission s{"ada", "ada", "child " + std::to_string(i), "true", {}, {}};
      s.request.command = "true";
      s.request.workflow = 1;
      if (auto run = flow.state->submit(s, flow.now); !run) return Result<>(run.error());
    }
    return ok();
  }));
  REQUIRE(flow.end(1, "stop"));
  auto statuses = flow.writer->workflow_statuses("ada", 1).value();
  CHECK(statuses.at("killed") >= count - 3);  // but for those that a machine was given
  CHECK(flow.writer->workflow_graph("ada", 1)->size() == count + 1);
  CHECK(flow.child(1, "more").error().code() == "workflow_ended");
}

TEST_CASE("a user's quota does not keep his workflows from going on") {
  Flow flow(2);
  REQUIRE(flow.change([&] {
    REQUIRE(flow.writer->put_quota({"ada", "ada", "runs", 1}));
    return flow.state->load_quotas();
  }));
  REQUIRE(flow.create());
  auto run = flow.child(1, "fetch");
  CHECK(flow.run(1).machine == "here");
  CHECK(flow.run(run->run.number).machine == "here");
  auto second = flow.child(1, "train");
  CHECK(flow.run(second->run.number).machine.empty());
}

TEST_CASE("a run is found again by its key in its workflow") {
  Flow flow;
  REQUIRE(flow.create());
  REQUIRE(flow.create());
  auto first = flow.child(1, "fetch");
  CHECK(flow.child(1, "fetch")->run.number == first->run.number);
  CHECK(flow.child(1, "fetch")->existed);
  CHECK(flow.child(2, "fetch")->run.number != first->run.number);
  CHECK(flow.submit("true", "fetch")->run.number != first->run.number);
  auto conflict = flow.child(1, "fetch", "false");
  REQUIRE_FALSE(conflict);
  CHECK(conflict.error().code() == "key_conflict");
  CHECK(conflict.error().message().find("'command'") != std::string::npos);
  CHECK(flow.run(first->run.number).name == "fetch");

  SECTION("also when it has ended, and the workflow too") {
    flow.runs_to_its_end(first->run.number);
    flow.runs_to_its_end(1);
    CHECK(flow.child(1, "fetch")->run.number == first->run.number);
    CHECK(flow.child(1, "train").error().code() == "workflow_ended");
  }
}

TEST_CASE("a workflow is made once for a key") {
  Flow flow;
  auto first = flow.create("pipeline", "k");
  auto again = flow.create("pipeline", "k");
  CHECK(again->existed);
  CHECK(again->workflow.number == first->workflow.number);
  CHECK(again->run->number == first->run->number);
  CHECK(flow.create("other", "k").error().code() == "key_conflict");
}

TEST_CASE("a commit is named by its label") {
  Flow flow;
  flow.commits["char-rnn"] = {.workspace = id_of_40, .commit = id_of_40, .repository = "rnn"};
  flow.label = "char-rnn";
  auto made = flow.create();
  REQUIRE(made);
  CHECK(flow.run(1).request.code->commit == id_of_40);
  CHECK(flow.run(1).request.code->label.empty());
  flow.label = "nobody";
  auto unknown = flow.create();
  CHECK(unknown.error().code() == "unknown_commit_label");
  CHECK(unknown.error().message().find("it has: char-rnn") != std::string::npos);
  CHECK(flow.writer->workflows("ada", INT64_MAX, 10)->size() == 1);
}

TEST_CASE("credentials are the managing run's alone, and end with it") {
  Flow flow(2);
  REQUIRE(flow.create());
  auto token = flow.token(1);
  CHECK(token.size() == 4 + 64);
  CHECK(token.starts_with("spw_"));
  CHECK(flow.acts_for(token) == 1);
  auto& start = *flow.state->machines().at("here").commands.front().start;
  CHECK(start.manages);
  CHECK(start.places == 0);
  CHECK(start.env.at("SPELL_WORKFLOW_ID") == "1");
  CHECK(start.env.at("SPELL_OWNER") == "ada");
  auto child = flow.child(1, "fetch");
  CHECK(flow.token(child->run.number).empty());
  CHECK(flow.acts_for("spw_" + std::string(64, '0')) == 0);

  SECTION("the store has its hash and nothing else") {
    for (auto& record : flow.writer->tokens().value())
      if (record.kind == "workflow") {
        CHECK(record.hash == token_hash(token));
        CHECK(record.user == "ada");
        CHECK(record.run == flow.run(1).id);
      }
    for (auto& file : {"/spell.db", "/spell.db-wal"}) {
      auto bytes = base::read_file(flow.folder + file);
      REQUIRE(bytes);
      CHECK(bytes->find(token.substr(4)) == std::string::npos);
    }
  }
  SECTION("they outlive a restart of the service") {
    flow.open(2);
    CHECK(flow.acts_for(token) == 1);
  }
  SECTION("a worker that has lost them gets others, and what it may have started keeps its own") {
    flow.connect({{flow.run(1).id, flow.run(1).epoch}});
    auto second = flow.token(1);
    CHECK(second != token);
    CHECK(flow.acts_for(token) == 1);
    CHECK(flow.acts_for(second) == 1);
    REQUIRE(flow.report(1, {"building", "running"}));
    flow.connect({{flow.run(1).id, flow.run(1).epoch}});
    CHECK(flow.token(1).empty());
  }
  SECTION("the end of the managing run ends them") {
    flow.runs_to_its_end(1, 3);
    CHECK(flow.acts_for(token) == 0);
    auto workflow = flow.writer->find_workflow("ada", 1).value().value();
    CHECK(workflow.status == "complete");
    CHECK(workflow.exit_code == 3);
    CHECK(flow.writer->tokens()->empty());
  }
  SECTION("kill makes them void before anything has ended") {
    REQUIRE(flow.report(1, {"building", "running"}));
    REQUIRE(flow.end(1, "kill"));
    CHECK(flow.status(1) == "killing");
    CHECK(flow.acts_for(token) == 0);
    CHECK(flow.writer->tokens()->empty());
  }
  SECTION("stop lets them read on, but makes no more runs") {
    REQUIRE(flow.report(1, {"building", "running"}));
    REQUIRE(flow.end(1, "stop"));
    CHECK(flow.acts_for(token) == 1);
    CHECK(flow.child(1, "train").error().code() == "workflow_ended");
  }
  SECTION("a lost machine's managing run can do nothing any more") {
    REQUIRE(flow.report(1, {"building", "running"}));
    REQUIRE(flow.change([&] {
      flow.state->lost("here", flow.now);
      return ok();
    }));
    CHECK(flow.status(1) == "interrupted");
    CHECK(flow.acts_for(token) == 0);
  }
  SECTION("a transaction that is lost gives none") {
    flow.lost_change([&] { return flow.state->end_workflow("ada", 1, "kill", flow.now); });
    CHECK(flow.acts_for(token) == 1);
  }
}

TEST_CASE("what acted for a managing run before is void when it starts") {
  Flow flow;
  auto drained = [&](bool value) {
    MachineChange change;
    change.drained = value;
    REQUIRE(flow.change([&] { return flow.state->change_machine("ada", "here", change); }));
  };
  drained(true);
  REQUIRE(flow.create());
  REQUIRE(flow.create());
  CHECK(flow.token(1).empty());
  // As if they had been given to a machine before.
  std::string before[2];
  for (int i = 0; i < 2; ++i) {
    auto made = make_token("spw_", flow.now);
    made.record.kind = "workflow";
    made.record.user = "ada";
    made.record.run = flow.run(i + 1).id;
    REQUIRE(flow.change([&] { return flow.writer->put_token(made.record); }));
    before[i] = made.text;
  }
  flow.open(1);
  flow.connect();
  CHECK(flow.acts_for(before[0]) == 1);
  CHECK(flow.acts_for(before[1]) == 2);
  drained(false);
  for (int i = 0; i < 2; ++i) {
    CHECK(flow.acts_for(before[i]) == 0);
    CHECK(flow.acts_for(flow.token(i + 1)) == i + 1);
  }
  CHECK(flow.writer->tokens()->size() == 2);
}

TEST_CASE("the end of a workflow ends its runs, those that wait too") {
  Flow flow(1);
  REQUIRE(flow.create());
  REQUIRE(flow.report(1, {"building", "running"}));
  auto runs = flow.child(1, "fetch"), waits = flow.child(1, "train");
  auto other = flow.submit("true");
  REQUIRE(flow.report(runs->run.number, {"building", "running"}));
  std::string how = GENERATE(as<std::string>{}, "stop", "kill");
  REQUIRE(flow.end(1, how));
  CHECK(flow.run(waits->run.number).status == "killed");
  CHECK(flow.run(runs->run.number).wanted == how);
  CHECK(flow.run(1).wanted == how);
  CHECK(flow.run(other->run.number).status == "machine_requested");
  REQUIRE(flow.end(1, how));  // again: the same
  std::string final = how == "stop" ? "stopped" : "killed";
  REQUIRE(flow.report(runs->run.number, {}, 143, final));
  REQUIRE(flow.report(1, {}, 143, final));
  CHECK(flow.status(1) == final);
  CHECK(flow.child(1, "sample").error().code() == "workflow_ended");
}

TEST_CASE("a managing run that dies at once ends its workflow with that status") {
  Flow flow;
  REQUIRE(flow.create());
  REQUIRE(flow.report(1, {"building"}, {}, ""));
  REQUIRE(flow.report(1, {}, 127, "failed"));
  CHECK(flow.status(1) == "failed");
  CHECK(flow.writer->find_workflow("ada", 1).value()->ended_us > 0);
}

TEST_CASE("a workflow whose program runs elsewhere ends as that says") {
  Flow flow;
  auto made = flow.create("");
  REQUIRE(made);
  CHECK_FALSE(made->run);
  auto run = flow.child(1, "fetch");
  CHECK(flow.token(run->run.number).empty());
  CHECK(flow.change([&] { return flow.state->remove_workflow("ada", 1); }).error().code() ==
        "workflow_not_final");
  REQUIRE(flow.change([&] { return flow.state->finish_workflow("ada", 1, 4, flow.now); }));
  auto workflow = flow.writer->find_workflow("ada", 1).value().value();
  CHECK(workflow.status == "complete");
  CHECK(workflow.exit_code == 4);
  CHECK(flow.change([&] { return flow.state->remove_workflow("ada", 1); }).error().code() ==
        "workflow_not_final");  // its run goes on
  flow.runs_to_its_end(run->run.number);
  REQUIRE(flow.change([&] { return flow.state->remove_workflow("ada", 1); }));
  CHECK_FALSE(flow.writer->find_workflow("ada", 1).value());
  CHECK(flow.run(run->run.number).workflow == 0);
  CHECK(flow.create("")->workflow.number == 2);  // no number is used twice
}
