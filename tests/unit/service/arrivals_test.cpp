#include "service/arrivals.hpp"

#include "catch.hpp"

using namespace spell::service;
using spell::spellfs::Name;

namespace {

Name tree_named(int number) {
  Name name;
  name.digest[0] = static_cast<std::uint8_t>(number);
  return name;
}

using Active = std::vector<std::pair<std::string, std::int64_t>>;
using Kept = std::vector<std::pair<std::string, Name>>;

}  // namespace

TEST_CASE(
    "of a run that goes on what belongs to its last two versions, and to the next, is spared") {
  Arrivals arrivals;
  Active active{{"a", 100}};
  CHECK(arrivals.oldest({}, 1000) == 0);
  CHECK(arrivals.oldest(active, 1000) == 100);  // nothing is known: its whole life
  arrivals.came("a", 200);
  CHECK(arrivals.oldest(active, 1000) == 100);
  CHECK_FALSE(arrivals.named("a", tree_named(1), 210));
  CHECK(arrivals.oldest(active, 1000) == 200);
  CHECK(arrivals.earlier().empty());
  // A large version takes its time; said again, a tree is no other one.
  arrivals.came("a", 300);
  arrivals.came("a", 400);
  CHECK_FALSE(arrivals.named("a", tree_named(1), 410));
  CHECK(arrivals.oldest(active, 1000) == 200);
  CHECK_FALSE(arrivals.named("a", tree_named(2), 500));
  CHECK(arrivals.oldest(active, 1000) == 300);
  CHECK(arrivals.earlier() == Kept{{"a", tree_named(1)}});
  // One that needed nothing new.
  CHECK(arrivals.named("a", tree_named(3), 600));
  CHECK(arrivals.oldest(active, 1000) == 600);
  CHECK(arrivals.earlier() == Kept{{"a", tree_named(2)}});
  // What comes while a tree is said is not later than it.
  arrivals.came("a", 700);
  CHECK(arrivals.named("a", tree_named(4), 650));
  CHECK(arrivals.oldest(active, 1000) == 650);
}

TEST_CASE("the run that knows least decides, and of ended runs nothing stays") {
  Arrivals arrivals;
  for (auto* run : {"a", "b"})
    for (int version = 1; version <= 3; ++version) {
      std::int64_t now = version * 100 + (*run == 'b' ? 50 : 0);
      arrivals.came(run, now);
      arrivals.named(run, tree_named(version), now + 10);
    }
  CHECK(arrivals.oldest({{"a", 1}, {"b", 1}}, 1000) == 300);
  CHECK(arrivals.oldest({{"a", 1}, {"b", 1}, {"c", 20}}, 1000) == 20);
  CHECK(arrivals.earlier().size() == 2);
  CHECK(arrivals.oldest({{"b", 1}}, 1000) == 350);
  CHECK(arrivals.earlier() == Kept{{"b", tree_named(2)}});
  CHECK(arrivals.oldest({}, 1000) == 0);
  CHECK(arrivals.earlier().empty());
}

TEST_CASE("what a run that had counted as lost brings late is spared until it is named") {
  constexpr std::int64_t day = 86'400'000'000;
  Arrivals arrivals;
  arrivals.came("late", 500);
  CHECK(arrivals.oldest({}, 1000) == 500);
  CHECK(arrivals.oldest({{"other", 700}}, 1000) == 500);
  CHECK(arrivals.oldest({{"other", 700}}, day + 1000) == 700);  // it comes no more
  arrivals.came("late", 800);
  arrivals.ended("late");
  CHECK(arrivals.oldest({}, 1000) == 0);
}
