// What clouds say of a machine that goes, by stand-ins that speak as their documentation has it.
#include "worker/cloud_notice.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "catch.hpp"
#include "net/server.hpp"

using namespace spell;
using namespace spell::worker;

namespace {

struct StandIn : net::Handler {
  std::string folder;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> asked;  ///< "METHOD TARGET"
  std::vector<std::string> said, bodies;
  /// Called under the mutex; none: it answers later, by `later`.
  std::function<std::optional<net::Response>(const net::Request&)> answer;
  std::vector<net::Reply> later;
  std::unique_ptr<net::Server> server;
  std::promise<Notice> noticed;
  std::vector<std::string> taken_back;  ///< kinds
  std::unique_ptr<CloudNotice> source;

  StandIn() {
    char name[] = "/tmp/spell-cloud-XXXXXX";
    REQUIRE(::mkdtemp(name));
    folder = name;
    net::ServerOptions options;
    options.socket_path = folder + "/s";
    options.spool_folder = folder;
    auto started = net::Server::start(options, *this);
    REQUIRE(started);
    server = std::move(*started);
  }
  ~StandIn() override {
    source.reset();
    server->stop();
    (void)base::remove_tree(folder);
  }
  void begin(Cloud cloud) {
    CloudNoticeOptions options;
    options.cloud = cloud;
    options.url = "unix:" + folder + "/s";
    options.every = std::chrono::milliseconds(5);
    options.notice = [this](const Notice& notice) { noticed.set_value(notice); };
    options.withdrawn = [this](const Notice& notice) {
      std::lock_guard lock(mutex);
      taken_back.push_back(notice.kind);
      changed.notify_all();
    };
    options.log = [this](const std::string& line) {
      std::lock_guard lock(mutex);
      said.push_back(line);
      changed.notify_all();
    };
    source = CloudNotice::start(std::move(options));
  }
  Notice wait() {
    auto notice = noticed.get_future();
    REQUIRE(notice.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
    return notice.get();
  }
  template <class Condition>
  bool becomes(Condition condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(30), condition);
  }
  int times(const std::string& what) const {
    return static_cast<int>(std::count(asked.begin(), asked.end(), what));
  }

  Result<net::BodyRule> body_rule(const net::Request&) override { return net::BodyRule{}; }
  void handle(net::Request request, net::Reply reply) override {
    std::lock_guard lock(mutex);
    asked.push_back(request.method + " " + request.raw_target);
    if (request.method == "POST") bodies.push_back(request.body);
    if (auto now = answer(request))
      reply.send(*now);
    else
      later.push_back(reply);
    changed.notify_all();
  }
  net::Response error(const Error&, const std::string&) override { return {.status = 400}; }
};

std::string header(const net::Request& request, const char* name) {
  return std::string(net::find_header(request.headers, name));
}

net::Response text(std::string body, int status = 200) {
  return {.status = status, .content_type = "text/plain", .body = std::move(body)};
}

std::int64_t seconds_until(const Notice& notice) {
  return (notice.at_us - base::boot_ns() / 1000 + 500'000) / 1'000'000;
}

/// As Azure writes times.
std::string http_date(std::int64_t unix_us) {
  time_t seconds = unix_us / 1'000'000;
  tm fields;
  ::gmtime_r(&seconds, &fields);
  char out[64];
  ::strftime(out, sizeof out, "%a, %d %b %Y %H:%M:%S GMT", &fields);
  return out;
}

}  // namespace

TEST_CASE("aws: a session token, then 404 until there is an action, and its time") {
  StandIn cloud;
  int tokens = 0, looks = 0;
  auto at = base::unix_us() + 120'000'000;
  cloud.answer = [&](const net::Request& request) -> std::optional<net::Response> {
    if (request.method == "PUT" && request.raw_target == "/latest/api/token") {
      if (header(request, "X-aws-ec2-metadata-token-ttl-seconds") != "21600") return text("", 400);
      return text("token-" + std::to_string(++tokens));
    }
    if (request.raw_target != "/latest/meta-data/spot/instance-action") return text("", 400);
    if (header(request, "X-aws-ec2-metadata-token") != "token-" + std::to_string(tokens))
      return text("", 401);
    ++looks;
    if (looks == 2) return ++tokens, text("", 401);  // the token has ended
    if (looks < 5) return text("", 404);
    return text(R"({"action": "terminate", "time": ")" + base::rfc3339(at).substr(0, 19) + "Z\"}");
  };
  cloud.begin(Cloud::aws);
  auto notice = cloud.wait();
  CHECK(notice.kind == "aws");
  CHECK(notice.text == "spot interruption, AWS");
  CHECK(seconds_until(notice) >= 118);
  CHECK(seconds_until(notice) <= 120);
  std::lock_guard lock(cloud.mutex);
  CHECK(cloud.times("PUT /latest/api/token") == 2);
  CHECK(cloud.said.empty());
}

