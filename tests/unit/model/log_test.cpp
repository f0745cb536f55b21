#include "model/log.hpp"

#include "base/hash.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::model;

namespace {

std::string frame(FrameKind kind, std::uint8_t flags, std::uint64_t sequence, std::int64_t time_us,
                  std::string_view payload) {
  std::string out;
  append_frame(out, {0, kind, flags, sequence, time_us}, payload);
  return out;
}

std::string error_of(std::string bytes, std::size_t at, char value) {
  bytes[at] = value;
  auto header = parse_frame_header(std::string_view(bytes).substr(0, frame_header_size));
  return header ? "" : header.error().code();
}

}  // namespace

// The format is kept on disks and on the wire: these bytes must never change.
TEST_CASE("golden frames of log v1") {
  CHECK(base::hex(frame(FrameKind::output, 0, 0x0102030405060708, 1'700'000'000'123'456, "hi\n")) ==
        "03000000"
        "01"
        "00"
        "0000"
        "0807060504030201"
        "40222018240a0600"
        "68690a");
  CHECK(base::hex(frame(FrameKind::status, frame_important, 1, -1,
                        std::string_view("running\0Run is running", 22))) ==
        "16000000"
        "02"
        "02"
        "0000"
        "0100000000000000"
        "ffffffffffffffff"
        "72756e6e696e6700"
        "52756e2069732072756e6e696e67");
  CHECK(base::hex(frame(FrameKind::system, frame_stderr | frame_important, 0, 0, "")) ==
        "00000000"
        "03"
        "03"
        "0000"
        "0000000000000000"
        "0000000000000000");
  CHECK(base::hex(frame(FrameKind::end, 0, 0, 0, "")) ==
        "00000000"
        "04"
        "00"
        "0000"
        "0000000000000000"
        "0000000000000000");
}

TEST_CASE("a header is read back as it was written") {
  auto bytes = frame(FrameKind::output, frame_stderr, UINT64_MAX, INT64_MIN, "abc");
  auto header = parse_frame_header(bytes);
  REQUIRE(header);
  CHECK(header->size == 3);
  CHECK(header->kind == FrameKind::output);
  CHECK(header->flags == frame_stderr);
  CHECK(header->sequence == UINT64_MAX);
  CHECK(header->time_us == INT64_MIN);
}

TEST_CASE("malformed headers are refused") {
  auto good = frame(FrameKind::output, 0, 5, 6, "x");
  CHECK(error_of(good, 4, 1) == "");
  CHECK(error_of(good, 4, 0) == "bad_frame");
  CHECK(error_of(good, 4, 5) == "bad_frame");
  CHECK(error_of(good, 5, 4) == "bad_frame");
  CHECK(error_of(good, 6, 1) == "bad_frame");
  CHECK(error_of(good, 7, 1) == "bad_frame");
  CHECK(error_of(good, 3, 1) == "bad_frame");
  CHECK(parse_frame_header(std::string_view(good).substr(0, 23)).error().code() == "bad_frame");
}

TEST_CASE("the largest payload is allowed, one byte more is not") {
  FrameHeader header;
  char bytes[frame_header_size];
  header.size = frame_payload_limit;
  put_frame_header(bytes, header);
  CHECK(parse_frame_header({bytes, sizeof bytes}));
  header.size = frame_payload_limit + 1;
  put_frame_header(bytes, header);
  CHECK_FALSE(parse_frame_header({bytes, sizeof bytes}));
}

TEST_CASE("frames are cut out of a stream that arrives in pieces of any size") {
  std::string stream = frame(FrameKind::output, 0, 0, 1, "one") +
                       frame(FrameKind::status, 0, 1, 2, std::string("a\0b", 3)) +
                       frame(FrameKind::output, 0, 3, 3, "") +
                       frame(FrameKind::output, 0, 3, 4, std::string(1000, 'x'));
  for (std::size_t piece = 1; piece <= stream.size(); piece += piece < 64 ? 1 : 101) {
    FrameParser parser;
    std::vector<std::string> payloads;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      parser.feed(std::string_view(stream).substr(at, piece));
      for (;;) {
        auto next = parser.next();
        REQUIRE(next);
        if (!*next) break;
        payloads.emplace_back((*next)->payload);
      }
    }
    REQUIRE(payloads ==
            std::vector<std::string>{"one", std::string("a\0b", 3), "", std::string(1000, 'x')});
  }
}

TEST_CASE("payloads live until more bytes are fed") {
  FrameParser parser;
  parser.feed(frame(FrameKind::output, 0, 0, 0, "first") +
              frame(FrameKind::output, 0, 5, 0, "second"));
  auto first = parser.next(), second = parser.next();
  CHECK((*first)->payload == "first");
  CHECK((*second)->payload == "second");
}

TEST_CASE("a parser reports a bad frame and does not get past it") {
  FrameParser parser;
  auto bad = frame(FrameKind::output, 0, 0, 0, "x");
  bad[4] = 9;
  parser.feed(frame(FrameKind::output, 0, 0, 0, "good") + bad +
              frame(FrameKind::output, 0, 4, 0, "later"));
  CHECK((*parser.next())->payload == "good");
  CHECK(parser.next().error().code() == "bad_frame");
  CHECK(parser.next().error().code() == "bad_frame");
}

TEST_CASE("log cursors") {
  CHECK(LogCursor{}.text() == "0.0");
  CHECK(LogCursor{12, 3}.text() == "12.3");
  auto cursor = LogCursor::parse("9007199254740991.7");
  REQUIRE(cursor);
  CHECK(cursor->bytes == 9007199254740991);
  CHECK(cursor->entries == 7);
  for (auto bad : {"", ".", "1", "1.", ".1", "1.2.3", "-1.0", "0.-1", "1.2 ", "a.b",
                   "99999999999999999999.0", "0x1.0"}) {
    INFO(bad);
    CHECK_FALSE(LogCursor::parse(bad));
  }
}
