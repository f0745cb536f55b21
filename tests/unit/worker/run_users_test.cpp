// Users for runs, and what a machine shares: who gets what, and what is refused.
#include "worker/run_users.hpp"

#include <pwd.h>
#include <unistd.h>

#include <set>

#include "base/file.hpp"
#include "catch.hpp"
#include "temporary_folder.hpp"
#include "worker/share.hpp"

using namespace spell;
using namespace spell::worker;

namespace {

std::string message_of(const std::string& range) {
  auto parsed = parse_run_users(range);
  return parsed ? "" : parsed.error().message();
}

model::ResolvedMount wanted(const std::string& resource) {
  model::ResolvedMount mount;
  mount.resource = resource;
  mount.at = "/data";
  mount.type = "machine";
  return mount;
}

}  // namespace

TEST_CASE("a range of users is two numbers that are nobody's") {
  auto usual = parse_run_users("1900000000-1900000999");
  REQUIRE(usual);
  CHECK(usual->first == usual_run_users.first);
  CHECK(usual->last == usual_run_users.last);
  for (auto* bad : {"", "5", "a-b", "9-", "-9", "20-10", "100000-100005", "0-99", "1-99999999999"})
    CHECK(message_of(bad).find("run users") == 0);
  // Every system has root's neighbours.
  CHECK(message_of("1-50").find("that has the id of ") != std::string::npos);
}

TEST_CASE("each run has a user of its own for as long as its folder is there") {
  testing::TemporaryFolder folder;
  auto path = [&](const std::string& run) {
    std::string made = folder.path + "/" + run;
    REQUIRE(base::make_folders(made).ok());
    return made;
  };
  RunUsers users({100'000, 100'009}, 7);
  std::set<std::uint32_t> seen;
  for (int run = 0; run < 10; ++run) {
    auto user = users.take(std::to_string(run), path(std::to_string(run)));
    REQUIRE(user);
    CHECK(*user >= 100'000);
    CHECK(*user <= 100'009);
    CHECK(seen.insert(*user).second);
    CHECK(users.take(std::to_string(run), path(std::to_string(run))).value() == *user);
  }
  auto none = users.take("more", path("more"));
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == "no_isolation");
  // A restarted worker knows who has what.
  RunUsers after({100'000, 100'009}, 7);
  for (int run = 1; run < 10; ++run) after.hold(std::to_string(run), path(std::to_string(run)));
  CHECK(after.take("next", path("next")).value() == users.take("0", path("0")).value());
  CHECK_FALSE(after.take("more", path("more")).ok());
  after.release("3");
  CHECK(after.take("more", path("more")).ok());
}

TEST_CASE("a user that was given back is not given out again at once") {
  testing::TemporaryFolder folder;
  RunUsers users({100'000, 100'009}, 0);
  auto first = users.take("a", folder.path).value();
  users.release("a");
  REQUIRE(::unlink((folder.path + "/user").c_str()) == 0);
  CHECK(users.take("b", folder.path).value() != first);
}

TEST_CASE("what a machine shares can be mounted, and nothing beside it") {
  testing::TemporaryFolder folder;
  std::string top = folder.path;
  for (auto* made : {"/data/sets", "/secret", "/data/open"})
    REQUIRE(base::make_folders(top + made).ok());
  REQUIRE(::symlink((top + "/secret").c_str(), (top + "/data/way-out").c_str()) == 0);
  auto data = parse_share(top + "/data"), open = parse_share(top + "/data/open:rw");
  REQUIRE(data);
  REQUIRE(open);
  std::vector<Share> shares{*data, *open};
  auto sets = bind_share(shares, wanted("machine:" + top + "/data/sets"));
  REQUIRE(sets);
  CHECK(sets->read_only);
  CHECK(sets->from == data->path + "/sets");
  auto written = bind_share(shares, wanted("machine:" + top + "/data/open"));
  REQUIRE(written);
  CHECK_FALSE(written->read_only);
  for (auto* bad : {"/secret", "/data/way-out", "/data2", "/nowhere", ""}) {
    auto refused = bind_share(shares, wanted("machine:" + top + bad));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == "mount_failed");
    CHECK(refused.error().message().find("it shares " + data->path + ", ") != std::string::npos);
  }
  CHECK_FALSE(parse_share("data").ok());
  CHECK_FALSE(parse_share(top + "/nowhere").ok());
}
