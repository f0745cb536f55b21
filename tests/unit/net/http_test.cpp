#include "net/http.hpp"
#include "catch.hpp"
#include "net/parser.hpp"

using namespace spell;
using namespace spell::net;
using namespace std::string_literals;

TEST_CASE("header names are compared without case") {
  Headers headers = {{"Content-Type", "a"}, {"X-Two", "b"}, {"x-two", "c"}};
  CHECK(find_header(headers, "content-type") == "a");
  CHECK(find_header(headers, "X-TWO") == "b");
  CHECK(find_header(headers, "X-Tw") == "");
}

TEST_CASE("a target is decoded into segments and parameters") {
  auto target = parse_target("/v1//owners/a%20b+c/%E2%9C%93?x=1+2%2B&empty&=v&y=%26#part");
  REQUIRE(target);
  CHECK(target->segments == std::vector<std::string>{"v1", "owners", "a b+c", "\xE2\x9C\x93"});
  CHECK(target->query ==
        std::map<std::string, std::string>{{"x", "1 2+"}, {"empty", ""}, {"", "v"}, {"y", "&"}});
  CHECK(parse_target("/")->segments.empty());
  CHECK(parse_target("/..a/b.")->segments == std::vector<std::string>{"..a", "b."});
}

TEST_CASE("hostile targets are refused") {
  for (std::string text : {""s,       "v1"s,       "*"s,         "http://h/v1"s,    "/a/../b"s,
                           "/."s,     "/.."s,      "/%2e%2e/b"s, "/%2E./b"s,        "/a%2fb"s,
                           "/a%2Fb"s, "/%"s,       "/%4"s,       "/%zz"s,           "/%00"s,
                           "/a\0b"s,  "/%ff"s,     "/\xff"s,     "/%c0%ae%c0%ae/"s, "/%ed%a0%80"s,
                           "/a?x=%"s, "/a?%00=1"s, "/a?x=%fe"s,  "/a?x=1&x=2"s}) {
    CAPTURE(text);
    auto target = parse_target(text);
    REQUIRE(!target);
    CHECK(target.error().code() == "invalid_path");
  }
}

TEST_CASE("what is encoded is decoded to itself") {
  std::string all;
  for (int c = 1; c < 128; ++c)
    if (c != '/') all += static_cast<char>(c);
  all += "\xC3\xA4";
  auto target = parse_target("/" + percent_encode(all) + "?" + percent_encode(all) + "=" +
                             percent_encode(all));
  REQUIRE(target);
  CHECK(target->segments == std::vector<std::string>{all});
  CHECK(target->query == std::map<std::string, std::string>{{all, all}});
}

namespace {

struct Parsed {
  MessageHead head;
  std::string body, rest;
  bool done = false;
};

/// Feeds the bytes in pieces of `size`.
Result<Parsed> parse(MessageParser::Kind kind, std::string_view bytes, std::size_t size,
                     std::size_t limit = 1024) {
  MessageParser parser(kind, limit);
  Parsed out;
  std::string pending;
  while (!bytes.empty() && !parser.done()) {
    pending += bytes.substr(0, size);
    bytes.remove_prefix(std::min(size, bytes.size()));
    while (!parser.done()) {
      auto step = parser.feed(pending);
      if (!step) return step.error();
      out.body += step->body;
      pending.erase(0, step->used);
      if (step->used == 0) break;
    }
  }
  out.rest = pending + std::string(bytes);
  out.done = parser.done() || parser.finish();
  out.head = parser.head();
  return out;
}

using Parse = MessageParser::Kind;

}  // namespace

TEST_CASE("a message is the same however its bytes are cut") {
  std::string sized =
      "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nX-E: \r\n\r\nhello world";
  std::string chunked =
      "POST /a?b=c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-E: \r\n\r\n"
      "5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\nTrailer: t\r\n\r\n";
  for (auto& message : {sized, chunked})
    for (std::size_t size = 1; size <= message.size(); ++size) {
      CAPTURE(message, size);
      auto parsed = parse(Parse::request, message, size);
      REQUIRE(parsed);
      CHECK(parsed->done);
      CHECK(parsed->body == "hello world");
      CHECK(parsed->rest == "");
      CHECK(parsed->head.method == "POST");
      CHECK(parsed->head.target == "/a?b=c");
      CHECK(parsed->head.headers.size() == 3);
      CHECK(parsed->head.keep_alive);
    }
}

TEST_CASE("a message cut short is never done") {
  for (std::string message :
       {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"})
    for (std::size_t size = 0; size < message.size(); ++size) {
      CAPTURE(message, size);
      auto parsed = parse(Parse::request, std::string_view(message).substr(0, size), 7);
      CHECK((!parsed || !parsed->done));
    }
}

TEST_CASE("an answer without a length ends with its connection") {
  auto parsed = parse(Parse::response, "HTTP/1.1 200 OK\r\n\r\nabc", 4);
  REQUIRE(parsed);
  CHECK(parsed->done);
  CHECK(parsed->body == "abc");
  CHECK(!parsed->head.keep_alive);
  CHECK(parse(Parse::response_to_head, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 99)->done);
}

TEST_CASE("malformed messages are refused") {
  for (std::string text :
       {"\0\0\0\0"s, "GARBAGE\r\n\r\n"s, "GET / HTTP/2.0\r\n\r\n"s,
        "GET / HTTP/1.1\r\nNo colon\r\n\r\n"s, "GET / HTTP/1.1\r\nA b: c\r\n\r\n"s,
        "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"s, "GET /\x01 HTTP/1.1\r\n\r\n"s,
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"s,
        "GET / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n"s,
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"s,
        "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"s,
        "GET / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n"s,
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"s,
        "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"s,
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"s,
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"s,
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"s,
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n"s,
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n"s}) {
    CAPTURE(text);
    auto parsed = parse(Parse::request, text, text.size());
    REQUIRE(!parsed);
    CHECK(parsed.error().code() == "invalid_request");
  }
}

TEST_CASE("heads and chunk heads have a limit, however they come") {
  std::string field = "A: 0123456789\r\n", long_head = "GET / HTTP/1.1\r\n", long_trailer;
  for (int i = 0; i < 100; ++i) long_head += field;
  std::string chunked = "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (auto& text :
       {long_head + "\r\n", "GET /" + std::string(2000, 'a') + " HTTP/1.1\r\n\r\n", long_head,
        chunked + "1;" + std::string(5000, 'x'), chunked + "0\r\n" + long_head})
    for (std::size_t size : {std::size_t(1), std::size_t(50), text.size()}) {
      CAPTURE(text.substr(0, 30), size);
      auto parsed = parse(Parse::request, text, size);
      REQUIRE(!parsed);
      CHECK(parsed.error().code() == "headers_too_large");
    }
}
