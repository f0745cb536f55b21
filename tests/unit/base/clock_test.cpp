#include "base/clock.hpp"

#include "catch.hpp"

using namespace spell::base;

TEST_CASE("times as text and back") {
  CHECK(rfc3339(0) == "1970-01-01T00:00:00.000000Z");
  CHECK(rfc3339(1'700'000'000'123'456) == "2023-11-14T22:13:20.123456Z");
  CHECK(rfc3339(-1) == "1969-12-31T23:59:59.999999Z");
  CHECK(rfc3339(951'782'400'000'000) == "2000-02-29T00:00:00.000000Z");
  for (std::int64_t us :
       {INT64_C(0), INT64_C(-1), INT64_C(1'700'000'000'123'456), INT64_C(253'402'300'799'999'999)})
    CHECK(parse_rfc3339(rfc3339(us)) == us);
}

TEST_CASE("fractions of any length up to nanoseconds") {
  CHECK(parse_rfc3339("1970-01-01T00:00:01Z") == 1'000'000);
  CHECK(parse_rfc3339("1970-01-01T00:00:01.5Z") == 1'500'000);
  CHECK(parse_rfc3339("1970-01-01T00:00:01.000001Z") == 1'000'001);
  CHECK(parse_rfc3339("1970-01-01T00:00:01.123456789Z") == 1'123'456);
}

TEST_CASE("what is no time in UTC is refused") {
  for (auto bad : {"", "now", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01 00:00:00Z",
                   "1970-13-01T00:00:00Z", "1970-00-01T00:00:00Z", "1970-01-32T00:00:00Z",
                   "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z", "1970-01-01T00:00:00+01:00",
                   "1970-01-01T00:00:00.12a456Z", "1970-01-01T00:00:00,5Z", "x970-01-01T00:00:00Z",
                   "1970-01-01T00:00:00.0123456789Z", " 1970-01-01T00:00:00Z"}) {
    INFO(bad);
    CHECK_FALSE(parse_rfc3339(bad));
  }
}

TEST_CASE("the clocks go forward") {
  auto boot = boot_ns(), unix_time = unix_us();
  CHECK(boot_ns() >= boot);
  CHECK(boot > 0);
  CHECK(unix_time > 1'600'000'000'000'000);
}
