// Lists of runs page by page, and waiting for a status.
#include "catch.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

using namespace spell;
using test::Answer;
using test::World;

namespace {

/// Runs 1 to `count`, a page as long as is asked for.
struct Pages {
  World world;
  int count;
  std::vector<std::int64_t> sizes;
  explicit Pages(int runs) : count(runs) {
    world.transport->serve = [this](const net::ClientRequest& request) -> Answer {
      auto query = test::target_of(request).query;
      std::int64_t size = std::stoll(query.at("limit"));
      std::int64_t below = query.contains("cursor") ? std::stoll(query.at("cursor")) : count + 1;
      sizes.push_back(size);
      detail::json runs = detail::json::array();
      std::int64_t id = below;
      while (--id > 0 && size-- > 0) {
        RunInfo info;
        info.id = id;
        runs.push_back(info);
      }
      detail::json answer = {{"runs", runs}};
      answer["next"] = id > 0 ? detail::json(std::to_string(id + 1)) : detail::json(nullptr);
      return {200, answer.dump()};
    };
  }
  Runs runs() { return Runs(world.connection); }
};

Answer run_of(const std::string& status) {
  RunInfo info;
  info.id = 7;
  info.status = RunStatus(status);
  return {200, detail::json{{"run", info}}.dump()};
}

}  // namespace

TEST_CASE("a list is read page by page, and no further than it is used") {
  Pages pages(5000);
  RunFilter all;
  all.limit = 0;
  std::int64_t expected = 5000;
  for (auto& run : pages.runs().list(all)) CHECK(run.value().id == expected--);
  CHECK(expected == 0);
  CHECK(pages.sizes.size() == 6);  // 100, then 1000 each

  pages.sizes.clear();
  for (auto& run : pages.runs().list(all))
    if (run.value().id == 4990) break;
  CHECK(pages.sizes == std::vector<std::int64_t>{100});
}

TEST_CASE("a list ends at its limit") {
  Pages pages(5000);
  RunFilter some;
  some.limit = 1500;
  auto runs = pages.runs().list(some).all().value();
  CHECK(runs.size() == 1500);
  CHECK(runs.back().id == 3501);
  CHECK(pages.sizes == std::vector<std::int64_t>{1000, 500});
  Pages none(0);
  CHECK(none.runs().list().all().value().empty());
}

TEST_CASE("a list goes on over a lost connection, and ends with an error") {
  Pages pages(300);
  pages.world.transport->fault = [](int step) {
    return step == 2 ? test::Fault::lost_after : test::Fault::none;
  };
  RunFilter all;
  all.limit = 0;
  CHECK(pages.runs().list(all).all().value().size() == 300);
  pages.world.transport->serve = [](const net::ClientRequest&) -> Answer {
    return {403, R"({"error":{"code":"not_permitted","message":"no"}})"};
  };
  auto list = pages.runs().list(all);
  CHECK(list.next()->error().code() == "not_permitted");
  CHECK(!list.next());
}

TEST_CASE("waiting for a status ends when it has come, or can come no more") {
  struct Row {
    std::vector<std::string> comes;
    std::vector<RunStatus> wanted;
    std::string outcome;  ///< the status, or the error
  };
  const std::vector<Row> rows = {
      {{"machine_requested", "running"}, {"running"}, "running"},
      {{"machine_requested", "complete"}, {"running"}, "wait_failed"},
      {{"machine_requested", "saving"}, {"running", "building"}, "wait_failed"},
      {{"running", "saving", "complete"}, {"complete", "failed"}, "complete"},
      {{"running", "saving", "killed"}, {"complete"}, "wait_failed"},
      {{"running", "stopping", "saving"}, {"saving"}, "saving"},
      {{"running", "killing"}, {"saving", "pushing"}, "wait_failed"},
      {{"running"}, {}, "wait_failed"},
      {{"running", "a new one", "complete"}, {"complete"}, "complete"},
  };
  for (auto& row : rows) {
    World world;
    std::size_t at = 0;
    world.transport->serve = [&](const net::ClientRequest&) {
      return run_of(row.comes[std::min(at++, row.comes.size() - 1)]);
    };
    auto info = Run(world.connection, 7).wait_status(row.wanted);
    CHECK((info ? info->status.name() : info.error().code()) == row.outcome);
  }
}