TEST_CASE("aws: what cannot be read is said once, and asked for again") {
  StandIn cloud;
  int looks = 0;
  cloud.answer = [&](const net::Request& request) -> std::optional<net::Response> {
    if (request.method == "PUT") return text("t");
    if (++looks < 4) return text(R"({"action": "terminate", "time": "soon"})");
    return text(R"({"action": "stop", "time": "2017-09-18T08:22:00Z"})");
  };
  cloud.begin(Cloud::aws);
  CHECK(seconds_until(cloud.wait()) <= 0);
  std::lock_guard lock(cloud.mutex);
  REQUIRE(cloud.said.size() == 2);
  CHECK(cloud.said[0].find("what is no notice") != std::string::npos);
}

TEST_CASE("gcp: it is asked once, and answers when it changes") {
  StandIn cloud;
  cloud.answer = [&](const net::Request& request) -> std::optional<net::Response> {
    if (header(request, "Metadata-Flavor") != "Google") return text("", 403);
    auto answer = text("FALSE");
    answer.headers.emplace_back("ETag", "4d6364e9a2a4e1f1");
    if (request.raw_target == "/computeMetadata/v1/instance/preempted") return answer;
    return std::nullopt;
  };
  cloud.begin(Cloud::gcp);
  REQUIRE(cloud.becomes([&] { return cloud.later.size() == 1; }));
  auto reply = [&](const char* body) {
    auto answer = text(body);
    answer.headers.emplace_back("ETag", "4d6364e9a2a4e1f1");
    std::unique_lock lock(cloud.mutex);
    auto to = cloud.later.back();
    cloud.later.pop_back();
    lock.unlock();
    to.send(answer);
  };
  reply("FALSE");  // the time that it waits is over
  REQUIRE(cloud.becomes([&] { return cloud.later.size() == 1; }));
  reply("TRUE");
  auto notice = cloud.wait();
  CHECK(notice.kind == "gcp");
  CHECK(seconds_until(notice) >= 28);
  CHECK(seconds_until(notice) <= 30);
  std::lock_guard lock(cloud.mutex);
  CHECK(cloud.asked.size() >= 3);
  CHECK(cloud.asked[1].find("?wait_for_change=true&timeout_sec=60&last_etag=4d6364e9a2a4e1f1") !=
        std::string::npos);
}

TEST_CASE("azure: this machine's own preemption, approved when nothing is left to do") {
  StandIn cloud;
  int looks = 0;
  auto at = http_date(base::unix_us() + 45'000'000);
  auto event = [](const char* id, const char* type, const char* resource, const std::string& when) {
    return nlohmann::json{
        {"EventId", id},           {"EventType", type},          {"ResourceType", "VirtualMachine"},
        {"Resources", {resource}}, {"EventStatus", "Scheduled"}, {"NotBefore", when},
        {"Description", ""},       {"EventSource", "Platform"},  {"DurationInSeconds", -1}};
  };
  cloud.answer = [&](const net::Request& request) -> std::optional<net::Response> {
    if (header(request, "Metadata") != "true") return text("", 400);
    if (request.raw_target == "/metadata/instance/compute/name?api-version=2020-06-01&format=text")
      return text("Box_7");
    if (request.raw_target != "/metadata/scheduledevents?api-version=2020-07-01")
      return text("", 400);
    if (request.method == "POST") return text("{}");
    nlohmann::json events = nlohmann::json::array();
    if (++looks > 1) events.push_back(event("A", "Reboot", "Box_7", at));
    if (looks > 2) events.push_back(event("B", "Preempt", "other", at));
    if (looks > 3) events.push_back(event("C", "Preempt", "box_7", at));
    return text(nlohmann::json{{"DocumentIncarnation", looks}, {"Events", events}}.dump());
  };
  cloud.begin(Cloud::azure);
  auto notice = cloud.wait();
  CHECK(notice.kind == "azure");
  CHECK(notice.text == "preempted, Azure");
  CHECK(seconds_until(notice) >= 43);
  CHECK(seconds_until(notice) <= 45);
  const std::string approval = "POST /metadata/scheduledevents?api-version=2020-07-01";
  {
    std::lock_guard lock(cloud.mutex);
    CHECK(looks >= 4);
    CHECK(cloud.times(approval) == 0);
  }
  cloud.source->ready_to_go();
  REQUIRE(cloud.becomes([&] { return cloud.times(approval) == 1; }));
  std::lock_guard lock(cloud.mutex);
  CHECK(nlohmann::json::parse(cloud.bodies.back()) ==
        nlohmann::json{{"StartRequests", {{{"EventId", "C"}}}}});
}

