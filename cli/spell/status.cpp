#include "status.hpp"

#include "json_text.hpp"
#include "machine_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

std::string runs_text(const std::map<std::string, std::int64_t>& by_status) {
  std::vector<std::string> parts;
  for (const auto& [status, number] : by_status)
    if (number > 0)
      parts.push_back(std::to_string(number) + " " +
                      (status == RunStatus::machine_requested ? "queued" : status));
  return parts.empty() ? "none" : join(parts, ", ");
}

}  // namespace

void show_service(Output& out, const ServiceInfo& info) {
  if (out.json()) return out.json_line(json_text("service", info));
  if (out.quiet()) return out.line(std::to_string(info.pid));
  Table table;
  auto add = [&](std::string name, std::string text) {
    if (!text.empty()) table.rows.push_back({{std::move(name), Colour::dim}, {std::move(text)}});
  };
  add("Service", "spelld " + info.version + (info.location.empty() ? "" : " at " + info.location));
  if (info.pid > 0) add("Process", std::to_string(info.pid));
  if (info.started_at) add("Since", format_time(*info.started_at));
  add("Folder", info.spell_dir);
  add("User",
      info.user + (info.owner.empty() || info.owner == info.user ? "" : ", for " + info.owner));
  add("Runs", runs_text(info.runs_by_status));
  for (const auto& machine : info.machines) {
    add("Machine " + machine.name, machine_text(machine));
    if (auto containment = machine.capabilities.find("containment");
        containment != machine.capabilities.end())
      add("", "containment: " + containment->second);
    if (auto mounts = machine.capabilities.find("mounts"); mounts != machine.capabilities.end()) {
      auto limit = machine.capabilities.find("mount_cache");
      auto bytes = limit == machine.capabilities.end() ? std::nullopt : parse_int(limit->second);
      add("", "mounts: " + mounts->second +
                  (bytes ? ", up to " + format_size(*bytes) + " kept for the next runs" : ""));
    }
  }
  add("Storage", format_size(info.storage_bytes) + " outputs, " + format_size(info.log_bytes) +
                     " logs, " + format_size(info.disk_free) + " disk free");
  for (const auto& note : info.notes) add("Note", note);
  out.table(table);
}

Result<int> status_command(Context& context) {
  Options options("status", "[OPTIONS]", "Shows the service, its runs, machines and storage.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto info = client->status();
  if (!info) return info.error();
  show_service(context.out, *info);
  return 0;
}

}  // namespace spell::cli
