#include "sched/leases.hpp"

#include "catch.hpp"

using spell::sched::Leases;
using Words = std::vector<std::string>;

namespace {
constexpr std::int64_t second = 1'000'000, lease = 75 * second, lost_after = 600 * second;
}

TEST_CASE("who renews is here") {
  Leases leases;
  CHECK_FALSE(leases.next());
  for (int i = 0; i < 100; ++i) {
    leases.renew("a", lease, lost_after, i * 25 * second);
    auto due = leases.expire(i * 25 * second);
    CHECK(due.away.empty());
    CHECK(due.lost.empty());
  }
  CHECK(leases.next());
}

TEST_CASE("a machine that is silent is away after its lease and lost after its time") {
  Leases leases;
  leases.renew("a", lease, lost_after, 0);
  REQUIRE(leases.next() == lease);
  CHECK(leases.expire(lease - 1).away.empty());
  CHECK(leases.expire(lease).away == Words{"a"});
  REQUIRE(leases.next() == lost_after);
  CHECK(leases.expire(lost_after - 1).lost.empty());
  CHECK(leases.expire(lost_after).lost == Words{"a"});
  CHECK_FALSE(leases.next());
  leases.renew("a", lease, lost_after, 2 * lost_after);
  CHECK(leases.next() == 2 * lost_after + lease);
}

TEST_CASE("a machine whose connection closed is lost so long after that") {
  Leases leases;
  leases.renew("a", lease, lost_after, 0);
  leases.closed("a", 20 * second);
  REQUIRE(leases.next());
  CHECK(leases.expire(*leases.next()).lost.empty());  // the lease's end, which no longer counts
  REQUIRE(leases.next() == 20 * second + lost_after);
  CHECK(leases.expire(*leases.next()).lost == Words{"a"});
}

TEST_CASE("coming back ends being away") {
  Leases leases;
  leases.renew("a", lease, lost_after, 0);
  leases.closed("a", second);
  leases.renew("a", lease, lost_after, 500 * second);
  while (leases.next() && *leases.next() < 570 * second) {
    auto due = leases.expire(*leases.next());
    CHECK(due.away.empty());
    CHECK(due.lost.empty());
  }
}

TEST_CASE("who has slept declares nobody lost") {
  Leases leases;
  leases.renew("here", lease, lost_after, 0);
  leases.renew("away", lease, lost_after, 0);
  leases.closed("away", second);
  std::int64_t morning = 8 * 3600 * second;
  auto due = leases.expire(morning);
  CHECK(due.away.empty());
  CHECK(due.lost.empty());
  REQUIRE(leases.next() == morning + lease);
  CHECK(leases.expire(morning + lease).away == Words{"here"});
  REQUIRE(leases.next() == morning + lost_after);
  CHECK(leases.expire(morning + lost_after).lost == Words{"away", "here"});
}

TEST_CASE("a look that is a little late still counts") {
  Leases leases;
  leases.renew("a", lease, lost_after, 0);
  CHECK(leases.expire(lease + lease / 4).away == Words{"a"});
}

TEST_CASE("a machine from before the start has its whole time to come back") {
  Leases leases;
  leases.expect("a", lost_after, 100 * second);
  REQUIRE(leases.next() == 100 * second + lost_after);
  CHECK(leases.expire(100 * second + lost_after).lost == Words{"a"});
}

TEST_CASE("a machine with a short time to come back is lost when it is away") {
  Leases leases;
  leases.renew("a", lease, second, 0);
  auto due = leases.expire(lease);
  CHECK(due.away == Words{"a"});
  CHECK(due.lost == Words{"a"});
  leases.renew("b", lease, 0, 0);
  leases.closed("b", 0);
  auto due_b = leases.expire(lease);
  CHECK(due_b.lost.empty());
}

TEST_CASE("a removed machine is forgotten") {
  Leases leases;
  leases.renew("a", lease, lost_after, 0);
  leases.forget("a");
  auto due = leases.expire(lease);
  CHECK(due.away.empty());
  CHECK_FALSE(leases.next());
}