TEST_CASE("a cloud that takes its notice back says nothing of it any more") {
  auto kind = GENERATE(Cloud::aws, Cloud::gcp, Cloud::azure);
  StandIn cloud;
  bool goes = true;
  int posts = 0;
  auto at = base::unix_us() + 120'000'000;
  cloud.answer = [&](const net::Request& request) -> std::optional<net::Response> {
    posts += request.method == "POST";
    if (request.method != "GET") return text("t");
    if (kind == Cloud::aws && !goes) return text("", 404);
    if (kind == Cloud::aws)
      return text(R"({"action": "terminate", "time": ")" + base::rfc3339(at) + "\"}");
    if (kind == Cloud::gcp) {
      auto answer = text(goes ? "TRUE" : "FALSE");
      answer.headers.emplace_back("ETag", "e");
      return answer;
    }
    if (request.raw_target.find("/name") != std::string::npos) return text("box");
    auto events = nlohmann::json::array();
    if (goes)
      events.push_back({{"EventId", "C"},
                        {"EventType", "Preempt"},
                        {"Resources", {"box"}},
                        {"NotBefore", http_date(at)}});
    return text(nlohmann::json{{"Events", events}}.dump());
  };
  cloud.begin(kind);
  auto notice = cloud.wait();
  {
    std::lock_guard lock(cloud.mutex);
    CHECK(cloud.taken_back.empty());
    goes = false;
  }
  REQUIRE(cloud.becomes([&] { return !cloud.taken_back.empty(); }));
  // What is not announced any more is not approved.
  cloud.source->ready_to_go();
  {
    std::lock_guard lock(cloud.mutex);
    cloud.asked.clear();
  }
  REQUIRE(cloud.becomes([&] { return cloud.asked.size() > 2; }));
  std::unique_lock lock(cloud.mutex);
  CHECK(cloud.taken_back == std::vector<std::string>{notice.kind});
  CHECK(posts == 0);
  // And another one is news.
  cloud.noticed = {};
  goes = true;
  lock.unlock();
  CHECK(cloud.wait().kind == notice.kind);
}

TEST_CASE("who waits for a cloud is ended at once") {
  for (auto kind : {Cloud::aws, Cloud::gcp, Cloud::azure}) {
    StandIn cloud;
    cloud.answer = [](const net::Request&) { return std::optional<net::Response>(); };
    cloud.begin(kind);
    REQUIRE(cloud.becomes([&] { return !cloud.later.empty(); }));
    auto began = base::boot_ns();
    cloud.source.reset();
    CHECK(base::boot_ns() - began < 5'000'000'000);
  }
}

TEST_CASE("which cloud it is stands in the firmware's words") {
  char name[] = "/tmp/spell-dmi-XXXXXX";
  REQUIRE(::mkdtemp(name));
  std::string dmi = name;
  auto is = [&](const std::string& vendor, const std::string& tag = "") {
    std::ofstream(dmi + "/sys_vendor") << vendor << "\n";
    std::ofstream(dmi + "/chassis_asset_tag") << tag << "\n";
    return find_cloud("auto", dmi).value();
  };
  CHECK(find_cloud("auto", dmi + "/none").value() == Cloud::none);
  CHECK(is("Amazon EC2") == Cloud::aws);
  CHECK(is("Google") == Cloud::gcp);
  CHECK(is("Microsoft Corporation", "7783-7084-3265-9085-8269-3286-77") == Cloud::azure);
  CHECK(is("Microsoft Corporation") == Cloud::none);
  CHECK(is("LENOVO") == Cloud::none);
  CHECK(find_cloud("aws", dmi).value() == Cloud::aws);
  CHECK(find_cloud("none", dmi).value() == Cloud::none);
  CHECK(find_cloud("AWS", dmi).error().code() == "invalid_configuration");
  CHECK(!CloudNotice::start({}));
  (void)base::remove_tree(dmi);
}
