#include <map>

#include "catch.hpp"
#include "client/log_cutter.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

using namespace spell;
using namespace spell::detail;
using namespace spell::test;
using model::FrameKind;

namespace {

struct Frame {
  model::FrameHeader header;
  std::string payload;
};

/// Writes frames with the right sequence numbers.
struct Log {
  std::vector<Frame> frames;
  std::uint64_t bytes = 0, entries = 0;
  Log& out(std::string text, bool is_stderr = false) {
    model::FrameHeader header{.kind = FrameKind::output,
                              .flags = is_stderr ? model::frame_stderr : std::uint8_t{0},
                              .sequence = bytes};
    bytes += text.size();
    frames.push_back({header, std::move(text)});
    return *this;
  }
  Log& entry(FrameKind kind, std::string status, const std::string& text) {
    frames.push_back({{.kind = kind, .sequence = ++entries}, status + '\0' + text});
    return *this;
  }
  Log& status(std::string status, const std::string& text = "") {
    return entry(FrameKind::status, std::move(status), text);
  }
  Log& system(std::string status, const std::string& text) {
    return entry(FrameKind::system, std::move(status), text);
  }
};

/// "text" of output, "[status] text" of other entries.
std::string shown(const LogEntry& entry) {
  if (entry.kind == LogKind::output) return (entry.is_stderr ? "2>" : "") + entry.text;
  return "[" + entry.status.name() + "] " + entry.text;
}

std::vector<std::string> cut(const std::vector<Frame>& frames, bool raw = false,
                             std::optional<LogKind> only = {}) {
  LogCutter cutter(7, raw, only);
  std::vector<std::string> out;
  auto drain = [&] {
    // A piece without a line's end yields nothing, though more is to come.
    while (auto entry = cutter.next()) out.push_back(shown(*entry));
  };
  for (auto& frame : frames) {
    REQUIRE(cutter.feed(frame.header, frame.payload).ok());
    drain();
  }
  cutter.finish();
  drain();
  return out;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("lines are the same wherever the output is split") {
  std::string text = "one\n\ntwo\rthree\nlast";
  Lines expected = {"one", "", "two\rthree", "last"};
  for (std::size_t a = 0; a <= text.size(); ++a)
    for (std::size_t b = a; b <= text.size(); ++b) {
      Log log;
      log.out(text.substr(0, a)).out(text.substr(a, b - a)).out(text.substr(b));
      REQUIRE(cut(log.frames) == expected);
    }
}

TEST_CASE("a last line counts with and without its end, an empty one only with it") {
  CHECK(cut(Log().out("a\n").frames) == Lines{"a"});
  CHECK(cut(Log().out("a").frames) == Lines{"a"});
  CHECK(cut(Log().out("\n").frames) == Lines{""});
  CHECK(cut(Log().frames).empty());
}

TEST_CASE("entries keep their place between lines") {
  auto log = Log()
                 .status("running", "Run is running")
                 .out("a\nb\n")
                 .system("running", "note")
                 .out("c\n")
                 .status("complete", "done");
  CHECK(cut(log.frames) ==
        Lines{"[running] Run is running", "a", "b", "[running] note", "c", "[complete] done"});
}

TEST_CASE("a begun line goes on over an entry, but comes before the end of the output") {
  CHECK(cut(Log().out("prog").system("running", "note").out("ress\n").frames) ==
        Lines{"[running] note", "progress"});
  CHECK(cut(Log().out("prompt").status("saving", "Run is saving").frames) ==
        Lines{"prompt", "[saving] Run is saving"});
  CHECK(cut(Log().out("x").status("killed", "").frames) == Lines{"x", "[killed] "});
}

TEST_CASE("the lines of two streams do not mix") {
  auto log = Log().out("out").out("err", true).out("put\n").out("or\n", true);
  CHECK(cut(log.frames) == Lines{"output", "2>error"});
}

TEST_CASE("raw output comes in pieces as it came") {
  CHECK(cut(Log().out("a\nb").out("\n").status("saving").frames, true) ==
        Lines{"a\nb", "\n", "[saving] "});
}

TEST_CASE("only one kind of entries") {
  auto log = Log().status("running", "r").out("a\nb").system("running", "s").status("saving", "w");
  CHECK(cut(log.frames, false, LogKind::output) == Lines{"a", "b"});
  CHECK(cut(log.frames, false, LogKind::status) == Lines{"[running] r", "[saving] w"});
  CHECK(cut(log.frames, true, LogKind::system) == Lines{"[running] s"});
}

TEST_CASE("output knows the status it was written in") {
  LogCutter cutter(7, false, {});
  auto log = Log().out("a\n").status("stopping", "x").out("b\n");
  std::vector<std::string> statuses;
  for (auto& frame : log.frames) {
    REQUIRE(cutter.feed(frame.header, frame.payload).ok());
    while (auto entry = cutter.next()) statuses.push_back(entry->status.name());
  }
  CHECK(statuses == Lines{"running", "stopping", "stopping"});
}

TEST_CASE("what was seen is dropped, what is missing is an error") {
  LogCutter cutter(7, true, {});
  auto feed = [&](std::uint64_t sequence, std::string text) {
    auto fed = cutter.feed({.kind = FrameKind::output, .sequence = sequence}, text);
    if (!fed) return fed.error().code();
    auto entry = cutter.next();
    return entry ? entry->text : "-";
  };
  CHECK(feed(100, "abc") == "abc");  // a tail begins anywhere
  CHECK(feed(100, "abc") == "-");
  CHECK(feed(101, "bcdef") == "def");
  CHECK(feed(107, "x") == "log_gap");
  CHECK(cutter.cursor()->text() == "106.0");
}

namespace {

/// Serves a log as the service does: from a cursor on, cut where frames begin; `final` says whether
/// the run has ended.
struct LogService {
  Log log;
  bool final = true;
  std::int64_t visible = INT64_MAX;  ///< frames that can be seen yet
  Answer operator()(const net::ClientRequest& request) {
    auto target = target_of(request);
    if (target.segments.back() != "log") {
      RunInfo info;
      info.id = 7;
      info.status = final ? RunStatus::complete : RunStatus::running;
      info.log_bytes = static_cast<std::int64_t>(log.bytes);
      return {200, json{{"run", info}}.dump()};
    }
    auto cursor = model::LogCursor::parse(target.query["cursor"]).value_or(model::LogCursor{});
    std::string body;
    std::int64_t left = visible;
    for (auto& [header, payload] : log.frames) {
      if (left-- <= 0) break;
      auto sequence = static_cast<std::int64_t>(header.sequence);
      if (header.kind != FrameKind::output) {
        if (sequence > cursor.entries) model::append_frame(body, header, payload);
        continue;
      }
      auto skip = std::max<std::int64_t>(0, cursor.bytes - sequence);
      if (skip >= static_cast<std::int64_t>(payload.size())) continue;
      auto rest = header;
      rest.sequence += static_cast<std::uint64_t>(skip);
      model::append_frame(body, rest,
                          std::string_view(payload).substr(static_cast<std::size_t>(skip)));
    }
    return {200, body};
  }
};

Log example() {
  return Log()
      .status("running", "r")
      .out("one\ntw")
      .system("running", "s")
      .out("o\nthree\nfo")
      .out("ur")
      .status("saving", "w")
      .status("complete", "c");
}
const Lines example_lines = {"[running] r", "one",  "[running] s", "two",
                             "three",       "four", "[saving] w",  "[complete] c"};

}  // namespace

TEST_CASE("a log is whole, without a double, whichever step fails in whatever way") {
  auto kind =
      GENERATE(Fault::unreachable, Fault::lost_before, Fault::lost_after, Fault::shutting_down);
  std::size_t piece = GENERATE(1 << 20, 10, 37);
  for (int failing = 1;; ++failing) {
    World world;
    world.transport->piece = piece;
    LogService service{example()};
    world.transport->serve = service;
    bool failed = false;
    world.transport->fault = [&](int step) {
      return step == failing ? (failed = true, kind) : Fault::none;
    };
    Lines lines;
    for (auto& entry : Run(world.connection, 7).logs({.follow = true})) {
      INFO("step " << failing);
      REQUIRE(entry.ok());
      lines.push_back(shown(*entry));
    }
    INFO("step " << failing);
    CHECK(lines == example_lines);
    if (!failed) break;
  }
}

TEST_CASE("a line that is cut every few bytes still makes progress") {
  World world;
  world.transport->piece = 7;
  world.transport->serve = LogService{example()};
  // Every tenth step fails: frames longer than that are never read whole, so the stream must keep
  // what it can.
  world.transport->fault = [](int step) {
    return step % 10 == 0 ? Fault::lost_before : Fault::none;
  };
  Lines lines;
  for (auto& entry : Run(world.connection, 7).logs()) {
    REQUIRE(entry.ok());
    lines.push_back(shown(*entry));
  }
  CHECK(lines == example_lines);
}

TEST_CASE("a followed log goes on when the service ends it before the run has ended") {
  World world;
  auto service = std::make_shared<LogService>(LogService{example()});
  service->final = false;
  service->visible = 2;
  int opened = 0;
  world.transport->serve = [&, service](const net::ClientRequest& request) {
    if (target_of(request).segments.back() == "log" && ++opened == 3)
      service->visible = INT64_MAX, service->final = true;
    return (*service)(request);
  };
  Lines lines;
  for (auto& entry : Run(world.connection, 7).logs({.follow = true})) {
    REQUIRE(entry.ok());
    lines.push_back(shown(*entry));
  }
  CHECK(lines == example_lines);
  CHECK(opened == 3);
}

TEST_CASE("the options of a log are the service's") {
  World world;
  std::map<std::string, std::string> query;
  world.transport->serve = [&](const net::ClientRequest& request) {
    if (target_of(request).segments.back() != "log") return LogService{}(request);
    query = target_of(request).query;
    return Answer{200, ""};
  };
  for (auto& entry : Run(world.connection, 7).logs({.tail = 3, .only = LogKind::output}))
    CHECK(entry.ok());
  CHECK(query == std::map<std::string, std::string>{
                     {"format", "frames"}, {"tail", "3"}, {"output_only", "1"}});
}

TEST_CASE("a tail leaves the same out after a loss") {
  World world;
  std::string asked;
  world.transport->piece = 30;
  world.transport->serve = [&](const net::ClientRequest& request) {
    if (target_of(request).segments.back() != "log") return LogService{}(request);
    asked = target_of(request).query["cursor"];
    std::string body;
    if (asked.empty())
      model::append_frame(body, {.kind = FrameKind::output, .sequence = 50}, "abcdef");
    model::append_frame(body, {.kind = FrameKind::output, .sequence = 56}, "ghij\n");
    return Answer{200, body, {{"X-Spell-Log-Cursor", "50.4"}}};
  };
  world.transport->fault = [](int step) { return step == 4 ? Fault::lost_before : Fault::none; };
  Lines lines;
  for (auto& entry : Run(world.connection, 7).logs({.tail = 1}))
    lines.push_back(entry.value().text);
  CHECK(lines == Lines{"abcdefghij"});
  CHECK(asked == "56.4");
}

TEST_CASE("errors end a log") {
  World world;
  SECTION("of the service") {
    world.transport->serve = [](const net::ClientRequest&) {
      return Answer{404, R"({"error":{"code":"run_not_found","message":"there is no run 7"}})"};
    };
    auto log = Run(world.connection, 7).logs();
    auto entry = log.next();
    REQUIRE(entry);
    CHECK(entry->error().code() == "run_not_found");
    CHECK_FALSE(log.next());
  }
  SECTION("of the caller") {
    world.transport->serve = LogService{example()};
    std::stop_source source;
    auto log = Run(world.connection, 7).logs({.follow = true, .stop = source.get_token()});
    REQUIRE(log.next());
    source.request_stop();
    std::optional<Result<LogEntry>> last;
    while (auto entry = log.next()) last = std::move(entry);
    REQUIRE(last);
    CHECK(last->error().code() == "canceled");
  }
  SECTION("of its time") {
    world.transport->serve = LogService{example()};
    auto log = Run(world.connection, 7).logs({.follow = true, .timeout = std::chrono::seconds(5)});
    REQUIRE(log.next());
    world.transport->fault = [](int) { return Fault::lost_before; };
    std::optional<Result<LogEntry>> last;
    while (auto entry = log.next()) last = std::move(entry);
    REQUIRE(last);
    CHECK(last->error().code() == "timeout");
    CHECK(world.waiter->time.time_since_epoch() == std::chrono::seconds(5));
  }
  SECTION("of what is sent") {
    world.transport->serve = [](const net::ClientRequest&) {
      return Answer{200, std::string(100, '\xff')};
    };
    auto entry = Run(world.connection, 7).logs().next();
    REQUIRE(entry);
    CHECK(entry->error().code() == "bad_frame");
  }
}
