// A bar for what takes longer than a second.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "output.hpp"

namespace spell::cli {

/// "Sending   45 % [=========>          ] 120.0 MiB of 260 MiB, 35.2 MiB/s, 4s left", at most
/// `width` columns.
std::string progress_line(const std::string& what, std::int64_t done, std::int64_t total,
                          std::chrono::milliseconds elapsed, int width);

class Progress {
 public:
  explicit Progress(Output& out) : out_(out) {}
  ~Progress() { finish(); }
  /// Draws at most ten times a second, on a terminal only.
  void update(const std::string& what, std::int64_t done, std::int64_t total);
  /// Takes the bar away.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  Output& out_;
  std::string what_;
  std::optional<Clock::time_point> began_;
  Clock::time_point drawn_{};
  bool visible_ = false;
};

}  // namespace spell::cli
