#include "model/metric.hpp"

#include <cmath>
#include <limits>
#include <ostream>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "model/members.hpp"
#include "model/run.hpp"
#include "spell/json.hpp"

namespace spell::model {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// JSON has no word for these numbers.
std::optional<double> named_number(std::string_view name) {
  if (name == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (name == "Infinity") return infinity;
  if (name == "-Infinity") return -infinity;
  return std::nullopt;
}

json number_json(double number) {
  if (std::isfinite(number)) return number;
  return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
}

Problem read_number(const json& j, double& out) {
  if (j.is_number()) {
    out = j.get<double>();
    return std::isfinite(out) ? Problem{} : Problem{"", "is too large"};
  }
  auto named = j.is_string() ? named_number(j.get_ref<const std::string&>()) : std::nullopt;
  if (!named) return {"", R"(must be a number, "NaN", "Infinity" or "-Infinity")"};
  out = *named;
  return {};
}

Problem read_metric_name(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, metric_name_limit)) return problem;
  if (out.empty()) return {"", "is empty"};
  for (unsigned char c : out)
    if (c < ' ' || c == 0x7f) return {"", "has a control character"};
  return {};
}

Problem read_sent(const json& j, SentMetric& out) {
  if (!j.is_object()) return {"", "must be an object"};
  std::string type;
  const json *number = nullptr, *text = nullptr;
  for (auto it = j.begin(); it != j.end(); ++it) {
    auto& key = it.key();
    Problem problem;
    if (key == "name")
      problem = read_metric_name(*it, out.name);
    else if (key == "type")
      problem = read_text(*it, type, 64);
    else if (key == "number")
      number = &*it;
    else if (key == "text")
      text = &*it;
    else if (key == "index")
      problem = read_optional(*it, out.index, [](const json& from, std::int64_t& index) {
        return read_int(from, index, -integer_limit);
      });
    else
      return {in_quotes(key), "is not a known field"};
    if (problem) return std::move(problem).within(key);
  }
  if (out.name.empty()) return {"name", "is missing"};
  if (type != "number" && type != "text") return {"type", "must be number or text"};
  auto* value = type == "number" ? number : text;
  if (!value) return {type, "is missing"};
  if (number && text) return {type == "number" ? "text" : "number", "does not go with the type"};
  if (type == "text")
    return read_text(*value, out.value.emplace<1>(), metric_text_limit).within("text");
  return read_number(*value, out.value.emplace<0>()).within("number");
}

}  // namespace

Result<std::vector<SentMetric>> parse_sent_metrics(std::string_view body) {
  auto parsed = parse_json(body, 1 << 20);
  if (!parsed) return base::error("invalid_metric", parsed.error().message());
  std::vector<SentMetric> out;
  Problem problem;
  if (parsed->is_array())
    problem = read_list(*parsed, out, metrics_at_once, read_sent);
  else
    problem = read_sent(*parsed, out.emplace_back());
  if (problem) return problem.error("invalid_metric");
  return out;
}

json to_json(const SentMetric& metric) {
  json out{{"name", metric.name}};
  if (auto* number = std::get_if<double>(&metric.value)) {
    out["type"] = "number";
    out["number"] = number_json(*number);
  } else {
    out["type"] = "text";
    out["text"] = std::get<std::string>(metric.value);
  }
  if (metric.index) out["index"] = *metric.index;
  return out;
}

std::string metric_line(const Metric& metric) {
  json line{metric.name, metric.index};
  if (!metric.is_number())
    line.push_back(std::get<std::string>(metric.value));
  else if (std::isfinite(metric.number()))
    line.push_back(metric.number());
  else
    line.push_back({{"number", number_json(metric.number())}});
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

std::optional<Metric> parse_metric_line(std::string_view text) {
  json line = json::parse(text, nullptr, false);
  if (!line.is_array() || line.size() != 3 || !line[0].is_string() || !line[1].is_number_integer())
    return std::nullopt;
  Metric metric;
  metric.name = line[0].get<std::string>();
  metric.index = line[1].get<std::int64_t>();
  if (line[2].is_string()) {
    metric.value = line[2].get<std::string>();
  } else {
    auto& number = line[2].is_object() && line[2].contains("number") ? line[2]["number"] : line[2];
    if (read_number(number, metric.value.emplace<0>())) return std::nullopt;
  }
  return metric;
}

}  // namespace spell::model

namespace spell {

namespace {

void read_value_of(const nlohmann::json& j, Metric& metric) {
  if (auto text = j.find("text"); text != j.end() && text->is_string()) {
    metric.value = text->get<std::string>();
    return;
  }
  auto number = j.find("number");
  if (number == j.end() || model::read_number(*number, metric.value.emplace<0>()))
    throw Error("invalid_answer", "a metric in the service's answer has neither number nor text");
}

}  // namespace

void to_json(nlohmann::json& j, const Metric& metric) {
  j = {{"name", metric.name},
       {"time",
        base::rfc3339(
            std::chrono::floor<std::chrono::microseconds>(metric.time.time_since_epoch()).count())},
       {"index", metric.index}};
  if (metric.is_number())
    j["number"] = model::number_json(metric.number());
  else
    j["text"] = std::get<std::string>(metric.value);
}

void from_json(const nlohmann::json& j, Metric& metric) {
  metric.name = j.at("name").get<std::string>();
  metric.index = j.at("index").get<std::int64_t>();
  std::int64_t us = 0;
  if (auto problem = model::read_time(j.at("time"), us)) throw problem.error("invalid_answer");
  metric.time = std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::microseconds(us)));
  read_value_of(j, metric);
}

void to_json(nlohmann::json& j, const MetricInfo& info) {
  j = {{"name", info.name},
       {"points", info.points},
       {"last", info.last},
       {"least", nullptr},
       {"most", nullptr}};
  if (info.least) j["least"] = model::number_json(*info.least);
  if (info.most) j["most"] = model::number_json(*info.most);
}

void from_json(const nlohmann::json& j, MetricInfo& info) {
  info.name = j.at("name").get<std::string>();
  info.points = j.at("points").get<std::int64_t>();
  j.at("last").get_to(info.last);
  auto bound = [&](const char* name, std::optional<double>& out) {
    out.reset();
    auto found = j.find(name);
    if (found == j.end() || found->is_null()) return;
    if (auto problem = model::read_number(*found, out.emplace()))
      throw problem.error("invalid_answer");
  };
  bound("least", info.least);
  bound("most", info.most);
}

}  // namespace spell
