#include "follow_view.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "catch.hpp"

using namespace spell;
using namespace spell::cli;

namespace {

/// A view on two temporary files; `terminal` says what they claim to be.
class Screen {
 public:
  explicit Screen(Terminal terminal, bool all = false, Output::Mode mode = Output::Mode::people)
      : out_file_(std::tmpfile()),
        err_file_(std::tmpfile()),
        out_({0, ::fileno(out_file_), ::fileno(err_file_)}, terminal),
        view(out_, all) {
    out_.set_mode(mode);
  }
  ~Screen() {
    std::fclose(out_file_);
    std::fclose(err_file_);
  }
  std::string out() const { return text(out_file_); }
  std::string err() const { return text(err_file_); }
  /// What stays on a terminal's screen: a line is overwritten where the cursor went back to its
  /// beginning.
  std::string seen() const {
    std::string screen, bytes = out();
    std::size_t line = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes.compare(i, 4, "\r\x1b[K") == 0) {
        screen.resize(line);
        i += 3;
      } else {
        screen += bytes[i];
        if (bytes[i] == '\n') line = screen.size();
      }
    }
    return screen;
  }

 private:
  static std::string text(FILE* file) {
    std::string all(1 << 16, '\0');
    all.resize(static_cast<std::size_t>(::pread(::fileno(file), all.data(), all.size(), 0)));
    return all;
  }
  FILE *out_file_, *err_file_;
  Output out_;

 public:
  FollowView view;
};

Terminal terminal() { return {.out = true, .err = true, .utf8 = true, .width = 60}; }
Terminal no_terminal() { return {.utf8 = true}; }

LogEntry status(const char* name, const char* text) {
  return {.kind = LogKind::status, .run = 7, .status = name, .text = text};
}
LogEntry system_entry(const char* name, const char* text, bool important = false) {
  return {.kind = LogKind::system, .run = 7, .status = name, .important = important, .text = text};
}
LogEntry output(const char* text) { return {.run = 7, .status = "running", .text = text}; }

RunInfo run(const char* status, int code = 0, const char* reason = "") {
  RunInfo info;
  info.id = 7;
  info.status = status;
  info.user_exit_code = code;
  info.reason = reason;
  return info;
}

void whole_run(FollowView& view) {
  view.entry(status("machine_requested", "Run created -- waiting for a CPU machine."));
  view.entry(status("building", "Run is building"));
  view.entry(system_entry("building", "Machine acquired -- commencing run"));
  view.entry(status("running", "Run is running"));
  view.entry(output("Hello World\n"));
  view.entry(status("saving", "Run is saving"));
  view.entry(system_entry("saving", "Scanning for modified or new files from the run"));
  view.entry(status("pushing", "Run is pushing"));
  view.entry(status("complete", "Total run time: 6.870837s"));
  view.entry(status("complete", "Run 7 complete"));
  view.finished(run("complete"));
}

constexpr const char* steps =
    "✨ Machine_Requested… done\n"
    "✨ Building… done\n"
    "✨ Run is running\n";
constexpr const char* end_steps =
    "✨ Saving… done\n"
    "✨ Pushing… done\n"
    "🎉 Total run time: 6.870837s\n"
    "🎉 Run 7 complete\n";

}  // namespace

TEST_CASE("a followed run on a terminal") {
  Screen screen(terminal());
  whole_run(screen.view);
  CHECK(screen.seen() == steps + std::string("Hello World\n") + end_steps);
  CHECK(screen.err().empty());
}

TEST_CASE("without a terminal stdout holds the output alone") {
  Screen screen(no_terminal());
  whole_run(screen.view);
  CHECK(screen.out() == "Hello World\n");
  CHECK(screen.err() == steps + std::string(end_steps));
}

TEST_CASE("without UTF-8 the marks are ASCII") {
  Terminal plain = terminal();
  plain.utf8 = false;
  Screen screen(plain);
  whole_run(screen.view);
  CHECK(screen.seen().starts_with("* Machine_Requested... done\n"));
  for (char c : screen.out()) CHECK(static_cast<unsigned char>(c) < 0x80);
}

TEST_CASE("-v shows every entry once") {
  Screen screen(terminal(), true);
  whole_run(screen.view);
  CHECK(screen.seen() ==
        "✨ Run created -- waiting for a CPU machine.\n"
        "✨ Run is building\n"
        "✨ Machine acquired -- commencing run\n"
        "✨ Run is running\n"
        "Hello World\n"
        "✨ Run is saving\n"
        "✨ Scanning for modified or new files from the run\n"
        "✨ Run is pushing\n"
        "🎉 Total run time: 6.870837s\n"
        "🎉 Run 7 complete\n");
}

