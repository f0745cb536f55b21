#include "since.hpp"

#include "catch.hpp"
#include "text.hpp"

using namespace spell;
using namespace spell::cli;

namespace {

/// 2026-03-15T12:30:00Z
const Time now = Time(std::chrono::seconds(1'773'577'800));

std::string since(std::string_view text) {
  auto time = parse_since(text, now);
  return time ? format_timestamp(*time).substr(0, 19) : "";
}

}  // namespace

TEST_CASE("times that people name") {
  CHECK(since("90s") == "2026-03-15T12:28:30");
  CHECK(since("30m") == "2026-03-15T12:00:00");
  CHECK(since("24h") == "2026-03-14T12:30:00");
  CHECK(since("7d") == "2026-03-08T12:30:00");
  CHECK(since("2w") == "2026-03-01T12:30:00");
  CHECK(since("0s") == "2026-03-15T12:30:00");
  CHECK(since("today") == "2026-03-15T00:00:00");
  CHECK(since("month") == "2026-03-01T00:00:00");
  CHECK(since("2026-02-28") == "2026-02-28T00:00:00");
  CHECK(since("2026-03-15T12:29:59Z") == "2026-03-15T12:29:59");
  CHECK(since("1970-01-01") == "1970-01-01T00:00:00");
}

TEST_CASE("what is no time that has been is none") {
  for (const char* bad : {"",
                          "d",
                          "7",
                          "7 d",
                          "-7d",
                          "+7d",
                          "7.5d",
                          "7y",
                          "99999999999999999999d",
                          "9223372036854775807w",
                          "1000000d",
                          "2026-02-29",
                          "2026-13-01",
                          "2026-00-10",
                          "2026-3-1",
                          "2027-01-01",
                          "1969-12-31",
                          "2026-03-15T12:30:01Z",
                          "2026-03-15T24:00:00Z",
                          "2026-03-15T12:30",
                          "2026-03-15 12:29:59Z",
                          "0000-01-01",
                          "9999-12-31",
                          "-999-01-01",
                          "yesterday",
                          "Month",
                          "\xff\xff-01-01"})
    CHECK(since(bad) == "");
}
