#include "worker/metric_intake.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include "base/file.hpp"
#include "catch.hpp"
#include "model/log.hpp"
#include "net/client.hpp"
#include "temporary_folder.hpp"
#include "worker/loopback_user.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

net::ClientResponse post(int port, const std::string& body,
                         const std::string& target = "/user-metrics",
                         const std::string& method = "POST") {
  net::HttpClient client("http://127.0.0.1:" + std::to_string(port));
  net::ClientRequest request;
  request.method = method;
  request.target = target;
  request.body = body;
  return client.send(request).value();
}

std::string loss(const std::string& number) {
  return R"({"name": "loss", "type": "number", "number": )" + number + "}";
}

/// The lines of a spool whose frames are whole and gapless.
std::string lines_of(const std::string& folder) {
  auto spool = base::read_file(folder + "/metrics", 1 << 20).value();
  model::FrameParser parser;
  parser.feed(spool);
  std::string out;
  while (auto frame = parser.next().value()) {
    CHECK(frame->header.kind == model::FrameKind::output);
    CHECK(frame->header.sequence == out.size());
    CHECK(frame->header.time_us > 0);
    out += frame->payload;
  }
  return out;
}

}  // namespace

TEST_CASE("points are in the spool when they are answered, and what is no point is not") {
  TemporaryFolder folder;
  std::atomic<int> told = 0;
  MetricIntake intake([&](const std::string& run) { told += run == "run"; });
  int port = intake.open("run", folder.path, 0).value();
  CHECK(intake.size("run").bytes == 0);
  CHECK_FALSE(base::exists(folder.path + "/metrics"));
  CHECK(post(port, loss("0.5")).status == 200);
  CHECK(lines_of(folder.path) == "[\"loss\",0,0.5]\n");
  CHECK(post(port, loss("0.25")).status == 200);
  CHECK(post(port, R"([{"name": "loss", "type": "number", "number": 3, "index": 10},
                       {"name": "loss", "type": "number", "number": 4},
                       {"name": "word", "type": "text", "text": "x"}])")
            .status == 200);
  std::string all =
      "[\"loss\",0,0.5]\n[\"loss\",1,0.25]\n[\"loss\",10,3.0]\n[\"loss\",11,4.0]\n[\"word\",0,"
      "\"x\"]\n";
  CHECK(lines_of(folder.path) == all);
  auto size = intake.size("run");
  CHECK(size.bytes == static_cast<std::int64_t>(all.size()));
  CHECK(told == 3);

  auto refused = post(port, loss("\"much\""));
  CHECK(refused.status == 400);
  CHECK(refused.body.find("invalid_metric") != std::string::npos);
  CHECK(refused.body.find("number") != std::string::npos);
  // Of a list all or nothing.
  CHECK(post(port, "[" + loss("1") + ", {}]").status == 400);
  CHECK(post(port, loss("1"), "/user-metrics", "GET").status == 404);
  CHECK(post(port, loss("1"), "/other").status == 404);
  CHECK(post(port, std::string(1 << 20, ' ')).status == 413);
  CHECK(lines_of(folder.path) == all);
  CHECK(intake.size("run").spool == size.spool);
}

TEST_CASE("another worker goes on at the same port, after the last whole frame") {
  TemporaryFolder folder;
  int port = 0;
  {
    MetricIntake intake([](auto&) {});
    port = intake.open("run", folder.path, 0).value();
    post(port, loss("1"));
    post(port, loss("2"));
  }
  auto spool = base::read_file(folder.path + "/metrics", 1 << 20).value();
  for (std::size_t cut = 0; cut < 40; cut += 7) {
    REQUIRE(base::write_file(folder.path + "/metrics", spool + spool.substr(0, cut), 0600, false));
    MetricIntake intake([](auto&) {});
    REQUIRE(intake.open("run", folder.path, port).value() == port);
    CHECK(intake.size("run").spool == static_cast<std::int64_t>(spool.size()));
    CHECK(post(port, loss("3")).status == 200);
    CHECK(lines_of(folder.path) == "[\"loss\",0,1.0]\n[\"loss\",1,2.0]\n[\"loss\",2,3.0]\n");
  }
}

TEST_CASE("a run that has ended takes nothing, and its port goes to the next") {
  TemporaryFolder first, second;
  MetricIntake intake([](auto&) {});
  int port = intake.open("first", first.path, 0).value();
  post(port, loss("1"));
  intake.close("first");
  CHECK(post(port, loss("2")).status == 410);
  CHECK(intake.size("first").bytes > 0);
  CHECK(intake.open("second", second.path, 0).value() == port);
  CHECK(post(port, loss("3")).status == 200);
  CHECK(lines_of(first.path) == "[\"loss\",0,1.0]\n");
  CHECK(lines_of(second.path) == "[\"loss\",0,3.0]\n");
  intake.forget("first");
  CHECK(intake.size("first").bytes == 0);
  CHECK(post(port, loss("4")).status == 200);
}

TEST_CASE("an endpoint that is somebody's takes nobody else's") {
  TemporaryFolder folder;
  MetricIntake intake([](auto&) {});
  int port = intake.open("run", folder.path, 0).value();
  intake.belongs_to("run", ::getuid() + 1);
  CHECK(post(port, loss("1")).status == 403);
  if (::getuid() != 0) {
    intake.belongs_to("run", ::getuid());
    CHECK(post(port, loss("1")).status == 200);
  }
  CHECK_FALSE(loopback_user(1, port));
}

TEST_CASE("a port that somebody has taken is an error, and what came earlier is known") {
  TemporaryFolder folder, other;
  MetricIntake before([](auto&) {}), after([](auto&) {});
  int port = before.open("run", folder.path, 0).value();
  post(port, loss("1"));
  auto opened = after.open("run", folder.path, port);
  REQUIRE_FALSE(opened);
  CHECK(after.size("run").bytes > 0);
}
