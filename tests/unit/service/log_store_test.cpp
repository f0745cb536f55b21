#include "service/log_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "model/log.hpp"

using namespace spell;
using namespace spell::service;

namespace {

const std::string logged_run(32, 'a');

struct LogFolder {
  std::string path = "/tmp/spell-logs-" + base::hex(base::random_bytes(6));
  LogFolder() { REQUIRE(base::make_folders(path)); }
  ~LogFolder() { (void)base::remove_tree(path); }
  std::string file() const { return path + "/aa/" + logged_run; }
};

std::string frame(std::int64_t offset, std::string_view text, std::int64_t time = 100) {
  model::FrameHeader header;
  header.sequence = static_cast<std::uint64_t>(offset);
  header.time_us = time;
  std::string out;
  model::append_frame(out, header, text);
  return out;
}

std::string text_of(const std::string& frames, std::int64_t from) {
  std::string out;
  model::FrameParser parser;
  parser.feed(frames);
  for (;;) {
    auto next = parser.next();
    REQUIRE(next);
    if (!*next) return out;
    CHECK((*next)->header.sequence == static_cast<std::uint64_t>(from) + out.size());
    out += (*next)->payload;
  }
}

std::string all(LogStore& logs, std::int64_t from = 0, std::int64_t until = INT64_MAX) {
  std::string out;
  for (;;) {
    std::int64_t at = from + static_cast<std::int64_t>(out.size());
    auto frames = logs.read(logged_run, at, until, 1000);
    REQUIRE(frames);
    if (frames->empty()) return out;
    out += text_of(*frames, at);
  }
}

}  // namespace

TEST_CASE("what was appended is read back from any byte on") {
  LogFolder folder;
  LogStore logs(folder.path);
  CHECK(logs.size(logged_run).value() == 0);
  CHECK(logs.append(logged_run, 0, frame(0, "hello ") + frame(6, "world\n"), 0).value() == 12);
  CHECK(logs.append(logged_run, 12, frame(12, "again\n"), 0).value() == 18);
  std::string whole = "hello world\nagain\n";
  for (std::int64_t from = 0; from <= 18; ++from)
    for (std::int64_t until = from; until <= 18; ++until)
      CHECK(all(logs, from, until) ==
            whole.substr(static_cast<std::size_t>(from), static_cast<std::size_t>(until - from)));
}

TEST_CASE("a piece that came before is not stored twice, one from the future not at all") {
  LogFolder folder;
  LogStore logs(folder.path);
  REQUIRE(logs.append(logged_run, 0, frame(0, "abc"), 0));
  CHECK(logs.append(logged_run, 0, frame(0, "abc"), 0).value() == 3);
  CHECK(logs.append(logged_run, 9, frame(9, "xyz"), 0).value() == 3);
  CHECK(all(logs) == "abc");
}

TEST_CASE("hostile frames change nothing") {
  LogFolder folder;
  LogStore logs(folder.path);
  REQUIRE(logs.append(logged_run, 0, frame(0, "abc"), 0));
  std::string good = frame(3, "def");
  for (std::size_t cut = 1; cut < good.size(); ++cut)
    CHECK_FALSE(logs.append(logged_run, 3, good.substr(0, cut), 0));
  CHECK_FALSE(logs.append(logged_run, 3, frame(4, "def"), 0));
  CHECK_FALSE(logs.append(logged_run, 3, frame(3, ""), 0));
  std::string status = good;
  status[4] = 2;
  CHECK_FALSE(logs.append(logged_run, 3, status, 0));
  CHECK(all(logs) == "abc");
}

