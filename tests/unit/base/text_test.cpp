#include "base/text.hpp"

#include "catch.hpp"

using namespace spell::base;

TEST_CASE("valid text is UTF-8 without NUL, overlong forms and surrogates") {
  for (std::string good :
       {"", "abc", "\x7f\x01", "ä", "€", "😀", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80"})
    CHECK(valid_text(good));
  for (std::string bad :
       {std::string("\0", 1), std::string("a\0b", 3), std::string("\x80"), std::string("\xc0\x80"),
        std::string("\xc1\xbf"), std::string("\xe0\x9f\xbf"), std::string("\xed\xa0\x80"),
        std::string("\xf0\x8f\xbf\xbf"), std::string("\xf4\x90\x80\x80"),
        std::string("\xf5\x80\x80\x80"), std::string("\xff"), std::string("\xe4\xb8"),
        std::string("\xc3"), std::string("a\xc3(")})
    CHECK_FALSE(valid_text(bad));
}

TEST_CASE("bytes that are no UTF-8 are replaced one by one, the rest stays") {
  CHECK(to_utf8("plain ä") == "plain ä");
  CHECK(to_utf8("a\xff"
                "b") ==
        "a\xEF\xBF\xBD"
        "b");
  CHECK(to_utf8("\xe4\xb8") == "\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(to_utf8(std::string_view("\0", 1)) == std::string(1, '\0'));
}

TEST_CASE("split, trim, join") {
  CHECK(split("a,b,,c", ',') == std::vector<std::string>{"a", "b", "", "c"});
  CHECK(split("", ',') == std::vector<std::string>{""});
  CHECK(split(",", ',') == std::vector<std::string>{"", ""});
  CHECK(trim(" \t\na b\r\n") == "a b");
  CHECK(trim(" \n ") == "");
  CHECK(join({"a", "", "b"}, ", ") == "a, , b");
  CHECK(join({}, ", ") == "");
  CHECK(join({"a", "a"}, "-") == "a-a");
}

TEST_CASE("whole numbers only") {
  CHECK(parse_int("0") == 0);
  CHECK(parse_int("-9223372036854775808") == INT64_MIN);
  for (auto bad : {"", " 1", "1 ", "+1", "1.0", "0x1", "9223372036854775808", "--1", "1e3"}) {
    INFO(bad);
    CHECK_FALSE(parse_int(bad));
  }
}

TEST_CASE("sizes with units") {
  CHECK(parse_size("512") == 512);
  CHECK(parse_size("512B") == 512);
  CHECK(parse_size("10K") == 10 << 10);
  CHECK(parse_size("10KiB") == 10 << 10);
  CHECK(parse_size("10kb") == 10 << 10);
  CHECK(parse_size("2G") == 2LL << 30);
  CHECK(parse_size("8388607T") == 8388607LL << 40);
  for (auto bad :
       {"", "K", "1.5G", "1X", "1 G", "-1K", "1KBs", "8388608T", "99999999999999999999"}) {
    INFO(bad);
    CHECK_FALSE(parse_size(bad));
  }
}

TEST_CASE("sizes for people") {
  CHECK(format_size(0) == "0 B");
  CHECK(format_size(1023) == "1023 B");
  CHECK(format_size(1536) == "1.5 KiB");
  CHECK(format_size((1 << 20) - 1) == "1.0 MiB");
  CHECK(format_size(INT64_MAX) == "8.0 EiB");
}

TEST_CASE("a quoted word is one word for a shell") {
  CHECK(shell_quote("train.py") == "train.py");
  CHECK(shell_quote("") == "''");
  CHECK(shell_quote("a b") == "'a b'");
  CHECK(shell_quote("it's") == "'it'\\''s'");
  CHECK(shell_quote("$(x)") == "'$(x)'");
  CHECK(shell_quote("*") == "'*'");
  CHECK(shell_quote("~") == "'~'");
}

TEST_CASE("names") {
  for (auto good : {"a", "V100x4", "a.b_c-d", "_x", "9"}) CHECK(valid_name(good));
  CHECK(valid_name(std::string(64, 'a')));
  CHECK_FALSE(valid_name(std::string(65, 'a')));
  for (auto bad : {"", "-a", ".a", "a b", "a/b", "ä", "a\n", "a:b"}) CHECK_FALSE(valid_name(bad));
  CHECK_FALSE(valid_name(std::string_view("a\0b", 3)));
}

TEST_CASE("relative paths that stay where they are") {
  for (auto good : {"", "a", "a/b.c", "...", "a/..b", ".hidden/x", "ä b"})
    CHECK(safe_relative_path(good));
  for (auto bad : {"/", "/a", "..", "a/..", "../a", "a/../b", ".", "./a", "a//b", "a/"}) {
    INFO(bad);
    CHECK_FALSE(safe_relative_path(bad));
  }
  CHECK_FALSE(safe_relative_path(std::string_view("a\0b", 3)));
  CHECK_FALSE(safe_relative_path(std::string(256, 'a')));
}
