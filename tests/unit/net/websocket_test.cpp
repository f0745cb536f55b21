#include "net/websocket.hpp"

#include "catch.hpp"

using namespace spell;
using namespace spell::net;
using Kind = WireMessage::Kind;

namespace {

/// The error's code, or "" when all bytes were taken.
std::string feed(MessageReader& reader, std::string_view bytes, std::size_t step = SIZE_MAX) {
  while (!bytes.empty()) {
    auto piece = bytes.substr(0, step);
    bytes.remove_prefix(piece.size());
    if (auto fed = reader.feed(piece); !fed) return fed.error().code();
  }
  return {};
}

/// A frame of a server, its first byte given.
std::string frame(int first, std::string_view payload) {
  std::string out(1, static_cast<char>(first));
  out += static_cast<char>(payload.size());
  return out.append(payload);
}

}  // namespace

TEST_CASE("the answer to a key is the one that RFC 6455 gives as its example") {
  CHECK(upgrade_accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  CHECK(make_upgrade_key().size() == 24);
  CHECK(make_upgrade_key() != make_upgrade_key());
}

TEST_CASE("only a request that asks for a stream in the right way gets one") {
  std::string key = make_upgrade_key();
  CHECK(upgrade_key(upgrade_request(key)) == key);
  CHECK(upgrade_key({{"connection", "keep-alive, UPGRADE"},
                     {"upgrade", "WebSocket"},
                     {"sec-websocket-version", "13"},
                     {"sec-websocket-key", key}}) == key);
  for (std::size_t without = 0; without < 4; ++without) {
    Headers headers = upgrade_request(key);
    headers.erase(headers.begin() + static_cast<std::ptrdiff_t>(without));
    CHECK(upgrade_key(headers) == "");
  }
  CHECK(upgrade_key({{"Connection", "Upgrade"},
                     {"Upgrade", "websocket"},
                     {"Sec-WebSocket-Version", "8"},
                     {"Sec-WebSocket-Key", key}}) == "");
}

TEST_CASE("messages of every length arrive whole, however the bytes are cut") {
  for (bool masked : {false, true}) {
    for (std::size_t size : {0, 1, 125, 126, 127, 65535, 65536, 100'000}) {
      std::string payload(size, '\0');
      for (std::size_t i = 0; i < size; ++i) payload[i] = static_cast<char>(i * 31 % 251);
      std::string bytes;
      append_message(bytes, Kind::data, payload, masked);
      append_message(bytes, Kind::ping, "p", masked);
      for (std::size_t step : {std::size_t(1), std::size_t(7), SIZE_MAX}) {
        if (step == 1 && size > 1000) continue;
        MessageReader reader(masked);
        REQUIRE(feed(reader, bytes, step) == "");
        auto first = reader.next(), second = reader.next();
        REQUIRE((first && second));
        CHECK((first->kind == Kind::data && first->payload == payload));
        CHECK((second->kind == Kind::ping && second->payload == "p"));
        CHECK_FALSE(reader.next());
      }
    }
  }
}

TEST_CASE("a message in pieces is one message, also with a ping between them") {
  MessageReader reader(false);
  REQUIRE(feed(reader, frame(0x02, "one ") + frame(0x89, "?") + frame(0x00, "two ") +
                           frame(0x80, "three") + frame(0x88, "")) == "");
  CHECK(reader.next()->kind == Kind::ping);
  CHECK(reader.next()->payload == "one two three");
  CHECK(reader.next()->kind == Kind::close);
}

TEST_CASE("what breaks the rules ends the stream") {
  std::string masked;
  append_message(masked, Kind::data, "x", true);
  std::string long_control = frame(0x89, std::string(126, 'x'));
  for (auto& bytes : {frame(0xC2, "x"), frame(0x83, "x"), frame(0x8B, "x"), frame(0x80, "x"),
                      frame(0x02, "x") + frame(0x82, "y"), frame(0x09, "x"), masked,
                      std::string("\x82\x7e\x00\x05hello", 9),
                      std::string("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 10),
                      std::string("\x89\x7e\x00\x7e", 4)}) {
    MessageReader reader(false);
    CHECK(feed(reader, bytes) == "invalid_stream");
  }
  MessageReader of_clients(true);
  CHECK(feed(of_clients, frame(0x82, "x")) == "invalid_stream");
}

TEST_CASE("a message beyond the limit is refused before it is there") {
  MessageReader reader(false, 100);
  CHECK(feed(reader, std::string("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10)) ==
        "invalid_stream");
  MessageReader pieces(false, 100);
  CHECK(feed(pieces, frame(0x02, std::string(60, 'x'))) == "");
  CHECK(feed(pieces, frame(0x80, std::string(60, 'x'))) == "invalid_stream");
}
