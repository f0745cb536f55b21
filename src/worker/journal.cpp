#include "worker/journal.hpp"

#include "base/error.hpp"

namespace spell::worker {

using model::json;

std::string journal_line(const model::Command& command, const std::string& boot_id) {
  model::SyncAnswer told;
  told.commands.push_back(command);
  if (auto& start = told.commands.back().start) start->secrets.clear();
  json line;
  line["boot_id"] = boot_id;
  line["told"] = model::to_json(told);
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

std::string journal_line(const model::RunReport& report) {
  model::SyncRequest said;
  said.reports.push_back(report);
  json line;
  line["said"] = model::to_json(said);
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

std::string journal_line(int metrics_port) {
  json line;
  line["metrics"] = metrics_port;
  return line.dump() + '\n';
}

Result<Journal> read_journal(std::string_view text) {
  Journal journal;
  bool started = false;
  for (std::size_t at = 0; at < text.size();) {
    auto end = text.find('\n', at);
    if (end == std::string_view::npos) break;
    json line = json::parse(text.substr(at, end - at), nullptr, false);
    at = end + 1;
    if (!line.is_object()) break;
    if (auto told = line.find("told"); told != line.end()) {
      auto answer = model::parse_sync_answer(*told);
      if (!answer) return answer.error();
      for (auto& command : answer->commands) {
        if (!command.start) {
          journal.told.push_back(std::move(command));
          continue;
        }
        journal.start = std::move(*command.start);
        if (auto boot = line.find("boot_id"); boot != line.end() && boot->is_string())
          journal.boot_id = *boot;
        started = true;
      }
    } else if (auto said = line.find("said"); said != line.end()) {
      auto request = model::parse_sync_request(*said);
      if (!request) return request.error();
      for (auto& report : request->reports) {
        for (auto& event : report.events) journal.events.push_back(std::move(event));
        if (report.result) journal.result = std::move(report.result);
      }
    } else if (auto metrics = line.find("metrics");
               metrics != line.end() && metrics->is_number_integer()) {
      journal.metrics_port = metrics->get<int>();
    }
  }
  if (!started)
    return base::error("bad_journal", "the run's journal does not begin with its start");
  return journal;
}

}  // namespace spell::worker
