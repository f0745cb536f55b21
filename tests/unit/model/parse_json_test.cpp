#include "catch.hpp"
#include "model/run.hpp"

using namespace spell;
using namespace spell::model;

namespace {

std::string message(std::string_view body) {
  auto parsed = parse_json(body);
  if (parsed) return "";
  CHECK(parsed.error().code() == "invalid_json");
  CHECK(parsed.error().message().find('\n') == std::string::npos);
  return parsed.error().message();
}

std::string nested(std::size_t depth, std::string_view open, std::string_view close) {
  std::string body;
  for (std::size_t i = 0; i < depth; ++i) body += open;
  body += "1";
  for (std::size_t i = 0; i < depth; ++i) body += close;
  return body;
}

}  // namespace

TEST_CASE("documents come out as nlohmann reads them") {
  for (
      std::string_view body :
      {R"({"a": [1, -2, 3.5, true, false, null, "\u00e4\n", {}], "b": {"c": [[], [{"d": 1}]]}, "": "x"})",
       R"([])", R"("text")", R"(0)", R"(null)",
       R"( [ 18446744073709551615 , -9223372036854775808 ] )",
       R"([[1,[2,{"a":[3]}],4],{"b":5,"a":6}])"}) {
    INFO(body);
    auto parsed = parse_json(body);
    REQUIRE(parsed);
    CHECK(*parsed == json::parse(body));
  }
}

TEST_CASE("broken JSON is refused with the place") {
  CHECK(message(R"({"a": 1,)").find("byte 9") != std::string::npos);
  CHECK(message(R"({"a" 1})").find("byte 6") != std::string::npos);
  for (std::string body :
       {"",    " ",   "{",     "[",       "]",        "{]",     "[1,]",    "{\"a\":1,}",
        "nul", "'a'", "{a:1}", "1 2",     "{} x",     "[01]",   "\"\\x\"", "\"\\ud800\"",
        "\"a", "NaN", "-",     "// c\n1", "\xef\xbb", "[1e999]"}) {
    INFO(body);
    CHECK_FALSE(message(body).empty());
  }
}

TEST_CASE("every cut of a document is refused or a document of its own, and never worse") {
  std::string_view body =
      R"({"command": "echo \u00e4", "env": {"A": "b"}, "after": [1, 22], "x": null})";
  for (std::size_t size = 0; size < body.size(); ++size)
    CHECK_FALSE(parse_json(body.substr(0, size)));
  CHECK(parse_json(body));
}

TEST_CASE("NUL bytes and invalid UTF-8 are refused") {
  CHECK_FALSE(message(std::string_view("{\"a\": \"x\0y\"}", 12)).empty());
  CHECK_FALSE(message(std::string_view("{\"a\0b\": 1}", 10)).empty());
  CHECK_FALSE(message(std::string_view("1\0", 2)).empty());
  CHECK(message(std::string_view("{}\0{", 4)).find("byte 3") != std::string::npos);
  for (std::string bytes :
       {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe4\xb8", "\x80"}) {
    CHECK_FALSE(message("{\"a\": \"" + bytes + "\"}").empty());
    CHECK_FALSE(message("{\"" + bytes + "\": 1}").empty());
  }
}

TEST_CASE("no member stands twice in an object, at any level") {
  CHECK(message(R"({"a": 1, "b": 2, "a": 1})").find("'a' stands there twice") != std::string::npos);
  CHECK(message(R"({"x": [{"b": {"c": 1, "\u0063": 2}}]})").find("'c' stands there twice") !=
        std::string::npos);
  CHECK(parse_json(R"({"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 1}]})"));
}

TEST_CASE("depth is limited, whatever the size") {
  CHECK(parse_json(nested(32, "[", "]")));
  CHECK(parse_json(nested(32, "{\"a\":", "}")));
  CHECK(message(nested(33, "[", "]")).find("32 levels") != std::string::npos);
  CHECK(message(nested(33, "{\"a\":", "}")).find("32 levels") != std::string::npos);
  CHECK_FALSE(message(std::string(1 << 20, '[')).empty());
}

TEST_CASE("size is limited") {
  std::string body = '"' + std::string((1 << 20) - 2, 'x') + '"';
  CHECK(parse_json(body));
  body.insert(1, "x");
  CHECK(parse_json(body).error().code() == "too_large");
  CHECK(parse_json(body, 2 << 20));
}
