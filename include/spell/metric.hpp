// Metrics: what a run's program reports of itself while it runs (loss, accuracy, a word on how it
// goes), point by point.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>

#include "spell/result.hpp"

namespace spell {

/// One point.
struct Metric {
  std::string name{};
  std::chrono::system_clock::time_point time{};  ///< when the machine took it
  std::int64_t index = 0;                        ///< its step; by default one more than the last
  std::variant<double, std::string> value{};     ///< a number, NaN and infinities too; or text

  bool is_number() const noexcept { return value.index() == 0; }
  /// 0 where it is text.
  double number() const noexcept { return is_number() ? *std::get_if<0>(&value) : 0; }
};
/// Writes "INDEX VALUE".
std::ostream& operator<<(std::ostream&, const Metric&);

/// What there is of one name.
struct MetricInfo {
  std::string name{};
  std::int64_t points = 0;
  Metric last{};
  std::optional<double> least{}, most{};  ///< of its numbers, NaN left out
};

struct MetricOptions {
  std::string name{};   ///< "": all names
  bool follow = false;  ///< goes on until the chain has ended and all is read
  std::optional<std::int64_t> first{}, last{};  ///< only points with these indices, both included
  std::stop_token stop{};                       ///< ends the stream with the error `canceled`
  /// Of the stream as a whole: then it ends with the error `timeout`; none: as long as it takes.
  std::optional<std::chrono::milliseconds> timeout{};
};

/// Inside a run: reports a point, which is the run's once this returns. Outside of one
/// ($SPELL_METRICS is not set) nothing happens. Errors: `invalid_metric` (the name, the value),
/// `service_unreachable` after 10 s: the worker is away. Blocks for about 0.1 ms. Thread-safe: the
/// process keeps one connection to the worker, from the first point on.
Result<> send_metric(std::string_view name, double value, std::optional<std::int64_t> index = {});
Result<> send_metric(std::string_view name, std::string_view text,
                     std::optional<std::int64_t> index = {});
Result<> send_metric(std::string_view name, const char* text,
                     std::optional<std::int64_t> index = {});

}  // namespace spell
