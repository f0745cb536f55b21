#include "text.hpp"

#include "catch.hpp"
#include "terminal.hpp"
#include "user_unit.hpp"

using namespace spell::cli;
using namespace std::chrono_literals;

TEST_CASE("sizes") {
  CHECK(format_size(0) == "0 B");
  CHECK(format_size(1023) == "1023 B");
  CHECK(format_size(1536) == "1.5 KiB");
  CHECK(format_size(300LL << 20) == "300 MiB");
  CHECK(parse_size("512") == 512);
  CHECK(parse_size("10K") == 10240);
  CHECK(parse_size("1gib") == std::nullopt);
  CHECK(parse_size("1GiB") == 1 << 30);
  CHECK(parse_size("2g") == 2LL << 30);
  for (const char* bad : {"", "K", "-1", "1.5G", "1Q", "1KX", "9999999999999999999"})
    CHECK_FALSE(parse_size(bad));
}

TEST_CASE("durations") {
  CHECK(format_duration(3'240ms) == "3.2s");
  CHECK(format_duration(245s) == "4m 05s");
  CHECK(format_duration(7500s) == "2h 05m");
  CHECK(parse_minutes("1.5") == 90s);
  CHECK(parse_minutes("0.001") == 1s);
  for (const char* bad : {"", "0", "-1", "x", "1m", "inf", "nan", "1e300"})
    CHECK_FALSE(parse_minutes(bad));
}

TEST_CASE("what others wrote cannot steer the terminal") {
  CHECK(printable("a\x1b[31mb\nc\td\x7f") == "a [31mb c d ");
  CHECK(printable("\xff\xc3\xa4\xc2\x9b") == "?ä ");
  CHECK(printable("\xe2\x82") == "??");
}

TEST_CASE("width and truncation count columns, not bytes") {
  CHECK(display_width("äöü") == 3);
  CHECK(display_width("日本") == 4);
  CHECK(display_width("✨ x") == 4);
  CHECK(truncate("hello", 5, "…") == "hello");
  CHECK(truncate("hello", 4, "…") == "hel…");
  CHECK(truncate("hello", 4, "...") == "h...");
  CHECK(truncate("日本語", 5, "…") == "日本…");
  CHECK(truncate("日本語", 4, "…") == "日…");
}

TEST_CASE("ASCII fallbacks") { CHECK(to_ascii("a… ä") == "a... ?"); }

TEST_CASE("the locale decides about UTF-8, the strongest variable first") {
  CHECK(locale_is_utf8(nullptr, nullptr, "C.UTF-8"));
  CHECK(locale_is_utf8("de_DE.utf8", nullptr, nullptr));
  CHECK_FALSE(locale_is_utf8("C", nullptr, "C.UTF-8"));
  CHECK(locale_is_utf8("", "", "en_US.UTF-8"));
  CHECK_FALSE(locale_is_utf8(nullptr, nullptr, nullptr));
}

TEST_CASE("names that are near") {
  CHECK(nearest("pss", {"ps", "cp", "stop"}) == "ps");
  CHECK(nearest("sotp", {"ps", "stop", "status"}) == "stop");
  CHECK(nearest("stat", {"ps", "stop", "status"}) == "status");
  CHECK(nearest("zzz", {"ps", "cp", "stop"}).empty());
}

TEST_CASE("plurals and lists") {
  CHECK(count(1, "file") == "1 file");
  CHECK(count(2, "repository") == "2 repositories");
  CHECK(count(2, "day") == "2 days");
  CHECK(join_some({"a", "b"}) == "a, b");
  CHECK(join_some({"a", "b", "c", "d", "e"}) == "a, b, c and 2 more");
}

TEST_CASE("a unit quotes what systemd would interpret") {
  std::string unit = user_unit("/opt/a b/spelld", "/home/50%/$x\"");
  CHECK(
      unit.find(
          "ExecStart=\"/opt/a b/spelld\" serve --personal --spell-dir \"/home/50%%/$$x\\\"\"\n") !=
      std::string::npos);
  CHECK(unit.find("KillMode=process\n") != std::string::npos);
}
