// What a person sees of a run while it is followed: log entries in, lines out. No connection, no
// threads, no clock.
//
//   💫 Casting spell #7…
//   ✨ Machine_Requested… done        a step's line stays open until the next status; "done" ends it
//   ✨ Run is running
//   (output, as it comes)
//   🎉 Total run time: 6.870837s
//   🎉 Run 7 complete
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "output.hpp"
#include "spell/run.hpp"

namespace spell::cli {

class FollowView {
 public:
  /// all: every entry of the log, not the condensed form.
  FollowView(Output& out, bool all) : out_(out), all_(all) {}

  void entry(const LogEntry& entry);
  /// Why the run waits; shown beside the step that is open.
  void waiting(const std::string& reason);
  /// The last lines.
  void finished(const RunInfo& run);
  /// Viewing ends before the run does: the cursor goes to a fresh line.
  void leave();
  /// The same, by ^C: says how to go on.
  void interrupted(std::int64_t run);
  bool queued() const { return queued_; }

 private:
  void output(const LogEntry& entry);
  void status(const LogEntry& entry);
  void say(Mark mark, std::string_view text);
  void open_step(const std::string& name);
  void close_step(std::string_view how);
  void draw_step();

  Output& out_;
  bool all_;
  std::string open_step_, reason_;
  /// Texts of the final status, said when it is known how the run ended.
  std::vector<std::string> last_words_;
  bool at_line_start_ = true, queued_ = false;
};

/// The run that an interrupted one goes on as.
std::optional<std::int64_t> successor(const RunInfo& run);
/// How a run ended, for its last line: "Run 7 complete", "Run 7 ended with exit code 1".
struct Ending {
  Mark mark = Mark::done;
  std::string text{};
};
Ending ending(const RunInfo& run);
/// "Machine_Requested", as a step of a followed run shows it.
std::string step_name(const RunStatus& status);
/// "Complete (0)", "Build Failed", as a list shows it.
std::string status_text(const RunInfo& run);
Colour status_colour(const RunInfo& run);

}  // namespace spell::cli
