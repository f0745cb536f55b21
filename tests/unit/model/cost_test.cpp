#include "model/cost.hpp"

#include <random>

#include "catch.hpp"

using namespace spell;
using namespace spell::model;

namespace {
constexpr std::int64_t hour = 3'600'000, nano = 1'000'000'000;
}

TEST_CASE("an amount is a price times a time, rounded once") {
  CHECK(rounded(units(3'060'000'000, hour)) == Dollars::nanos(3'060'000'000));
  CHECK(rounded(units(3'060'000'000, 1)) == Dollars::nanos(850));
  // A billionth of a dollar an hour: nothing is shown of a second of it, but nothing is lost.
  CHECK(rounded(units(1, 1000)) == Dollars());
  Units sum = 0;
  for (int i = 0; i < 3600; ++i) sum = plus(sum, units(1, 1000));
  CHECK(rounded(sum) == Dollars::nanos(1));
  CHECK(rounded(units(1, hour / 2 - 1)) == Dollars());
  CHECK(rounded(units(1, hour / 2)) == Dollars::nanos(1));
  CHECK(rounded(-units(1, hour)) == Dollars());
}

TEST_CASE("no amount overflows") {
  constexpr std::int64_t century = 100LL * 365 * 24 * hour;
  Units most = units(INT64_MAX, century);
  CHECK(most / century == INT64_MAX);
  CHECK(rounded(most) == Dollars::nanos(9'000'000'000LL * nano));
  Units sum = 0;
  for (int i = 0; i < 1000; ++i) sum = plus(sum, units(INT64_MAX, INT64_MAX));
  CHECK(sum == most_units);
  CHECK(rounded(sum) == Dollars::nanos(9'000'000'000LL * nano));
  for (int i = 0; i < 3000; ++i) sum = plus(sum, -units(INT64_MAX, INT64_MAX));
  CHECK(sum == -most_units);
}

TEST_CASE("a time is never negative") {
  CHECK(ms_between(5'000, 9'000) == 4);
  CHECK(ms_between(9'000, 5'000) == 0);
  CHECK(ms_between(0, INT64_MAX) == INT64_MAX / 1000);
  // Times that follow each other have no gap and no overlap, however they are cut.
  CHECK(ms_between(1'500, 2'900) + ms_between(2'900, 7'100) == ms_between(1'500, 7'100));
}

TEST_CASE("a run pays in proportion to what it takes of its type") {
  Amounts usual{4, 16, 2};
  CHECK(price_of_share(nano, usual, usual) == nano);
  CHECK(price_of_share(nano, {2, 8, 1}, usual) == nano / 2);
  CHECK(price_of_share(nano, {2, 8, 2}, usual) == nano);
  CHECK(price_of_share(nano, {4, 32, 1}, usual) == 2 * nano);
  CHECK(price_of_share(nano, {4, 32, 1}, {}) == nano);  // what is usual is not known
  CHECK(price_of_share(3, {1, 0, 0}, {2, 0, 0}) == 2);
  CHECK(price_of_share(INT64_MAX, {INT64_MAX, 0, 0}, {1, 0, 0}) == INT64_MAX);
  CHECK(price_of_share(nano, {-1, 0, 0}, {1, 0, 0}) == 0);
}

TEST_CASE("what is recorded is read again") {
  std::mt19937_64 random(7);
  auto any = [&] { return static_cast<std::int64_t>(random() >> (1 + random() % 63)); };
  std::string bytes;
  std::vector<CostEntry> entries;
  for (int i = 0; i < 1000; ++i) {
    CostEntry entry{random() % 2 == 0,
                    random() % 2 == 0,
                    any(),
                    any(),
                    any(),
                    any(),
                    any(),
                    any(),
                    any(),
                    any(),
                    any(),
                    {}};
    if (random() % 2 == 0) entry.on_demand = any();
    append(bytes, entry);
    entries.push_back(entry);
  }
  std::string_view rest = bytes;
  for (auto& entry : entries) {
    CostEntry read;
    read.on_demand = 5;
    REQUIRE(take(rest, read));
    REQUIRE(read == entry);
  }
  CostEntry none;
  CHECK(rest.empty());
  CHECK(!take(rest, none));
}

TEST_CASE("a record that is cut or damaged is known as such") {
  CostEntry entry{false, true, 7, 0, 1, 2, 3, 4, 1'800'000'000'000, 5000, 0, nano, 3 * nano};
  std::string bytes;
  append(bytes, entry);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    std::string_view cut(bytes.data(), length);
    CostEntry read;
    CHECK(!take(cut, read));
    CHECK(cut.size() == length);
  }
  for (std::string bad : {std::string(40, '\xff'), std::string("\x08") + bytes.substr(1)}) {
    std::string_view rest = bad;
    CostEntry read;
    CHECK(!take(rest, read));
    CHECK(!rest.empty());
  }
}
