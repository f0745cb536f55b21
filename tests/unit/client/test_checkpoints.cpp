// What is safe of a chain of runs, as a stream.
#include <map>

#include "catch.hpp"
#include "fake.hpp"
#include "spell/checkpoint.hpp"
#include "spell/json.hpp"

using namespace spell;
using test::Answer;
using test::World;

namespace {

struct Saved {
  std::string path, node;
  std::int64_t time = 0;  ///< seconds
  EntryType type = EntryType::file;
};

/// Run 7 was interrupted and goes on as run 9.
struct Chain {
  World world;
  std::map<std::int64_t, RunInfo> runs;
  std::map<std::string, std::vector<Saved>> folders;
  int looks_until_end = 0;

  Chain() {
    runs[7].status = "interrupted";
    runs[7].resumed_as_run = 9;
    runs[9].status = "complete";
    runs[9].resumed_from_run = 7;
    for (auto& [id, run] : runs) run.id = id, run.outputs = "t";
    folders["runs/7/checkpoints"] = {
        {"step-10.pt", "a", 100}, {"step-9.pt", "b", 200}, {".step-11.pt.part", "c", 300}};
    folders["runs/9/checkpoints"] = {
        {"step-10.pt", "a", 100}, {"step-20.pt", "d", 400}, {"final", "e", 500, EntryType::folder}};
    world.transport->serve = [this](const net::ClientRequest& request) { return answer(request); };
  }

  Answer answer(const net::ClientRequest& request) {
    auto target = test::target_of(request);
    auto& parts = target.segments;
    if (parts[3] == "runs") {
      auto run = runs.at(std::stoll(parts[4]));
      if (run.status.is_final() && looks_until_end > 0) {
        --looks_until_end;
        run.status = "running";
        run.outputs.clear();
      }
      return {200, detail::json{{"run", run}}.dump()};
    }
    std::string path = parts[4];
    for (std::size_t i = 5; i < parts.size(); ++i) path += "/" + parts[i];
    auto found = folders.find(path);
    if (found == folders.end())
      return {404, R"({"error":{"code":"resource_not_found","message":"none"}})"};
    detail::json entries = detail::json::array();
    for (auto& saved : found->second) {
      ResourceInfo info;
      info.path = saved.path;
      info.node = saved.node;
      info.type = saved.type;
      (saved.type == EntryType::folder ? info.bytes : info.size) = 5;
      info.modified_at = Time(std::chrono::seconds(saved.time));
      entries.push_back(info);
    }
    ResourceInfo folder;
    folder.path = path;
    folder.type = EntryType::folder;
    return {200, detail::json{{"resource", folder}, {"entries", entries}}.dump()};
  }

  Run run(std::int64_t id) { return Run(world.connection, id); }
};

std::vector<std::string> paths(Stream<Checkpoint> stream) {
  std::vector<std::string> out;
  for (auto& checkpoint : stream)
    out.push_back(checkpoint ? checkpoint->path : checkpoint.error().code());
  return out;
}

const std::vector<std::string> all = {"runs/7/checkpoints/step-9.pt",
                                      "runs/7/checkpoints/step-10.pt",
                                      "runs/9/checkpoints/step-20.pt", "runs/9/checkpoints/final"};

}  // namespace

TEST_CASE("checkpoints of a chain come in order, each once, unfinished ones not at all") {
  Chain chain;
  CHECK(paths(chain.run(7).checkpoints()) == all);
  CHECK(paths(chain.run(9).checkpoints()) == all);  // any of its runs names the chain
  auto first = chain.run(9).wait_checkpoint().value();
  CHECK(first.step == 9);
  CHECK(first.run == 7);
  CHECK(first.size == 5);
  CHECK(first.time == Time(std::chrono::seconds(200)));
  auto last = chain.run(7).checkpoints().all().value().back();
  CHECK(!last.step);
  CHECK(last.type == EntryType::folder);
  CHECK(last.size == 5);
}

TEST_CASE("who follows waits for the end of each run of the chain") {
  Chain chain;
  chain.looks_until_end = 3;
  CHECK(paths(chain.run(7).checkpoints(true)) == all);
  chain.looks_until_end = 100;  // who does not, does not
  CHECK(paths(chain.run(7).checkpoints()).empty());
}

TEST_CASE("who follows sees what is safe while the run goes on") {
  Chain chain;
  chain.runs[9].status = "running";
  std::vector<std::string> found;
  for (auto& checkpoint : chain.run(7).checkpoints(true)) {
    found.push_back(checkpoint.value().path);
    if (found.size() == all.size()) {
      // Something of it is another now, and the run goes on still.
      chain.runs[9].outputs = "t2";
      chain.folders["runs/9/checkpoints"].push_back({"step-30.pt", "f", 600});
    }
    if (found.size() > all.size()) chain.runs[9].status = "complete";
  }
  auto expected = all;
  expected.push_back("runs/9/checkpoints/step-30.pt");
  CHECK(found == expected);
}

TEST_CASE("the checkpoints of a run that started in a folder may be there") {
  Chain chain;
  chain.runs[7].folder = "sub";
  chain.folders["runs/7/sub/checkpoints"] = {{"step-15", "x", 150}};
  auto found = paths(chain.run(7).checkpoints());
  CHECK(found.at(2) == "runs/7/sub/checkpoints/step-15");
}

TEST_CASE("waiting for a later checkpoint fails when none can come") {
  Chain chain;
  auto run = chain.run(7);
  auto first = run.wait_checkpoint().value();
  auto second = run.wait_checkpoint(first).value();
  CHECK(second.step == 10);
  auto third = run.wait_checkpoint(second).value();
  CHECK(third.step == 20);
  auto fourth = run.wait_checkpoint(third).value();  // by its time
  CHECK(fourth.path == all.back());
  auto none = run.wait_checkpoint(fourth);
  CHECK(none.error().code() == "wait_failed");
  chain.folders.clear();
  CHECK(run.wait_checkpoint().error().code() == "wait_failed");
  chain.runs[7].outputs.clear();  // nothing was saved: nothing is asked for
  CHECK(run.wait_checkpoint().error().code() == "wait_failed");
}

TEST_CASE("checkpoints are found over an outage at any step") {
  int steps = 0;
  for (int broken = 1; broken == 1 || broken <= steps; ++broken) {
    Chain chain;
    chain.runs[7].folder = "sub";
    chain.world.transport->fault = [&](int step) {
      steps = std::max(steps, step);
      return step == broken ? test::Fault::lost_after : test::Fault::none;
    };
    CHECK(paths(chain.run(7).checkpoints(true)) == all);
  }
  CHECK(steps > 5);
}

TEST_CASE("an error ends the stream") {
  Chain chain;
  chain.world.transport->serve = [](const net::ClientRequest&) -> Answer {
    return {403, R"({"error":{"code":"not_permitted","message":"no"}})"};
  };
  CHECK(paths(chain.run(7).checkpoints()) == std::vector<std::string>{"not_permitted"});
}
