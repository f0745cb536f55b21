#include "progress.hpp"

#include <algorithm>
#include <cstdio>

#include "text.hpp"

namespace spell::cli {

using namespace std::chrono_literals;

namespace {

int percent(std::int64_t done, std::int64_t total) {
  if (total <= 0) return 0;
  return static_cast<int>(static_cast<double>(done) / static_cast<double>(total) * 100);
}

}  // namespace

void RateMeter::add(ProgressClock::time_point now, std::int64_t done) {
  constexpr auto window = 10s;
  constexpr auto step = 250ms;
  if (!samples_.empty() && done < samples_.back().done) samples_.clear();
  // The newest sample moves on until it is a step behind the one before.
  if (samples_.size() > 1 && now - samples_[samples_.size() - 2].time < step)
    samples_.back() = {now, done};
  else
    samples_.push_back({now, done});
  while (samples_.size() > 2 && now - samples_[1].time >= window) samples_.pop_front();
}

std::optional<double> RateMeter::rate() const {
  if (samples_.size() < 2) return std::nullopt;
  auto time = std::chrono::duration<double>(samples_.back().time - samples_.front().time).count();
  if (time < 0.001) return std::nullopt;
  return static_cast<double>(samples_.back().done - samples_.front().done) / time;
}

std::string progress_numbers(std::int64_t done, std::int64_t total, std::optional<double> rate) {
  std::string text = format_size(done) + " of " + format_size(total);
  if (!rate) return text;
  text += ", " + format_size(static_cast<std::int64_t>(*rate)) + "/s";
  if (*rate < 1) return text;
  double left = static_cast<double>(total - done) / *rate;
  constexpr double too_long = 100.0 * 24 * 3600;
  if (left > too_long) return text;
  auto seconds = std::chrono::seconds(static_cast<std::int64_t>(left));
  return text + ", " + format_duration(seconds) + " left";
}

std::string progress_line(const std::string& what, std::int64_t done, std::int64_t total,
                          std::optional<double> rate, int width) {
  done = std::min(done, total);
  char shown[16];
  std::snprintf(shown, sizeof shown, " %3d %% ", percent(done, total));
  std::string line = what + shown, numbers = " " + progress_numbers(done, total, rate);
  int room = width - 1 - static_cast<int>(line.size() + numbers.size()) - 2;
  if (int cells = std::min(room, 30); cells >= 5) {
    int full = percent(done, total) * cells / 100;
    line += "[" + std::string(static_cast<std::size_t>(full), '=') + (full < cells ? ">" : "") +
            std::string(static_cast<std::size_t>(std::max(0, cells - full - 1)), ' ') + "]";
  }
  return truncate(line + numbers, static_cast<std::size_t>(std::max(1, width - 1)), "");
}

void Progress::update(const std::string& what, std::int64_t done, std::int64_t total,
                      ProgressClock::time_point now) {
  if (out_.json() || out_.quiet() || total <= 0) return;
  if (!began_ || what != what_) {
    began_ = drawn_ = now;
    what_ = what;
    meter_ = {};
  }
  meter_.add(now, done);
  done = std::min(done, total);
  if (!out_.live()) {
    if (now - drawn_ < 10s) return;
    drawn_ = now;
    return out_.status(Mark::step, what + " " + std::to_string(percent(done, total)) +
                                       " %: " + progress_numbers(done, total, meter_.rate()));
  }
  if (now - *began_ < 1s || now - drawn_ < 100ms) return;
  drawn_ = now;
  visible_ = true;
  out_.status_bytes("\r\x1b[K" +
                    progress_line(what, done, total, meter_.rate(), out_.terminal().width));
}

void Progress::finish() {
  if (visible_) out_.status_bytes("\r\x1b[K");
  visible_ = false;
}

}  // namespace spell::cli
