#include "worker/log_shipper.hpp"

#include <fcntl.h>

#include "base/error.hpp"
#include "model/log.hpp"
#include "temporary_folder.hpp"

using namespace spell;
using namespace spell::worker;
using namespace spell::worker::testing;

namespace {

/// The service's side: takes whole frames that fit on, as its log store does.
struct Receiver {
  std::string bytes;
  int asked = 0, sent = 0;

  Result<std::int64_t> take(std::int64_t offset, const std::string& frames) {
    frames.empty() ? ++asked : ++sent;
    auto has = static_cast<std::int64_t>(bytes.size());
    if (offset != has) return has;
    model::FrameParser parser;
    parser.feed(frames);
    for (;;) {
      auto frame = parser.next();
      REQUIRE(frame);
      if (!*frame) break;
      CHECK((*frame)->header.kind == model::FrameKind::output);
      CHECK((*frame)->header.sequence == bytes.size());
      CHECK(!(*frame)->payload.empty());
      bytes += (*frame)->payload;
    }
    return static_cast<std::int64_t>(bytes.size());
  }
  LogShipper::Send send() {
    return [this](std::int64_t offset, std::string frames) { return take(offset, frames); };
  }
};

struct Spool {
  TemporaryFolder folder;
  std::string path = folder.path + "/spool", file, output;

  void write(const std::string& bytes, std::uint8_t flags = 0) {
    model::FrameHeader header;
    header.flags = flags;
    header.sequence = output.size();
    model::append_frame(file, header, bytes);
    output += bytes;
    store();
  }
  void write_end() {
    model::FrameHeader header;
    header.kind = model::FrameKind::end;
    model::append_frame(file, header, "code=0");
    store();
  }
  /// In place: the shipper keeps the file open.
  void store() {
    auto spool = base::open(path, O_WRONLY | O_CREAT);
    REQUIRE(spool);
    REQUIRE(base::pwrite_all(spool->get(), file, 0));
  }
  std::int64_t end() const { return static_cast<std::int64_t>(file.size()); }
};

void ship_all(LogShipper& shipper, Spool& spool, Receiver& receiver) {
  for (int i = 0; i < 100; ++i) {
    auto done = shipper.ship(spool.end(), receiver.send());
    REQUIRE(done);
    if (*done == static_cast<std::int64_t>(spool.output.size())) return;
  }
  FAIL("the log does not arrive");
}

}  // namespace

TEST_CASE("a log arrives whole, in batches of whole frames") {
  Spool spool;
  for (int i = 0; i < 40; ++i)
    spool.write(std::string(100'000, static_cast<char>('a' + i % 26)),
                i % 2 ? model::frame_stderr : 0);
  spool.write_end();
  Receiver receiver;
  LogShipper shipper(spool.path, true);
  ship_all(shipper, spool, receiver);
  CHECK(receiver.bytes == spool.output);
  CHECK(receiver.asked == 0);
  CHECK(receiver.sent == 4);
}

TEST_CASE("a frame of the greatest size fits into a batch") {
  Spool spool;
  for (int i = 0; i < 3; ++i) spool.write(std::string(model::frame_payload_limit, 'x'));
  Receiver receiver;
  LogShipper shipper(spool.path, true);
  ship_all(shipper, spool, receiver);
  CHECK(receiver.bytes == spool.output);
}

TEST_CASE("what is written later follows") {
  Spool spool;
  Receiver receiver;
  LogShipper shipper(spool.path, true);
  for (int i = 0; i < 5; ++i) {
    spool.write("line " + std::to_string(i) + "\n");
    ship_all(shipper, spool, receiver);
    CHECK(receiver.bytes == spool.output);
  }
  CHECK(receiver.sent == 5);
}

TEST_CASE("nothing beyond the end that was named is sent") {
  Spool spool;
  spool.write("one");
  auto end = spool.end();
  spool.write("two");
  Receiver receiver;
  LogShipper shipper(spool.path, true);
  REQUIRE(shipper.ship(end, receiver.send()));
  CHECK(receiver.bytes == "one");
}

TEST_CASE("a restarted worker asks what is there and goes on from any byte") {
  Spool spool;
  for (int i = 0; i < 6; ++i) spool.write("0123456789");
  spool.write_end();
  for (std::size_t has = 0; has <= spool.output.size(); ++has) {
    Receiver receiver;
    receiver.bytes = spool.output.substr(0, has);
    LogShipper shipper(spool.path, false);
    ship_all(shipper, spool, receiver);
    CHECK(receiver.asked == 1);
    CHECK(receiver.bytes == spool.output);
  }
}

TEST_CASE("a service that has less or more than was thought is followed") {
  Spool spool;
  for (int i = 0; i < 6; ++i) spool.write("0123456789");
  auto half = static_cast<std::int64_t>(spool.file.size()) / 2;
  for (std::size_t has : {0, 5, 20, 45}) {
    Receiver receiver;
    LogShipper shipper(spool.path, true);
    REQUIRE(shipper.ship(half, receiver.send()));
    receiver.bytes = spool.output.substr(0, has);
    ship_all(shipper, spool, receiver);
    CHECK(receiver.bytes == spool.output);
  }
}

TEST_CASE("a request that fails is sent again") {
  Spool spool;
  spool.write("hello\n");
  Receiver receiver;
  LogShipper shipper(spool.path, true);
  for (bool carried_out : {false, true}) {
    auto failed = shipper.ship(
        spool.end(), [&](std::int64_t offset, std::string frames) -> Result<std::int64_t> {
          if (carried_out) (void)receiver.take(offset, frames);
          return base::error("connection_lost", "cut");
        });
    CHECK(!failed);
  }
  ship_all(shipper, spool, receiver);
  CHECK(receiver.bytes == "hello\n");
}
