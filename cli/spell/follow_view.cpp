#include "follow_view.hpp"

#include <cctype>

#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

std::string step_name(const RunStatus& status) {
  std::string name = status.name();
  bool begin = true;
  for (char& c : name) {
    if (begin) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    begin = c == '_';
  }
  return name;
}

std::string status_text(const RunInfo& run) {
  if (run.status == RunStatus::machine_requested) return "Queued";
  std::string text = step_name(run.status);
  for (char& c : text)
    if (c == '_') c = ' ';
  if (run.status == RunStatus::complete)
    text += " (" + std::to_string(run.user_exit_code.value_or(0)) + ")";
  return text;
}

Colour status_colour(const RunInfo& run) {
  if (!run.status.is_final())
    return run.status == RunStatus::machine_requested ? Colour::yellow : Colour::bold;
  if (run.status == RunStatus::complete)
    return run.user_exit_code.value_or(0) == 0 ? Colour::green : Colour::red;
  bool wanted = run.status == RunStatus::stopped || run.status == RunStatus::killed;
  return wanted ? Colour::dim : Colour::red;
}

std::optional<std::int64_t> successor(const RunInfo& run) {
  return run.status == RunStatus::interrupted ? run.resumed_as_run : std::nullopt;
}

Ending ending(const RunInfo& run) {
  std::string who = "Run " + std::to_string(run.id) + " ";
  std::string why = run.reason.empty() ? "" : ": " + run.reason;
  if (run.status == RunStatus::complete) {
    int code = run.user_exit_code.value_or(0);
    if (code == 0) return {Mark::done, who + "complete"};
    return {Mark::failed,
            who + "ended with exit code " + std::to_string(code) +
                (run.user_signal ? " (signal " + std::to_string(*run.user_signal) + ")" : "")};
  }
  if (run.status == RunStatus::stopped) return {Mark::halted, who + "stopped" + why};
  if (run.status == RunStatus::killed) return {Mark::halted, who + "killed" + why};
  if (auto next = successor(run))
    return {Mark::halted, who + "interrupted, " + count(run.output_files, "file") +
                              " safe; goes on as run " + std::to_string(*next)};
  if (run.status == RunStatus::interrupted) return {Mark::halted, who + "interrupted" + why};
  std::string status = run.status.name();
  for (char& c : status)
    if (c == '_') c = ' ';
  return {Mark::failed, who + status + why};
}

void FollowView::entry(const LogEntry& entry) {
  if (out_.json()) return out_.write(json_text(entry) + "\n");
  if (entry.kind == LogKind::output) return output(entry);
  queued_ = entry.status == RunStatus::machine_requested;
  if (all_ && !entry.status.is_final()) return say(Mark::step, entry.text);
  if (entry.kind == LogKind::status) return status(entry);
  if (entry.important) say(Mark::step, entry.text);
}

void FollowView::output(const LogEntry& entry) {
  if (entry.text.empty()) return;
  if (!open_step_.empty()) close_step("done");
  if (entry.is_stderr)
    out_.write_error(entry.text);
  else
    out_.write(entry.text);
  at_line_start_ = entry.text.back() == '\n';
}

void FollowView::status(const LogEntry& entry) {
  std::string name = step_name(entry.status);
  if (entry.status.is_final()) {
    bool ended_well = entry.status == RunStatus::complete;
    close_step(ended_well || entry.status == RunStatus::stopped ? "done" : "");
    last_words_.push_back(entry.text);
  } else if (entry.status == RunStatus::running) {
    close_step("done");
    say(Mark::step, entry.text.empty() ? "Run is running" : entry.text);
  } else if (name != open_step_) {
    close_step("done");
    open_step(name);
  }
}

void FollowView::waiting(const std::string& reason) {
  if (!queued_ || reason.empty() || reason == reason_) return;
  reason_ = reason;
  if (all_)
    say(Mark::step, reason_);
  else if (out_.live())
    draw_step();
  else
    out_.status(Mark::step, open_step_ + "… " + reason_);
}

void FollowView::say(Mark mark, std::string_view text) {
  std::string step = open_step_;
  if (!step.empty() && out_.live())
    out_.status_bytes("\r\x1b[K");
  else if (!at_line_start_ && out_.terminal().out)
    out_.status_bytes("\n");
  at_line_start_ = true;
  out_.status(mark, text);
  if (!step.empty()) draw_step();
}

void FollowView::open_step(const std::string& name) {
  if (!at_line_start_ && out_.terminal().out) out_.status_bytes("\n");
  at_line_start_ = true;
  open_step_ = name;
  reason_.clear();
  draw_step();
}

void FollowView::draw_step() {
  if (!out_.live()) return;
  std::string text =
      out_.marked(Mark::step, open_step_ + "…" + (reason_.empty() ? "" : " " + reason_));
  out_.status_bytes("\r\x1b[K" + truncate(text, static_cast<std::size_t>(out_.terminal().width - 1),
                                          out_.ellipsis()));
}

void FollowView::close_step(std::string_view how) {
  if (open_step_.empty()) return;
  if (out_.live()) out_.status_bytes("\r\x1b[K");
  out_.status(Mark::step, open_step_ + "…" + (how.empty() ? "" : " ") + std::string(how));
  open_step_.clear();
  reason_.clear();
}

void FollowView::finished(const RunInfo& run) {
  if (out_.json()) return out_.write(json_text("run", run) + "\n");
  close_step("");
  Ending end = ending(run);
  // The log's own last line says only that the run has ended; the one made here says how.
  std::string own_line = "Run " + std::to_string(run.id) + " ";
  for (const auto& text : last_words_)
    if (text.starts_with("Total run time") || (all_ && !text.starts_with(own_line)))
      say(end.mark == Mark::done ? Mark::done : Mark::step, text);
  say(end.mark, end.text);
}

void FollowView::leave() {
  if (!open_step_.empty())
    out_.status_bytes(out_.live() ? "\n" : "");
  else if (!at_line_start_ && out_.live())
    out_.status_bytes("\n");
  at_line_start_ = true;
  open_step_.clear();
}

void FollowView::interrupted(std::int64_t run) {
  std::string id = std::to_string(run);
  leave();
  say(Mark::step, "Run " + id + " goes on. It can be ended or followed again:");
  for (auto [command, effect] : {std::pair("spell stop ", "ends it and saves its outputs"),
                                 std::pair("spell kill ", "ends it at once, its outputs are lost"),
                                 std::pair("spell logs -f ", "follows it again")})
    out_.status_bytes("     " + std::string(command) + id +
                      std::string(16 - std::string(command).size(), ' ') + effect + "\n");
}

}  // namespace spell::cli
