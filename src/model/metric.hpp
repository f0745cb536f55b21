// Metrics of runs: what a run's program sends (POST /user-metrics), and the line that a point is on
// disk and on its way: a JSON list [name, index, value], value being a number, a text, or
// {"number": "NaN" | "Infinity" | "-Infinity"}. A run's points are output frames (see log.hpp),
// whose payloads are whole lines and whose time is theirs; so they are spooled, sent and kept as a
// log is.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "spell/metric.hpp"

namespace spell::model {

inline constexpr std::size_t metric_name_limit = 200, metric_text_limit = 4096;
inline constexpr std::size_t metrics_at_once = 1000;
/// Bytes of a run's points.
inline constexpr std::int64_t metrics_limit = 1LL << 30;

/// A point as it was sent; without an index it is the next of its name.
struct SentMetric {
  std::string name{};
  std::optional<std::int64_t> index{};
  std::variant<double, std::string> value{0.0};
};

/// {"name", "type": "number" | "text", "number" | "text", "index"?}, or a list of these. Error
/// `invalid_metric`, which names what is wrong; of a list nothing counts then.
Result<std::vector<SentMetric>> parse_sent_metrics(std::string_view body);
nlohmann::json to_json(const SentMetric&);

/// The line, its newline included.
std::string metric_line(const Metric&);
/// Nothing for what is no line. Its time is not in it.
std::optional<Metric> parse_metric_line(std::string_view line);

}  // namespace spell::model
