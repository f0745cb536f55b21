// What may be spent of a budget, by period.
#include "sched/caps.hpp"

#include <random>

#include "box.hpp"
#include "catch.hpp"

using namespace spell::sched;
using spell::model::Units;
using spell::model::units;

namespace {

constexpr std::int64_t february = 1'769'904'000'000, march = 1'772'323'200'000;  // of 2026

}  // namespace

TEST_CASE("what is left is what is neither spent nor reserved") {
  Cap cap(units(10 * nano, hour), false);
  CHECK(cap.left(march) == units(10 * nano, hour));
  cap.reserve({march, march + 2 * hour, 3 * nano});
  CHECK(cap.left(0) == units(4 * nano, hour));
  CHECK(cap.pays_until({march, march + day, 2 * nano}) == march + 2 * hour);
  CHECK(cap.pays_until({march, march + hour, 2 * nano}) == march + hour);
  cap.give_back({march, march + 2 * hour, 3 * nano});
  cap.spend({march, march + hour, 3 * nano});
  CHECK(cap.spent(march) == units(3 * nano, hour));
  CHECK(cap.reserved(march) == 0);
  cap.spend({march, march + hour, 3 * nano}, true);
  CHECK(cap.left(march) == cap.amount());
  // What costs nothing is paid for ever, also of nothing.
  CHECK(Cap(0, false).pays_until({march, march + day, 0}) == march + day);
  CHECK(Cap(0, false).pays_until({march, march + day, 1}) == march);
  CHECK(cap.next_period(march) == INT64_MAX);
}

TEST_CASE("a month pays for its own part of a run") {
  Cap cap(units(nano, 10 * hour), true);
  CHECK(cap.period(march + day) == march);
  CHECK(cap.period(march - 1) == february);
  CHECK(cap.next_period(february) == march);
  Span over{march - 4 * hour, march + 6 * hour, nano};
  cap.reserve(over);
  CHECK(cap.reserved(march - 1) == units(nano, 4 * hour));
  CHECK(cap.reserved(march) == units(nano, 6 * hour));
  CHECK(cost_of(cap.part_at(over, march)) == units(nano, 6 * hour));
  CHECK(cost_of(cap.part_at(over, march - 1)) == units(nano, 4 * hour));
  CHECK(cost_of(cap.part_at(over, march + 40 * day)) == 0);
  // February has six hours left, March four.
  CHECK(cap.pays_until({march - 6 * hour, march + 10 * hour, nano}) == march + 4 * hour);
  CHECK(cap.pays_until({march - 7 * hour, march + 10 * hour, nano}) == march - hour);
}

TEST_CASE("however spans are reserved, no period has more than its amount") {
  std::mt19937 random(7);
  for (bool monthly : {false, true}) {
    Cap cap(units(nano, 700 * hour), monthly);
    std::vector<Span> held;
    for (int step = 0; step < 20'000; ++step) {
      std::int64_t from = february + static_cast<std::int64_t>(random() % 80) * day;
      Span span{from, from + static_cast<std::int64_t>(random() % (40 * day)),
                static_cast<std::int64_t>(random() % (3 * nano))};
      if (random() % 2 == 0 || held.empty()) {
        span.to_ms = cap.pays_until(span);
        REQUIRE(span.to_ms >= span.from_ms);
        cap.reserve(span);
        held.push_back(span);
      } else {
        auto at = random() % held.size();
        cap.give_back(held[at]);
        // It has used a part of it, or all.
        auto used = held[at];
        used.to_ms =
            used.from_ms +
            static_cast<std::int64_t>(random() % static_cast<std::uint32_t>(std::max<std::int64_t>(
                                                     1, used.to_ms - used.from_ms)));
        bool taken_back = random() % 4 != 0;
        cap.spend(used);
        if (taken_back) cap.spend(used, true);
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
      }
      for (std::int64_t at = february; at < february + 150 * day; at += 29 * day)
        REQUIRE(cap.left(at) >= 0);
    }
    Units reserved = 0, known = 0;
    for (auto& span : held) reserved += cost_of(span);
    std::map<std::int64_t, Units> periods;
    for (std::int64_t at = february; at < february + 150 * day; at += day)
      periods[cap.period(at)] = cap.reserved(at);
    for (auto& [begin, sum] : periods) known += sum;
    CHECK(known == reserved);
  }
}
