#include "sched/place.hpp"

#include "catch.hpp"

using namespace spell::sched;

TEST_CASE("runs are placed in their order until the places are used up") {
  std::vector<Machine> machines{{"here", {"cpu"}, 2, 0, true}};
  auto placed = place(machines, {{"a", "cpu"}, {"b", "cpu"}, {"c", "cpu"}});
  REQUIRE(placed.size() == 2);
  CHECK(placed[0].run == "a");
  CHECK(placed[1].run == "b");
  CHECK(machines[0].busy == 2);
}

TEST_CASE("a run that does not fit holds back its own type only") {
  std::vector<Machine> machines{{"box", {"v100"}, 1, 1, true}, {"here", {"cpu"}, 1, 0, true}};
  auto placed = place(machines, {{"a", "v100"}, {"b", "cpu"}});
  REQUIRE(placed.size() == 1);
  CHECK(placed[0].run == "b");
  CHECK(placed[0].machine == "here");
}

TEST_CASE("the machine with the most room is taken, then the first by name") {
  std::vector<Machine> machines{
      {"b", {"cpu"}, 2, 0, true}, {"a", {"cpu"}, 2, 0, true}, {"c", {"cpu"}, 3, 0, true}};
  auto placed = place(machines, {{"1", "cpu"}, {"2", "cpu"}, {"3", "cpu"}});
  REQUIRE(placed.size() == 3);
  CHECK(placed[0].machine == "c");
  CHECK(placed[1].machine == "a");
  CHECK(placed[2].machine == "b");
}

TEST_CASE("a machine that is not connected gets nothing") {
  std::vector<Machine> machines{{"here", {"cpu"}, 2, 0, false}};
  CHECK(place(machines, {{"a", "cpu"}}).empty());
  CHECK(why_waiting(machines, "cpu") == "waiting for a CPU machine: it is not connected");
}

TEST_CASE("a machine is reached by its own name") {
  std::vector<Machine> machines{{"box", {"cpu"}, 1, 0, true}};
  CHECK(place(machines, {{"a", "box"}}).size() == 1);
}

TEST_CASE("the reason counts what is busy") {
  std::vector<Machine> machines{{"here", {"cpu"}, 2, 2, true}};
  CHECK(why_waiting(machines, "cpu") == "waiting for a CPU machine: 2 of 2 places busy");
  CHECK(why_waiting(machines, "k80") == "waiting for a K80 machine: none serves it");
}

TEST_CASE("a full machine that alone serves a type is given some runs ahead") {
  std::vector<Machine> machines{{"here", {"cpu"}, 2, 0, true, 1}};
  CHECK(place(machines, {{"a", "cpu"}, {"b", "cpu"}, {"c", "cpu"}, {"d", "cpu"}}).size() == 3);
  CHECK(place(machines, {{"d", "cpu"}}).empty());
  CHECK(why_waiting(machines, "cpu") == "waiting for a CPU machine: 2 of 2 places busy");
}

TEST_CASE("nothing is given ahead where another machine could take it sooner") {
  std::vector<Machine> machines{{"a", {"cpu"}, 1, 1, true, 1}, {"b", {"cpu"}, 1, 1, true, 1}};
  CHECK(place(machines, {{"1", "cpu"}}).empty());
  machines[1].connected = false;
  CHECK(place(machines, {{"1", "cpu"}}).empty());
}
