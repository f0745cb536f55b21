// How far something has come that takes longer than a second: a bar on a terminal, a line now and
// then elsewhere.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "output.hpp"

namespace spell::cli {

using ProgressClock = std::chrono::steady_clock;

/// How fast it goes: over the last seconds, not since the beginning, of which much may have been
/// there already.
class RateMeter {
 public:
  void add(ProgressClock::time_point now, std::int64_t done);
  /// Bytes a second; nothing before there is something to tell by.
  std::optional<double> rate() const;

 private:
  struct Sample {
    ProgressClock::time_point time;
    std::int64_t done;
  };
  std::deque<Sample> samples_;
};

/// "120.0 MiB of 260 MiB, 35.2 MiB/s, 4.0s left"
std::string progress_numbers(std::int64_t done, std::int64_t total, std::optional<double> rate);
/// "Sending   45 % [=========>          ] 120.0 MiB of 260 MiB, 35.2 MiB/s, 4.0s left", at most
/// `width` columns.
std::string progress_line(const std::string& what, std::int64_t done, std::int64_t total,
                          std::optional<double> rate, int width);

/// Nothing in JSON and quiet mode. Used by one thread at a time.
class Progress {
 public:
  explicit Progress(Output& out) : out_(out) {}
  ~Progress() { finish(); }
  /// Draws at most ten times a second on a terminal, else writes a line every ten seconds.
  void update(const std::string& what, std::int64_t done, std::int64_t total) {
    update(what, done, total, ProgressClock::now());
  }
  void update(const std::string& what, std::int64_t done, std::int64_t total,
              ProgressClock::time_point now);
  /// Takes the bar away.
  void finish();

 private:
  Output& out_;
  std::string what_;
  std::optional<ProgressClock::time_point> began_;
  ProgressClock::time_point drawn_{};
  RateMeter meter_;
  bool visible_ = false;
};

}  // namespace spell::cli
