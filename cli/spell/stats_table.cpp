#include "stats_table.hpp"

#include <cstdio>

#include "text.hpp"

namespace spell::cli {

namespace {

std::string share_text(std::int64_t part, std::int64_t whole) {
  if (whole <= 0) return "";
  return std::to_string((100 * part + whole / 2) / whole) + "%";
}

std::string cores(std::int64_t millis) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", static_cast<double>(millis) / 1000);
  return text;
}

std::string rate(std::int64_t bytes) { return bytes == 0 ? "0" : format_size(bytes) + "/s"; }

template <class Show>
std::string shown(const std::optional<std::int64_t>& value, Show show) {
  return value ? show(*value) : std::string("-");
}

}  // namespace

Table usage_table(const std::vector<Usage>& usages, bool with_command) {
  Table table;
  table.header = {"ID", "CORES", "MEMORY", "MEM%", "READ", "WRITTEN", "NET IN", "NET OUT", "TASKS"};
  table.right = {1, 2, 3, 4, 5, 6, 7, 8};
  if (with_command) {
    table.header.emplace_back("GPU");
    table.right.push_back(9);
    table.header.emplace_back("MACHINE");
    table.header.emplace_back("COMMAND");
    table.flexible = 11;
  }
  for (auto& [run, stats] : usages) {
    std::vector<Cell> row{{std::to_string(run.id)}};
    if (stats.run == 0)
      row.insert(row.end(), 8, Cell{"-", Colour::dim});
    else
      row.insert(row.end(), {{cores(stats.cpu_millis)},
                             {format_size(stats.memory)},
                             {share_text(stats.memory, stats.memory_total)},
                             {rate(stats.disk_read_rate)},
                             {rate(stats.disk_written_rate)},
                             {rate(stats.network_received_rate)},
                             {rate(stats.network_sent_rate)},
                             {std::to_string(stats.threads)}});
    if (with_command) {
      std::int64_t use = 0, known = 0;
      for (auto& gpu : stats.gpus)
        if (gpu.use_percent) use += *gpu.use_percent, ++known;
      row.push_back({known == 0 ? "" : std::to_string(use / known) + "%"});
      row.push_back({run.machine});
      row.push_back({run.command});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table gpu_table(const RunStats& stats) {
  Table table;
  table.header = {"GPU", "NAME", "USE", "MEMORY", "OF", "TEMPERATURE", "POWER"};
  table.right = {2, 3, 4, 5, 6};
  table.flexible = 1;
  for (auto& gpu : stats.gpus)
    table.rows.push_back({{std::to_string(gpu.index)},
                          {gpu.name},
                          {shown(gpu.use_percent, [](auto v) { return std::to_string(v) + "%"; })},
                          {shown(gpu.memory, format_size)},
                          {shown(gpu.memory_total, format_size)},
                          {shown(gpu.temperature, [](auto v) { return std::to_string(v) + " C"; })},
                          {shown(gpu.power_milliwatts,
                                 [](auto v) { return std::to_string((v + 500) / 1000) + " W"; })}});
  return table;
}

}  // namespace spell::cli