TEST_CASE(
    "a log cut anywhere by a power loss ends with its last whole frame and goes on from there") {
  LogFolder folder;
  std::string first = frame(0, "one\n"), second = frame(4, "two\n");
  {
    LogStore logs(folder.path);
    REQUIRE(logs.append(logged_run, 0, first + second, 0));
  }
  std::string bytes = *base::read_file(folder.file());
  std::string parts = *base::read_file(folder.file() + ".parts");
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    REQUIRE(base::write_file(folder.file(), bytes.substr(0, cut)));
    REQUIRE(base::write_file(folder.file() + ".parts", parts));
    LogStore logs(folder.path);
    std::int64_t whole = cut < first.size() ? 0 : cut < bytes.size() ? 4 : 8;
    CHECK(logs.size(logged_run).value() == whole);
    CHECK(logs.append(logged_run, whole, frame(whole, "new\n"), 0).value() == whole + 4);
    CHECK(all(logs) ==
          std::string("one\ntwo\n").substr(0, static_cast<std::size_t>(whole)) + "new\n");
  }
}

namespace {

/// 1.3 MB in 3,000 lines, one append each; the text.
std::string write_long(LogStore& logs) {
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    auto at = static_cast<std::int64_t>(text.size());
    std::string line = "line " + std::to_string(i) + " " + std::string(400, 'x') + "\n";
    REQUIRE(logs.append(logged_run, at, frame(at, line), 0));
    text += line;
  }
  return text;
}

}  // namespace

TEST_CASE("the parts of a log only make it quicker: lost, short or wrong ones change nothing") {
  LogFolder folder;
  std::string text, parts;
  {
    LogStore logs(folder.path);
    text = write_long(logs);
  }
  parts = *base::read_file(folder.file() + ".parts");
  REQUIRE(parts.size() == 5 * 40);
  for (auto& variant : {parts, std::string(), parts.substr(0, 60), std::string(80, '\x01'),
                        parts + parts, parts.substr(40)}) {
    REQUIRE(base::write_file(folder.file() + ".parts", variant));
    REQUIRE(base::write_file(folder.file() + ".idx", "of an older version"));
    LogStore logs(folder.path);
    CHECK(logs.size(logged_run).value() == static_cast<std::int64_t>(text.size()));
    CHECK(all(logs, 1'000'000) == text.substr(1'000'000));
    CHECK(text.substr(static_cast<std::size_t>(logs.tail(logged_run, 2000).value()))
              .starts_with("line 1000 "));
    CHECK(*base::read_file(folder.file() + ".parts") == parts);
    CHECK_FALSE(base::exists(folder.file() + ".idx"));
  }
}

