// A run's metrics as a stream, and waiting for a point.
#include <cmath>
#include <map>

#include "catch.hpp"
#include "fake.hpp"
#include "spell/json.hpp"
#include "spell/run.hpp"

using namespace spell;
using test::Answer;
using test::Fault;
using test::World;

namespace {

/// Has some of its points from the beginning, the others as they are waited for; then it ends.
struct Points {
  std::vector<Metric> all;
  std::size_t there = 0;  ///< so many of them
  std::size_t page = 2;
  std::vector<std::map<std::string, std::string>> asked;

  explicit Points(std::vector<std::variant<double, std::string>> values, std::size_t from = 0)
      : there(from) {
    for (auto& value : values)
      all.push_back({.name = "loss", .index = std::ssize(all), .value = value});
  }
  Answer operator()(const net::ClientRequest& request) {
    auto target = test::target_of(request);
    if (target.segments.back() != "points") {
      RunInfo info;
      info.id = 7;
      info.status = there == all.size() ? RunStatus::complete : RunStatus::running;
      return {200, detail::json{{"run", info}}.dump()};
    }
    asked.push_back(target.query);
    auto from = static_cast<std::size_t>(std::stoll(target.query["from"]));
    if (target.query.contains("wait_ms") && from == there && there < all.size()) ++there;
    auto to = std::min(from + page, there);
    std::vector<Metric> rest(all.begin() + static_cast<std::ptrdiff_t>(from),
                             all.begin() + static_cast<std::ptrdiff_t>(to));
    return {
        200,
        detail::json{{"metrics", rest}, {"next", std::to_string(to)}, {"final", to == all.size()}}
            .dump()};
  }
};

struct MetricService {
  World world;
  std::shared_ptr<Points> points;
  explicit MetricService(Points what) : points(std::make_shared<Points>(std::move(what))) {
    world.transport->serve = [to = points](const net::ClientRequest& request) {
      return (*to)(request);
    };
  }
  Run run() { return Run(world.connection, 7); }
};

std::vector<std::int64_t> indices(Stream<Metric> metrics) {
  std::vector<std::int64_t> out;
  for (auto& point : metrics) {
    REQUIRE(point.ok());
    out.push_back(point->index);
  }
  return out;
}

}  // namespace

TEST_CASE("points come whole, without a double, whichever step fails in whatever way") {
  auto kind =
      GENERATE(Fault::unreachable, Fault::lost_before, Fault::lost_after, Fault::shutting_down);
  for (int failing = 1;; ++failing) {
    MetricService service(Points({4.0, 3.0, "half", 2.0, 1.0}, 2));
    bool failed = false;
    service.world.transport->fault = [&](int step) {
      return step == failing ? (failed = true, kind) : Fault::none;
    };
    INFO("step " << failing);
    CHECK(indices(service.run().metrics({.follow = true})) ==
          std::vector<std::int64_t>{0, 1, 2, 3, 4});
    if (!failed) break;
  }
}

TEST_CASE("points come page by page, as far as there are any") {
  MetricService service(Points({5.0, 4.0, 3.0, 2.0, 1.0}, 3));
  CHECK(indices(service.run().metrics()) == std::vector<std::int64_t>{0, 1, 2});
  for (auto& query : service.points->asked) CHECK(!query.contains("wait_ms"));
}

TEST_CASE("the options of metrics are the service's") {
  MetricService service(Points({1.0, 2.0, 3.0}, 3));
  (void)service.run().metrics({.name = "a loss", .first = 2, .last = 10}).all();
  REQUIRE(!service.points->asked.empty());
  for (auto& query : service.points->asked) {
    CHECK(query.at("name") == "a loss");
    CHECK(query.at("first") == "2");
    CHECK(query.at("last") == "10");
  }
  service.points->asked.clear();
  (void)service.run().metrics().all();
  for (auto& query : service.points->asked) {
    CHECK(!query.contains("name"));
    CHECK(!query.contains("first"));
    CHECK(!query.contains("last"));
  }
}

TEST_CASE("a followed stream ends at its limit as a whole") {
  MetricService service(Points({4.0, 3.0}, 1));
  service.world.transport->fault = [](int step) {
    return step == 1 ? Fault::none : Fault::lost_before;
  };
  MetricOptions options;
  options.follow = true;
  options.timeout = std::chrono::seconds(5);
  auto points = service.run().metrics(options);
  CHECK(points.next()->ok());
  CHECK(points.next()->error().code() == "timeout");
  CHECK(service.world.waiter->time.time_since_epoch() == std::chrono::seconds(5));
  CHECK_FALSE(points.next());
}

TEST_CASE("waiting for a point ends with the first that holds, or with the run") {
  struct Row {
    std::string op;
    double value;
    std::optional<std::int64_t> index;
  };
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::vector<Row> rows = {
      {"<", 3, 4},    {"<=", 3, 3},    {">", 3, 0},        {">=", 4, 0},         {"==", 3, 3},
      {"<", 1, {}},   {"<=", 0, {}},   {">", 4, {}},       {">=", 5, {}},        {"==", 7, {}},
      {"<", nan, {}}, {"==", nan, {}}, {"<", infinity, 0}, {"<", -infinity, {}},
  };
  for (auto& row : rows) {
    MetricService service(Points({4.0, nan, "2", 3.0, 1.0}));
    auto point = service.run().wait_metric("loss", row.op, row.value);
    INFO(row.op << " " << row.value);
    if (row.index) {
      CHECK(point.value().index == *row.index);
      // It has not been waited for longer than that.
      CHECK(service.points->there <= static_cast<std::size_t>(*row.index) + 1);
    } else {
      CHECK(point.error().code() == "wait_failed");
      CHECK_THAT(point.error().message(), Catch::Contains("run 7") && Catch::Contains("loss") &&
                                              Catch::Contains(row.op + " "));
    }
    CHECK(service.world.waiter->sleeps.empty());
  }
}

TEST_CASE("what compares nothing is refused at once") {
  MetricService service(Points({1.0}));
  for (auto op : {"", "=", "!=", "<>", "=<", "< ", "less"}) {
    auto point = service.run().wait_metric("loss", op, 1);
    CHECK(point.error().code() == "invalid_request");
    CHECK_THAT(point.error().message(), Catch::Contains("<, <=, >, >= and =="));
  }
  CHECK(service.points->asked.empty());
}

TEST_CASE("waiting for a point ends at the call's limit and at its stop") {
  MetricService service(Points({4.0, 3.0}));
  service.world.transport->fault = [](int) { return Fault::lost_before; };
  auto late = service.run().wait_metric("loss", "<", 1, {.timeout = std::chrono::seconds(5)});
  CHECK(late.error().code() == "timeout");
  CHECK(service.world.waiter->time.time_since_epoch() == std::chrono::seconds(5));
  std::stop_source stop;
  stop.request_stop();
  auto canceled =
      service.run().wait_metric("loss", "<", 1, {.timeout = {}, .stop = stop.get_token()});
  CHECK(canceled.error().code() == "canceled");
}
