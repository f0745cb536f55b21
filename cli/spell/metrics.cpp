#include <charconv>

#include "chart.hpp"
#include "command.hpp"
#include "exit_status.hpp"
#include "interrupt.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

constexpr std::size_t chart_width = 80;

std::string exact(double number) {
  char text[40];
  return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
}

std::string value_of(const Metric& metric) {
  return metric.is_number() ? exact(metric.number()) : std::get<std::string>(metric.value);
}

std::string short_value_of(const Metric& metric) {
  return metric.is_number() ? format_number(metric.number())
                            : printable(std::get<std::string>(metric.value));
}

/// RFC 4180.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (char c : text) out.append(c == '"' ? 2 : 1, c);
  return out + '"';
}

Table table_of_metrics(const std::vector<MetricInfo>& metrics) {
  Table table;
  table.header = {"NAME", "POINTS", "LAST", "LEAST", "MOST", "INDEX", "TIME"};
  table.right = {1, 2, 3, 4, 5};
  table.flexible = 0;
  for (auto& metric : metrics)
    table.rows.push_back({{printable(metric.name)},
                          {std::to_string(metric.points)},
                          {short_value_of(metric.last)},
                          {metric.least ? format_number(*metric.least) : ""},
                          {metric.most ? format_number(*metric.most) : ""},
                          {std::to_string(metric.last.index)},
                          {format_time(metric.last.time)}});
  return table;
}

/// What has been read of one name, for people: the numbers as a curve, texts as they came.
void show_metrics(Output& out, const std::vector<Metric>& points) {
  std::vector<std::pair<double, double>> numbers;
  for (auto& point : points) {
    if (point.is_number())
      numbers.emplace_back(double(point.index), point.number());
    else
      out.line(std::to_string(point.index) + "  " + short_value_of(point));
  }
  auto& terminal = out.terminal();
  auto width = terminal.out ? static_cast<std::size_t>(terminal.width) : chart_width;
  std::string curve =
      chart(numbers, {.width = std::min(width, chart_width), .utf8 = terminal.utf8});
  if (!curve.empty()) out.write(curve);
  if (!numbers.empty())
    out.line(count(static_cast<std::int64_t>(numbers.size()), "point") + ", the last one " +
             format_number(numbers.back().second));
}

}  // namespace

Result<int> metrics_command(Context& context) {
  Options options(
      "metrics", "[OPTIONS] ID [NAME]",
      "Shows what a run has reported of itself: its metrics, or one of them as a curve.");
  Words words;
  bool follow = false, csv = false;
  options.words(words, "the number of a run, and the name of a metric", 1, 2)
      .flag("-f,--follow", follow, "a line a point as they come, until the run ends or ^C")
      .flag("--csv", csv, "run_id,metric_name,timestamp,index,value; without a NAME of all of them")
      .notes(
          "Inside a run: spell send-metric NAME VALUE.\n\nExamples:\n  spell metrics 7\n"
          "  spell metrics 7 loss\n  spell metrics 7 --csv > metrics.csv\n");
  if (auto done = context.parse(options)) return *done;
  auto& out = context.out;
  if (csv && out.json()) return usage_error("--csv and --json do not go together");
  auto run = context.run(words[0]);
  if (!run) return run.error();

  std::string name = words.size() > 1 ? words[1] : "";
  if (name.empty() && !follow && !csv) {
    auto names = run->metric_names();
    if (!names) return names.error();
    if (out.json()) return out.json_line(json_text("metrics", *names)), 0;
    if (names->empty() && !out.quiet()) {
      out.status(Mark::step, "Run " + std::to_string(run->id()) + " has sent no metrics");
      return 0;
    }
    return out.table(table_of_metrics(*names)), 0;
  }

  Interrupt interrupt;
  MetricOptions wanted;
  wanted.name = name;
  wanted.follow = follow;
  wanted.stop = interrupt.token();
  if (csv) out.write("run_id,metric_name,timestamp,index,value\n");
  std::vector<Metric> points;
  for (auto& point : run->metrics(std::move(wanted))) {
    if (!point) return interrupt.happened() ? Result<int>(interrupted_status) : point.error();
    if (csv)
      out.write(std::to_string(run->id()) + ',' + csv_field(point->name) + ',' +
                format_timestamp(point->time) + ',' + std::to_string(point->index) + ',' +
                csv_field(value_of(*point)) + '\n');
    else if (follow && out.json())
      out.json_line(json_text(*point));
    else if (follow || out.quiet())
      out.line((name.empty() ? printable(point->name) + "  " : "") + std::to_string(point->index) +
               "  " + printable(value_of(*point)));
    else
      points.push_back(std::move(*point));
  }
  if (csv || follow || out.quiet()) return 0;
  if (out.json()) return out.json_line(json_text("metrics", points)), 0;
  if (points.empty())
    out.status(Mark::step,
               "Run " + std::to_string(run->id()) + " has no metric " + printable(name));
  show_metrics(out, points);
  return 0;
}

Result<int> send_metric_command(Context& context) {
  Options options("send-metric", "[OPTIONS] NAME VALUE",
                  "Reports a point of a metric of the run that this is called in; outside of one "
                  "nothing happens.");
  Words words;
  std::optional<std::string> index;
  options.words(words, "the metric's name and its value, a number or a text", 2, 2)
      .value("-i,--index", index, "N", "its step; default: one more than the last of this name")
      .notes("Examples:\n  spell send-metric loss 0.25\n  spell send-metric note \"warmed up\"\n");
  if (auto done = context.parse(options)) return *done;
  std::optional<std::int64_t> step;
  if (index && !(step = parse_int(*index)))
    return usage_error("--index '" + *index + "' is no whole number");
  auto& value = words[1];
  double number = 0;
  auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), number);
  bool is_number = failed == std::errc() && end == value.data() + value.size();
  auto sent = is_number ? send_metric(words[0], number, step)
                        : send_metric(words[0], std::string_view(value), step);
  if (!sent) return sent.error();
  return 0;
}

}  // namespace spell::cli
