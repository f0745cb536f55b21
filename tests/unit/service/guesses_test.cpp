#include "service/guesses.hpp"

#include <algorithm>

#include "catch.hpp"

using namespace spell::service;

TEST_CASE("wrong passwords of one user from one address are slowed from the sixth on") {
  Guesses guesses;
  for (int i = 0; i < 5; ++i) CHECK(guesses.begin("ada", "10.0.0.1", 100) == 0);
  CHECK(guesses.begin("ada", "10.0.0.1", 100) == 1);
  CHECK(guesses.begin("ada", "10.0.0.2", 100) == 0);  // from elsewhere he gets in
  CHECK(guesses.begin("bob", "10.0.0.1", 100) == 0);
  // Each one after a wait is one guess, and the next wait is longer, up to a minute.
  std::int64_t now = 100, longest = 0;
  for (int i = 0; i < 12; ++i) {
    auto wait = guesses.begin("ada", "10.0.0.1", now);
    longest = std::max(longest, wait);
    now += wait;
    CHECK(guesses.begin("ada", "10.0.0.1", now) == 0);
  }
  CHECK(longest == 60);
}

TEST_CASE("who is told to wait does not make his wait longer by asking") {
  Guesses guesses;
  for (int i = 0; i < 6; ++i) (void)guesses.begin("ada", "a", 100);
  for (int i = 0; i < 1000; ++i) CHECK(guesses.begin("ada", "a", 100) == 1);
  CHECK(guesses.begin("ada", "a", 101) == 0);
}

TEST_CASE("the right password clears the way") {
  Guesses guesses;
  for (int i = 0; i < 5; ++i) (void)guesses.begin("ada", "a", 100);
  CHECK(guesses.begin("ada", "a", 101) == 0);
  guesses.right("ada", "a");
  for (int i = 0; i < 5; ++i) CHECK(guesses.begin("ada", "a", 101) == 0);
  CHECK(guesses.begin("ada", "a", 101) > 0);
}

TEST_CASE("many names from one address, and one name from many addresses, are slowed too") {
  Guesses guesses;
  for (int i = 0; i < 20; ++i) CHECK(guesses.begin("user" + std::to_string(i), "a", 5) == 0);
  CHECK(guesses.begin("another", "a", 5) > 0);
  CHECK(guesses.begin("another", "b", 5) == 0);
  for (int i = 0; i < 100; ++i) CHECK(guesses.begin("ada", "x" + std::to_string(i), 5) == 0);
  CHECK(guesses.begin("ada", "y", 5) > 0);
  CHECK(guesses.begin("ada", "y", 5) <= 10);  // nobody can lock him out
}

TEST_CASE("an hour without guesses is forgiven") {
  Guesses guesses;
  for (int i = 0; i < 6; ++i) (void)guesses.begin("ada", "a", 100);
  for (int i = 0; i < 5; ++i) CHECK(guesses.begin("ada", "a", 100 + 3700) == 0);
}

TEST_CASE("an IPv6 network is one guesser") {
  CHECK(guesser("2001:db8::1") == guesser("2001:db8::ffff:2"));
  CHECK(guesser("2001:db8::1") != guesser("2001:db8:0:1::1"));
  CHECK(guesser("fe80::1%eth0") == guesser("fe80::2%eth0"));
  CHECK(guesser("10.0.0.1") == "10.0.0.1");
  CHECK(guesser("::ffff:10.0.0.1") != guesser("::ffff:10.0.0.2"));
  CHECK(guesser("") == "");
}