TEST_CASE("a flipped bit in a log is found and never returned, wherever it is") {
  LogFolder folder;
  std::string text;
  {
    LogStore logs(folder.path);
    text = write_long(logs);
  }
  const std::string sound = *base::read_file(folder.file());
  CHECK_FALSE(LogFile::check(folder.file())->damaged);
  auto piece_size = GENERATE(100'000, 2'000'000);
  for (std::size_t at = 0; at < sound.size(); at += 9973) {  // a prime: in headers and payloads
    CAPTURE(at);
    std::string hurt = sound;
    hurt[at] ^= static_cast<char>(1 << at % 8);
    REQUIRE(base::write_file(folder.file(), hurt));
    auto found = LogFile::check(folder.file());
    REQUIRE(found);
    CHECK(found->damaged);
    CHECK(found->output <= static_cast<std::int64_t>(at));
    LogStore logs(folder.path);
    std::int64_t position = 0;
    for (;;) {
      auto frames =
          logs.read(logged_run, position, INT64_MAX, static_cast<std::size_t>(piece_size));
      if (!frames) {
        CHECK(frames.error().code() == "damaged");
        // The parts before it were shown.
        CHECK(position + 400'000 > static_cast<std::int64_t>(at));
        break;
      }
      REQUIRE_FALSE(frames->empty());
      std::string piece = text_of(*frames, position);
      REQUIRE(text.compare(static_cast<std::size_t>(position), piece.size(), piece) == 0);
      position += static_cast<std::int64_t>(piece.size());
    }
    // What lies behind is still to be had.
    if (at < 1'000'000) CHECK(all(logs, 1'200'000) == text.substr(1'200'000));
  }
}

TEST_CASE("a flipped bit in the parts of a log is found, and hurts nothing") {
  LogFolder folder;
  std::string text;
  {
    LogStore logs(folder.path);
    text = write_long(logs);
  }
  const std::string parts = *base::read_file(folder.file() + ".parts");
  for (std::size_t at = 0; at < parts.size(); ++at) {
    CAPTURE(at);
    std::string hurt = parts;
    hurt[at] ^= static_cast<char>(1 << at % 8);
    REQUIRE(base::write_file(folder.file() + ".parts", hurt));
    auto found = LogFile::check(folder.file());
    REQUIRE(found);
    CHECK_FALSE(found->parts);
    CHECK_FALSE(found->damaged);
    CHECK(found->output == static_cast<std::int64_t>(text.size()));
    LogStore logs(folder.path);
    CHECK(all(logs, 1'200'000) == text.substr(1'200'000));
    CHECK(*base::read_file(folder.file() + ".parts") == parts);
  }
}

TEST_CASE("the damaged end of a log is replaced where its bytes come once more") {
  LogFolder folder;
  {
    LogStore logs(folder.path);
    REQUIRE(logs.append(logged_run, 0, frame(0, "one\n"), 0));
    REQUIRE(logs.append(logged_run, 4, frame(4, "two\n"), 0));
  }
  std::string bytes = *base::read_file(folder.file());
  bytes[bytes.size() - 2] ^= 1;
  REQUIRE(base::write_file(folder.file(), bytes));
  LogStore logs(folder.path);
  CHECK(logs.size(logged_run).value() == 8);
  CHECK(logs.read(logged_run, 0, 8, 100).error().code() == "damaged");
  CHECK(*base::read_file(folder.file()) == bytes);
  // Who sends on is told where to begin.
  CHECK(logs.append(logged_run, 8, frame(8, "three\n"), 0).value() == 0);
  CHECK(logs.append(logged_run, 0, frame(0, "one\ntwo\n"), 0).value() == 8);
  CHECK(logs.append(logged_run, 8, frame(8, "three\n"), 0).value() == 14);
  CHECK(all(logs) == "one\ntwo\nthree\n");
  CHECK_FALSE(LogFile::check(folder.file())->damaged);
}

TEST_CASE("tail counts lines, also an unfinished last one") {
  LogFolder folder;
  LogStore logs(folder.path);
  REQUIRE(logs.append(logged_run, 0, frame(0, "a\nb\nc"), 0));
  CHECK(logs.tail(logged_run, 0).value() == 5);
  CHECK(logs.tail(logged_run, 1).value() == 4);
  CHECK(logs.tail(logged_run, 2).value() == 2);
  CHECK(logs.tail(logged_run, 3).value() == 0);
  CHECK(logs.tail(logged_run, 9).value() == 0);
  REQUIRE(logs.append(logged_run, 5, frame(5, "\n"), 0));
  CHECK(logs.tail(logged_run, 1).value() == 4);
}

TEST_CASE("times are shifted to the service's clock") {
  LogFolder folder;
  LogStore logs(folder.path);
  REQUIRE(logs.append(logged_run, 0, frame(0, "x", 100), 5000));
  auto frames = logs.read(logged_run, 0, 1, 100);
  REQUIRE(frames);
  CHECK(model::parse_frame_header(frames->substr(0, 24))->time_us == 5100);
}

TEST_CASE("no time that a worker says lies in the future or before all time") {
  LogFolder folder;
  LogStore logs(folder.path);
  std::int64_t at = 0;
  for (auto [time, shift, expected] :
       {std::tuple<std::int64_t, std::int64_t, std::int64_t>{INT64_MAX, 1, 9000},
        {INT64_MAX, -1, 9000},
        {8999, 2, 9000},
        {8999, 0, 8999},
        {-5, 0, 0},
        {INT64_MIN, -1, 9000}}) {
    CAPTURE(time, shift);
    REQUIRE(logs.append(logged_run, at, frame(at, "x", time), shift, {}, 9000));
    auto frames = logs.read(logged_run, at, at + 1, 100);
    REQUIRE(frames);
    CHECK(model::parse_frame_header(frames->substr(0, 24))->time_us == expected);
    ++at;
  }
}
