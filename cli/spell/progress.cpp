#include "progress.hpp"

#include <algorithm>
#include <cstdio>

#include "text.hpp"

namespace spell::cli {

std::string progress_line(const std::string& what, std::int64_t done, std::int64_t total,
                          std::chrono::milliseconds elapsed, int width) {
  done = std::min(done, total);
  double part = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0;
  double seconds = std::max(0.001, static_cast<double>(elapsed.count()) / 1000);
  double rate = static_cast<double>(done) / seconds;
  char percent[16];
  std::snprintf(percent, sizeof percent, " %3d %% ", static_cast<int>(part * 100));
  std::string numbers = " " + format_size(done) + " of " + format_size(total) + ", " +
                        format_size(static_cast<std::int64_t>(rate)) + "/s";
  if (rate >= 1) {
    double left = static_cast<double>(total - done) / rate;
    numbers +=
        ", " + format_duration(std::chrono::seconds(static_cast<std::int64_t>(left))) + " left";
  }
  std::string line = what + percent;
  int room = width - 1 - static_cast<int>(line.size() + numbers.size()) - 2;
  if (int cells = std::min(room, 30); cells >= 5) {
    int full = static_cast<int>(part * cells);
    line += "[" + std::string(static_cast<std::size_t>(full), '=') + (full < cells ? ">" : "") +
            std::string(static_cast<std::size_t>(std::max(0, cells - full - 1)), ' ') + "]";
  }
  return truncate(line + numbers, static_cast<std::size_t>(std::max(1, width - 1)), "");
}

void Progress::update(const std::string& what, std::int64_t done, std::int64_t total) {
  if (!out_.live() || total <= 0) return;
  auto now = Clock::now();
  if (!began_ || what != what_) {
    began_ = now;
    what_ = what;
  }
  using namespace std::chrono_literals;
  if (now - *began_ < 1s || now - drawn_ < 100ms) return;
  drawn_ = now;
  visible_ = true;
  auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(now - *began_);
  out_.status_bytes("\r\x1b[K" + progress_line(what, done, total, elapsed, out_.terminal().width));
}

void Progress::finish() {
  if (visible_) out_.status_bytes("\r\x1b[K");
  visible_ = false;
}

}  // namespace spell::cli
