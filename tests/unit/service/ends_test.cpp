// Which runs have ended last.
#include "service/ends.hpp"

#include "catch.hpp"
#include "house.hpp"

using namespace spell::service;
using Runs = std::vector<std::int64_t>;

TEST_CASE("ends are told from a cursor on, to each owner his own") {
  Ends ends;
  auto begin = ends.read("ada", "");
  CHECK(begin.runs.empty());
  CHECK(begin.complete);
  ends.add({{"ada", 1}, {"bob", 1}, {"ada", 2}});
  auto first = ends.read("ada", begin.next);
  CHECK(first.runs == Runs{1, 2});
  ends.add({{"ada", 3}});
  CHECK(ends.read("ada", first.next).runs == Runs{3});
  CHECK(ends.read("ada", begin.next).runs == Runs{1, 2, 3});
  CHECK(ends.read("bob", begin.next).runs == Runs{1});
  CHECK(ends.read("bob", first.next).runs.empty());
}

TEST_CASE("who has fallen behind, or comes from another process, is told so") {
  Ends ends(3);
  auto begin = ends.read("ada", "").next;
  ends.add({{"ada", 1}, {"ada", 2}, {"ada", 3}});
  CHECK(ends.read("ada", begin).runs == Runs{1, 2, 3});
  ends.add({{"ada", 4}});
  auto late = ends.read("ada", begin);
  CHECK(late.runs.empty());
  CHECK(!late.complete);
  CHECK(ends.read("ada", late.next).complete);
  Ends other;
  for (auto cursor : {begin, late.next, std::string("x"), std::string("."), begin + "9",
                      begin + "x", begin.substr(0, begin.find('.') + 1) + "-1"})
    CHECK(!other.read("ada", cursor).complete);
}

TEST_CASE(
    "the state tells which runs have ended or were removed, once, and nothing that was lost") {
  House house(1);
  house.connect();
  auto ended = [&] {
    Runs out;
    for (auto& end : house.state->take_ended()) {
      CHECK(end.owner == "ada");
      out.push_back(end.run);
    }
    return out;
  };
  for (int i = 0; i < 3; ++i) REQUIRE(house.submit("true"));
  REQUIRE(house.report(1, {"building", "running"}));
  CHECK(ended().empty());
  REQUIRE(house.report(1, {}, 0));
  CHECK(ended() == Runs{1});
  REQUIRE(house.change([&] { return house.state->end("ada", 3, "kill", house.now); }));
  CHECK(ended() == Runs{3});
  house.lost_change([&] { return house.state->end("ada", 2, "kill", house.now); });
  CHECK(ended().empty());
  REQUIRE(house.change([&] { return house.state->remove("ada", 1); }));
  CHECK(ended() == Runs{1});
}
