#include <algorithm>
#include <cctype>

#include "command.hpp"
#include "json_text.hpp"
#include "money.hpp"
#include "since.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

constexpr std::pair<std::string_view, CostBy> kinds[] = {
    {"run", CostBy::run},   {"workflow", CostBy::workflow}, {"project", CostBy::project},
    {"user", CostBy::user}, {"machine", CostBy::machine},   {"type", CostBy::type},
    {"day", CostBy::day},
};

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

/// A part of the dearest line's length.
std::string bar(Dollars amount, Dollars most, bool utf8) {
  constexpr double width = 20;
  if (most.nano <= 0) return {};
  auto length = width * static_cast<double>(amount.nano) / static_cast<double>(most.nano);
  std::string text;
  for (double drawn = 0.5; drawn <= length; ++drawn) text += utf8 ? "█" : "#";
  return text.empty() && amount.nano > 0 ? (utf8 ? "▏" : "|") : text;
}

std::string saved(const CostLine& line) {
  auto nano = line.on_demand.nano - line.amount.nano;
  return nano == 0 ? "" : format_dollars(Dollars::nanos(nano));
}

std::string lost(const CostLine& line) { return line.lost_ms > 0 ? format_dollars(line.lost) : ""; }

std::vector<Cell> row_of(const CostLine& line, std::string name) {
  return {{std::move(name)},
          {std::to_string(line.runs)},
          {format_duration(std::chrono::milliseconds(line.time_ms))},
          {format_dollars(line.amount)},
          {saved(line)},
          {lost(line)}};
}

void show_cost(Output& out, const CostReport& report) {
  Table table;
  table.header = {upper(report.by), "RUNS", "TIME", "COST", "SAVED BY SPOT", "LOST", ""};
  table.right = {1, 2, 3, 4, 5};
  Dollars most;
  for (const auto& line : report.lines) most = std::max(most, line.amount);
  for (const auto& line : report.lines) {
    auto name = line.name.empty() ? "(no " + report.by + ")" : line.name;
    if (out.quiet()) name = line.name;
    auto row = row_of(line, std::move(name));
    row.push_back({bar(line.amount, most, out.terminal().utf8), Colour::green});
    table.rows.push_back(std::move(row));
  }
  if (out.quiet()) return out.table(table);
  if (report.lines.size() > 1) {
    auto row = row_of(report.total, report.more ? "total (not all lines are shown)" : "total");
    for (auto& cell : row) cell.colour = Colour::bold;
    table.rows.push_back(std::move(row));
  }
  if (!report.lines.empty()) out.table(table);
  if (!report.machine_time.empty()) {
    if (!report.lines.empty()) out.line("");
    Table machines;
    machines.header = {"MACHINES WITHOUT A RUN", "MACHINES", "STARTING", "IDLE", "ENDING"};
    machines.right = {1, 2, 3, 4};
    for (const auto& time : report.machine_time)
      machines.rows.push_back({{time.type},
                               {std::to_string(time.machines)},
                               {format_dollars(time.start)},
                               {format_dollars(time.idle)},
                               {format_dollars(time.ending)}});
    out.table(machines);
    out.line("");
    out.line("In all " + format_dollars(report.all));
  }
  if (report.lines.empty() && report.machine_time.empty())
    out.line(report.unpriced.empty() ? "Nothing was spent." : "Nothing that has a price was used.");
  if (!report.unpriced.empty())
    out.line("Not counted: " + join(report.unpriced, ", ") + " (price not known; spell " +
             "machine-type set " + report.unpriced.front() + " --price AMOUNT)");
}

}  // namespace

Result<int> cost_command(Context& context) {
  Options options("cost", "[OPTIONS]",
                  "Says what runs have cost, each at the price that its machine type had when it "
                  "got its machine,\nand what machines have cost that were kept without a run.");
  std::optional<std::string> by, since, number;
  options
      .value("--by", by, "type|project|user|workflow|run|machine|day",
             "what the lines are (default type)")
      .value("--since", since, "TIME", "only from then on: 7d, 24h, today, month, 2026-03-01 (UTC)")
      .value("-n,--number", number, "N", "lines: the dearest, of runs and days the newest (100)")
      .notes("Examples:\n  spell cost --since month\n  spell cost --by run -n 10\n");
  if (auto done = context.parse(options)) return *done;
  CostFilter filter;
  if (by) {
    auto found = std::find_if(std::begin(kinds), std::end(kinds),
                              [&](auto& kind) { return kind.first == *by; });
    if (found == std::end(kinds))
      return usage_error("--by is type, project, user, workflow, run, machine or day, not " +
                         shell_quote(*by));
    filter.by = found->second;
  }
  if (since) {
    filter.since = parse_since(*since, std::chrono::system_clock::now());
    if (!filter.since)
      return usage_error("--since " + shell_quote(*since) +
                         ": give a time that has been: 7d, 24h, 30m, today, month, 2026-03-01 or "
                         "2026-03-01T12:00:00Z");
  }
  if (number) {
    auto lines = parse_int(*number);
    if (!lines || *lines < 1 || *lines > 10'000)
      return usage_error("-n " + shell_quote(*number) + ": give a number from 1 to 10000");
    filter.limit = static_cast<int>(*lines);
  }
  auto client = context.client();
  if (!client) return client.error();
  auto report = client->costs(filter);
  if (!report) return report.error();
  if (context.out.json())
    context.out.json_line(json_text("costs", *report));
  else
    show_cost(context.out, *report);
  return 0;
}

}  // namespace spell::cli
