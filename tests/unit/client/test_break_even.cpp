// After how many hours a machine of one's own is cheaper.
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "spell/catalogue.hpp"

using namespace spell;

TEST_CASE("the hours of a desktop with a 2080 Ti against a spot V100") {
  // 2000 / 0.918 * 1.25 = 2723.3
  auto even = break_even({.purchase = Dollars(2000), .throughput = 0.8}, Dollars(0.918), 1).value();
  CHECK(std::lround(even.hours) == 2723);
  CHECK(even.replaces == Dollars(0.7344));
  CHECK((!even.days && !even.own && even.power == Dollars(0)));
  // On demand, about a third of that.
  even = break_even({.purchase = Dollars(2000), .throughput = 0.8}, Dollars(3.06), 1).value();
  CHECK(std::lround(even.hours) == 817);
  // As fast as the type, where one of the two is not known.
  CHECK(break_even({.purchase = Dollars(2000)}, Dollars(2), 1)->hours == 1000);
  CHECK(break_even({.purchase = Dollars(2000), .throughput = 3}, Dollars(2))->hours == 1000);
}

TEST_CASE("share of use makes days of the hours, and years a price of an hour") {
  OwnMachine own{.purchase = Dollars(2000), .throughput = 0.8, .years = 3, .share = 0.33};
  auto even = break_even(own, Dollars(0.918), 1).value();
  CHECK(std::lround(*even.days) == 344);  // within the year
  CHECK(even.own->nano == Approx(2000e9 / (3 * 8766 * 0.33)).epsilon(1e-7));
  own.share = 0;  // all the time
  even = break_even(own, Dollars(0.918), 1).value();
  CHECK(even.own->nano == Approx(2000e9 / (3 * 8766)).epsilon(1e-7));
  CHECK(!even.days);
}

TEST_CASE("power is included when it is given") {
  OwnMachine own{
      .purchase = Dollars(2000), .throughput = 0.8, .watts = 450, .electricity = Dollars(0.30)};
  auto even = break_even(own, Dollars(0.918), 1).value();
  CHECK(even.power == Dollars(0.135));
  CHECK(even.hours == Approx(2000 / (0.7344 - 0.135)));
  own.watts = 10'000;
  even = break_even(own, Dollars(0.918), 1).value();
  CHECK(std::isinf(even.hours));
  CHECK(!even.days);
}

TEST_CASE("figures that no machine has are refused") {
  auto refused = [](const OwnMachine& own, Dollars price = Dollars(1), double type = 1) {
    auto even = break_even(own, price, type);
    return !even && even.error().code() == "invalid_request";
  };
  CHECK(refused({}));
  CHECK(refused({.purchase = Dollars(-1)}));
  CHECK(refused({.purchase = Dollars(1), .throughput = -1}));
  CHECK(refused({.purchase = Dollars(1), .years = -1}));
  CHECK(refused({.purchase = Dollars(1), .watts = -1}));
  CHECK(refused({.purchase = Dollars(1), .electricity = Dollars(-1)}));
  CHECK(refused({.purchase = Dollars(1), .share = 1.01}));
  CHECK(refused({.purchase = Dollars(1), .share = std::numeric_limits<double>::quiet_NaN()}));
  CHECK(refused({.purchase = Dollars(1)}, Dollars(0)));
  CHECK(refused({.purchase = Dollars(1)}, Dollars(1), -1));
  CHECK(refused({.purchase = Dollars(1), .throughput = 1e300}, Dollars(1), 1e-300));
}
