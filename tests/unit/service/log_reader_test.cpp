// One log out of two sources: output and events arrive apart from each other, in any order.
#include "service/log_reader.hpp"

#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::service;

namespace {

const std::string run(32, 'a');

/// A run of which the service has been told more than it has the output of.
struct ReadingHouse {
  std::string folder = "/tmp/spell-reader-" + base::hex(base::random_bytes(6));
  std::optional<store::Writer> writer;
  std::optional<LogStore> logs;
  std::optional<Readers> readers;
  Hub hub;

  ReadingHouse() {
    ::alarm(30);  // a reader that spins would never give the thread back
    REQUIRE(base::make_folders(folder));
    auto opened = store::Writer::open(folder + "/spell.db");
    REQUIRE(opened);
    writer.emplace(std::move(*opened));
    logs.emplace(folder + "/logs");
    readers.emplace(folder + "/spell.db");
    store::RunRecord record;
    record.id = run;
    record.owner = "ada";
    record.number = 1;
    record.status = "running";
    record.started_us = 1;
    change([&] { return writer->insert_run(record); });
    event(1, "running", 0);
  }
  ~ReadingHouse() {
    ::alarm(0);
    (void)base::remove_tree(folder);
  }

  template <class Change>
  void change(Change&& what) {
    REQUIRE(writer->begin());
    REQUIRE(what());
    REQUIRE(writer->commit());
    hub.notify(run);
  }
  void event(std::int64_t number, const std::string& status, std::int64_t behind) {
    store::Event event;
    event.number = number;
    event.status = status;
    event.text = "now " + status;
    event.step = true;
    event.log_offset = behind;
    change([&] { return writer->add_event(run, event); });
  }
  void end() {
    auto record = writer->find_run(run).value().value();
    record.status = "interrupted";
    change([&] { return writer->update_run(record); });
  }
  void output(std::int64_t offset, const std::string& text) {
    model::FrameHeader header;
    header.sequence = static_cast<std::uint64_t>(offset);
    header.time_us = 100;
    std::string frames;
    model::append_frame(frames, header, text);
    REQUIRE(logs->append(run, offset, frames, 0));
    hub.notify(run);
  }
};

/// Reads as the network does: asks for a piece, and gets it now, later, or never.
struct Client {
  std::shared_ptr<LogReader> reader;
  std::string text;
  bool waits = false, ended = false;

  Client(ReadingHouse& house, bool follow) {
    LogQuery query;
    query.run = run;
    query.number = 1;
    query.format = LogFormat::text;
    query.follow = follow;
    reader = std::make_shared<LogReader>(*house.readers, *house.logs, house.hub, query);
  }
  /// Until the end, or until there is nothing now.
  void read() {
    while (!waits && !ended) {
      waits = true;
      reader->pull([this](Result<std::string> piece) {
        REQUIRE(piece);
        waits = false;
        ended = piece->empty();
        text += *piece;
      });
    }
  }
};

}  // namespace

TEST_CASE("who does not follow gets what is there, though an entry stands behind more output") {
  ReadingHouse house;
  house.output(0, "one\n");
  house.event(2, "saving", 8);
  Client client(house, false);
  client.read();
  CHECK(client.ended);
  CHECK(client.text == "now running\none\n");
}

TEST_CASE("an entry behind output of which nothing has arrived ends a reading, too") {
  ReadingHouse house;
  house.event(2, "saving", 8);
  Client client(house, false);
  client.read();
  CHECK(client.ended);
  CHECK(client.text == "now running\n");
}

TEST_CASE("the log of a run that ended before its output arrived ends for those who follow it") {
  ReadingHouse house;
  house.event(2, "saving", 8);
  house.end();
  Client client(house, true);
  client.read();
  CHECK(client.ended);
  CHECK(client.text == "now running\n");
}

TEST_CASE("who follows is given the entry when the output before it has arrived") {
  ReadingHouse house;
  house.output(0, "one\n");
  house.event(2, "saving", 8);
  Client client(house, true);
  client.read();
  CHECK(client.waits);
  CHECK(client.text == "now running\none\n");
  CHECK(house.hub.size() == 1);
  house.output(4, "two\n");
  client.read();
  CHECK(client.waits);
  CHECK(client.text == "now running\none\ntwo\nnow saving\n");
  house.end();
  client.read();
  CHECK(client.ended);
  CHECK(house.hub.size() == 0);
}

TEST_CASE("who follows hears of the end, whatever is told at once by however many") {
  ReadingHouse house;
  std::atomic<bool> over = false;
  std::vector<std::jthread> tellers;
  for (int i = 0; i < 3; ++i)
    tellers.emplace_back([&] {
      while (!over) house.hub.notify(run);
    });
  std::int64_t size = 0;
  for (int round = 0; round < 300; ++round) {
    LogQuery query;
    query.run = run;
    query.number = 1;
    query.format = LogFormat::text;
    query.follow = true;
    query.from = {.bytes = size, .entries = 1};
    auto reader = std::make_shared<LogReader>(*house.readers, *house.logs, house.hub, query);
    auto came = std::make_shared<std::promise<std::string>>();
    reader->pull([came](Result<std::string> piece) { came->set_value(piece ? *piece : ""); });
    house.output(size, "more\n");
    size += 5;
    auto piece = came->get_future();
    REQUIRE(piece.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
    CHECK(piece.get() == "more\n");
  }
  over = true;
}
