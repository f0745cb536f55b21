// From the frames of a log to entries: cuts output into lines over the frames' borders, keeps the
// order, drops what has been seen, notices what is missing. No sockets.
//
// A line that has begun waits for its end. Entries in between come out at once, except where no
// output can follow (the run is being saved, or has ended): there the begun line comes first.
#pragma once
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "model/log.hpp"
#include "spell/run.hpp"

namespace spell::detail {

class LogCutter {
 public:
  LogCutter(std::int64_t run, bool raw, std::optional<LogKind> only)
      : run_(run), raw_(raw), only_(only) {}

  /// Where the log is read from, if nothing has been read yet.
  void begin_at(const model::LogCursor&);
  /// The payload must live until next() returns nothing. Error `log_gap` where bytes are missing.
  Result<> feed(const model::FrameHeader&, std::string_view payload);
  /// Nothing will follow: begun lines come out.
  void finish();
  std::optional<LogEntry> next();
  /// What has been read, begun lines included; nothing before the first frame.
  std::optional<model::LogCursor> cursor() const;

 private:
  struct Line {
    std::string text;
    Time time{};
    bool begun = false;
  };
  bool wanted(LogKind kind) const { return !only_ || *only_ == kind; }
  void flush_lines();
  LogEntry output(std::string text, Time time, bool is_stderr) const;

  std::int64_t run_;
  bool raw_;
  std::optional<LogKind> only_;
  RunStatus status_ = RunStatus::running;  // output has no other where nothing else was said
  std::optional<std::int64_t> bytes_;
  std::int64_t entries_ = 0;
  Line lines_[2];  // of stdout (or both), of stderr
  std::deque<LogEntry> ready_;
  std::string_view rest_;  // of the current frame
  Time time_{};
  bool is_stderr_ = false;
};

}  // namespace spell::detail
