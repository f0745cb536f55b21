#include "service/retention.hpp"

#include "catch.hpp"

using namespace spell;
using namespace spell::service;
using store::KeptRun;

namespace {

constexpr std::int64_t day = 24LL * 3600 * 1'000'000;

std::vector<std::int64_t> numbers(const Expired& found) {
  std::vector<std::int64_t> out;
  for (auto& [owner, number] : found.runs) out.push_back(number);
  return out;
}

}  // namespace

TEST_CASE("without rules all is kept") {
  auto found = expired({{"t", 1, 0, 1LL << 50, false}}, {}, 1000 * day);
  CHECK(found.runs.empty());
  CHECK(found.next_us == 0);
}

TEST_CASE("by age the old ones go, but none with a label, and the next is known") {
  std::vector<KeptRun> runs{{"t", 3, 9 * day, 1, false},
                            {"t", 1, 1 * day, 1, false},
                            {"t", 2, 2 * day, 1, true},
                            {"t", 4, 12 * day, 1, false}};
  auto found = expired(runs, {7, 0}, 10 * day);
  CHECK(numbers(found) == std::vector<std::int64_t>{1});
  CHECK(found.next_us == 16 * day + 1);
  CHECK(numbers(expired(runs, {7, 0}, found.next_us)) == std::vector<std::int64_t>{1, 3});
}

TEST_CASE("by size the oldest go until the rest is small enough") {
  std::vector<KeptRun> runs{{"t", 1, 1, 50, false},
                            {"t", 2, 2, 0, false},
                            {"t", 3, 3, 50, true},
                            {"t", 4, 4, 30, false},
                            {"t", 5, 5, 30, false}};
  CHECK(numbers(expired(runs, {0, 160}, 10)).empty());
  CHECK(numbers(expired(runs, {0, 159}, 10)) == std::vector<std::int64_t>{1});
  CHECK(numbers(expired(runs, {0, 80}, 10)) == std::vector<std::int64_t>{1, 4});
  // Labelled ones stay, also where they alone are too much.
  CHECK(numbers(expired(runs, {0, 1}, 10)) == std::vector<std::int64_t>{1, 4, 5});
}

TEST_CASE("both rules together: what is too old makes room first") {
  std::vector<KeptRun> runs{{"t", 1, 1 * day, 50, false}, {"t", 2, 9 * day, 60, false}};
  CHECK(numbers(expired(runs, {7, 60}, 10 * day)) == std::vector<std::int64_t>{1});
}
