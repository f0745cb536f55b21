#include "client/log_cutter.hpp"

#include <cstring>

#include "base/error.hpp"

namespace spell::detail {

namespace {

bool output_has_ended(const RunStatus& status) {
  return status.is_final() || status == RunStatus::saving || status == RunStatus::pushing;
}

}  // namespace

LogEntry LogCutter::output(std::string text, Time time, bool is_stderr) const {
  LogEntry entry;
  entry.run = run_;
  entry.status = status_;
  entry.time = time;
  entry.is_stderr = is_stderr;
  entry.text = std::move(text);
  return entry;
}

void LogCutter::begin_at(const model::LogCursor& cursor) {
  if (bytes_ || entries_ != 0) return;
  bytes_ = cursor.bytes;
  entries_ = cursor.entries;
}

Result<> LogCutter::feed(const model::FrameHeader& header, std::string_view payload) {
  Time time{std::chrono::duration_cast<Time::duration>(std::chrono::microseconds(header.time_us))};
  auto sequence = static_cast<std::int64_t>(header.sequence);
  if (header.kind == model::FrameKind::output) {
    std::int64_t at = bytes_.value_or(sequence);
    if (sequence > at)
      return base::error("log_gap", "the log of run " + std::to_string(run_) +
                                        " came with a gap: " + std::to_string(sequence - at) +
                                        " bytes after byte " + std::to_string(at));
    auto seen = static_cast<std::size_t>(at - sequence);
    bytes_ = std::max(at, sequence + static_cast<std::int64_t>(payload.size()));
    if (seen >= payload.size() || !wanted(LogKind::output)) return ok();
    rest_ = payload.substr(seen);
    time_ = time;
    is_stderr_ = (header.flags & model::frame_stderr) != 0;
    return ok();
  }
  if (header.kind == model::FrameKind::end || sequence <= entries_) return ok();
  entries_ = sequence;
  auto border = std::min(payload.find('\0'), payload.size());
  LogEntry entry;
  entry.kind = header.kind == model::FrameKind::status ? LogKind::status : LogKind::system;
  entry.run = run_;
  entry.status = RunStatus(payload.substr(0, border));
  entry.time = time;
  entry.important = (header.flags & model::frame_important) != 0;
  entry.text = payload.substr(std::min(border + 1, payload.size()));
  if (output_has_ended(entry.status)) flush_lines();
  status_ = entry.status;
  if (wanted(entry.kind)) ready_.push_back(std::move(entry));
  return ok();
}

void LogCutter::flush_lines() {
  for (bool is_stderr : {false, true}) {
    Line& line = lines_[is_stderr];
    if (!line.begun) continue;
    ready_.push_back(output(std::move(line.text), line.time, is_stderr));
    line = {};
  }
}

void LogCutter::finish() { flush_lines(); }

std::optional<LogEntry> LogCutter::next() {
  if (!ready_.empty()) {
    auto entry = std::move(ready_.front());
    ready_.pop_front();
    return entry;
  }
  if (rest_.empty()) return std::nullopt;
  if (raw_) return output(std::string(std::exchange(rest_, {})), time_, is_stderr_);

  Line& line = lines_[is_stderr_];
  auto* newline = static_cast<const char*>(std::memchr(rest_.data(), '\n', rest_.size()));
  auto length = newline ? static_cast<std::size_t>(newline - rest_.data()) : rest_.size();
  if (!line.begun) line.time = time_;
  line.begun = true;
  line.text.append(rest_.substr(0, length));
  rest_.remove_prefix(newline ? length + 1 : length);
  if (!newline) return std::nullopt;
  auto entry = output(std::move(line.text), line.time, is_stderr_);
  line = {};
  return entry;
}

std::optional<model::LogCursor> LogCutter::cursor() const {
  if (!bytes_ && entries_ == 0) return std::nullopt;
  return model::LogCursor{bytes_.value_or(0), entries_};
}

}  // namespace spell::detail
