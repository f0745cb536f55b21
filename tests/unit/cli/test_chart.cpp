#include "catch.hpp"
#include "chart.hpp"

#include <limits>

using namespace spell::cli;

TEST_CASE("a curve has its bounds beside it") {
  auto text = chart({{0, 1}, {1, 2}, {2, 3}, {3, 4}}, {.width = 20, .height = 5, .utf8 = false});
  CHECK(text ==
        "4 |              ***\n"
        "  |        ******\n"
        "  |   *****\n"
        "1 |***\n"
        "   0               3\n");
}

TEST_CASE("nothing but what is finite is drawn") {
  CHECK(chart({}, {}).empty());
  CHECK(chart({{0, std::numeric_limits<double>::quiet_NaN()}}, {}).empty());
  auto one = chart({{7, 0.5}}, {.width = 20, .height = 4, .utf8 = true});
  CHECK(one.find("0.5") != std::string::npos);
  CHECK(one.find('7') != std::string::npos);
}

TEST_CASE("numbers are as short as four digits allow") {
  CHECK(format_number(0.25) == "0.25");
  CHECK(format_number(12345678) == "1.235e+07");
  CHECK(format_number(-0.0) == "-0");
}