TEST_CASE("output passes as it is, and a status begins a line of its own") {
  Screen screen(terminal());
  screen.view.entry(status("running", "Run is running"));
  screen.view.entry(output("10%\r"));
  screen.view.entry(output("20%\r\x1b[1m"));
  screen.view.entry(output("no newline"));
  screen.view.entry(status("saving", "Run is saving"));
  CHECK(screen.out().starts_with("✨ Run is running\n10%\r20%\r\x1b[1mno newline\n"));

  Screen file(no_terminal());
  file.view.entry(output("no newline"));
  file.view.entry(status("complete", "Run 7 complete"));
  file.view.finished(run("complete"));
  CHECK(file.out() == "no newline");
}

TEST_CASE("the reason for waiting shows beside the open step, and goes with it") {
  Screen screen(terminal());
  screen.view.entry(status("machine_requested", "Run created"));
  screen.view.waiting("waiting for a CPU machine: 2 of 2 places busy");
  CHECK(screen.seen() == "✨ Machine_Requested… waiting for a CPU machine: 2 of 2 pl…");
  screen.view.waiting("waiting for a CPU machine: 1 of 2 places busy");
  screen.view.entry(status("building", "Run is building"));
  screen.view.waiting("too late");
  CHECK(screen.seen() == "✨ Machine_Requested… done\n✨ Building…");
}

TEST_CASE("important entries interrupt an open step") {
  Screen screen(terminal());
  screen.view.entry(status("building", "Run is building"));
  screen.view.entry(system_entry("building", "containment: best effort", true));
  screen.view.entry(status("running", "Run is running"));
  CHECK(screen.seen() == "✨ containment: best effort\n✨ Building… done\n✨ Run is running\n");
}

TEST_CASE("how a run ended is its last line") {
  struct Row {
    RunInfo info;
    const char* line;
  };
  RunInfo signalled = run("complete", 137);
  signalled.user_signal = 9;
  for (const Row& row : std::vector<Row>{
           {run("complete", 1), "💥 Run 7 ended with exit code 1\n"},
           {signalled, "💥 Run 7 ended with exit code 137 (signal 9)\n"},
           {run("failed", 0, "the supervisor was lost"),
            "💥 Run 7 failed: the supervisor was lost\n"},
           {run("build_failed", 0, "no such commit"), "💥 Run 7 build failed: no such commit\n"},
           {run("stopped"), "✋ Run 7 stopped\n"},
           {run("killed"), "✋ Run 7 killed\n"},
           {run("interrupted", 0, "the computer was restarted"),
            "✋ Run 7 interrupted: the computer was restarted\n"},
       }) {
    Screen screen(terminal());
    screen.view.entry(status(row.info.status.name().c_str(), "Total run time: 1.0s"));
    screen.view.finished(row.info);
    CHECK(screen.seen() == "✨ Total run time: 1.0s\n" + std::string(row.line));
  }
}

TEST_CASE("a run that is killed while it waits says nothing is done") {
  Screen screen(terminal());
  screen.view.entry(status("machine_requested", "Run created"));
  screen.view.entry(status("killed", "Run 7 killed"));
  screen.view.finished(run("killed"));
  CHECK(screen.seen() == "✨ Machine_Requested…\n✋ Run 7 killed\n");
}

TEST_CASE("^C says how to go on") {
  Screen screen(terminal());
  screen.view.entry(status("running", "Run is running"));
  screen.view.entry(output("step 1"));
  screen.view.interrupted(7);
  for (const char* command : {"spell stop 7", "spell kill 7", "spell logs -f 7"})
    CHECK(screen.out().find(command) != std::string::npos);
  CHECK(screen.out().find("step 1\n") != std::string::npos);
}

TEST_CASE("in JSON one entry a line, then the run") {
  Screen screen(no_terminal(), false, Output::Mode::json);
  whole_run(screen.view);
  CHECK(screen.err().empty());
  std::string out = screen.out();
  CHECK(std::count(out.begin(), out.end(), '\n') == 11);
  CHECK(out.find("{\"run\":{") != std::string::npos);
  CHECK(out.find("\"Hello World\\n\"") != std::string::npos);
}
