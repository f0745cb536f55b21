#include "service/quota.hpp"

#include "catch.hpp"

using namespace spell;
using namespace spell::service;

TEST_CASE("a user's own quota wins over that for everybody, member by member") {
  Quota everybody{2, 1000, std::nullopt, {{"v100", 3}, {"k80", 1}}},
      own{std::nullopt, 5, 7, {{"v100", 8}}};
  auto quota = effective(own, everybody);
  CHECK(quota.runs == 2);
  CHECK(quota.bytes == 5);
  CHECK(quota.log_bytes == 7);
  CHECK(quota.runs_of == std::map<std::string, std::int64_t>{{"v100", 8}, {"k80", 1}});
  CHECK_FALSE(effective({}, {}).runs);
  CHECK(effective({}, {}).runs_of.empty());
}

TEST_CASE("runs at once") {
  CHECK(may_start({}, 1'000'000));
  Quota quota{2};
  CHECK(may_start(quota, 1));
  CHECK_FALSE(may_start(quota, 2));
  CHECK_FALSE(may_start(Quota{0}, 0));
  CHECK(waits_for_quota("ada", quota, "").find("ada may have 2 runs at once") !=
        std::string::npos);
  quota.runs_of["v100"] = 1;
  CHECK(may_start(quota, "v100", 0));
  CHECK_FALSE(may_start(quota, "v100", 1));
  CHECK(may_start(quota, "k80", 1000));
  CHECK(waits_for_quota("ada", quota, "v100") ==
        "waiting: ada may have 1 run of type v100 at once (spell quota list)");
}

TEST_CASE("a log is limited to what is asked for or allowed, whichever is less") {
  CHECK(log_limit({}, 100) == 100);
  Quota quota{{}, {}, 50};
  CHECK(log_limit(quota, 100) == 50);
  CHECK(log_limit(quota, 10) == 10);
}

TEST_CASE("who keeps as much as he may brings nothing more") {
  CHECK(check_bytes({}, "ada", INT64_MAX).ok());
  Quota quota{{}, 1 << 20};
  CHECK(check_bytes(quota, "ada", (1 << 20) - 1).ok());
  auto refused = check_bytes(quota, "ada", 1 << 20);
  CHECK(refused.error().code() == "quota_exceeded");
  CHECK(refused.error().message().find("ada keeps 1.0 MiB of at most 1.0 MiB") == 0);
}
