#include "model/status.hpp"

#include <ostream>

#include "spell/run.hpp"

namespace spell {
namespace model {

namespace {
// A stop or kill that crosses the run's own end on the wire loses: what the worker reports as the
// end is the end.
constexpr StatusRow status_table[] = {
    // name, final, on a machine, shown, next
    {"machine_requested", false, false, "Queued",
     "building killing failed interrupted killed stopped"},
    {"building", false, true, "Building",
     "mounting running stopping killing failed build_failed interrupted killed stopped"},
    {"mounting", false, true, "Mounting",
     "running stopping killing failed mount_failed interrupted killed stopped"},
    {"running", false, true, "Running",
     "saving pushing stopping killing complete failed interrupted killed stopped"},
    {"saving", false, true, "Saving", "pushing killing complete failed interrupted killed stopped"},
    {"pushing", false, true, "Pushing", "killing complete failed interrupted killed stopped"},
    {"stopping", false, true, "Stopping",
     "saving pushing killing complete failed build_failed mount_failed interrupted killed stopped"},
    {"killing", false, true, "Killing",
     "complete failed build_failed mount_failed interrupted killed stopped"},
    {"complete", true, false, "Complete", ""},
    {"failed", true, false, "Failed", ""},
    {"build_failed", true, false, "Build Failed", ""},
    {"mount_failed", true, false, "Mount Failed", ""},
    {"interrupted", true, false, "Interrupted", ""},
    {"killed", true, false, "Killed", ""},
    {"stopped", true, false, "Stopped", ""},
};
}  // namespace

std::span<const StatusRow> statuses() { return status_table; }

const StatusRow* find_status(std::string_view name) {
  for (auto& row : status_table)
    if (row.name == name) return &row;
  return nullptr;
}

bool is_final(std::string_view status) {
  auto row = find_status(status);
  return row && row->final;
}

bool may_follow(std::string_view from, std::string_view to) {
  auto row = find_status(from);
  if (!row || to.empty()) return false;
  for (auto rest = row->next; !rest.empty();) {
    auto name = rest.substr(0, rest.find(' '));
    if (name == to) return true;
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
  }
  return false;
}

}  // namespace model

bool RunStatus::is_final() const noexcept { return model::is_final(name_); }

std::ostream& operator<<(std::ostream& out, const RunStatus& status) {
  return out << status.name();
}

std::ostream& operator<<(std::ostream& out, const LogEntry& entry) { return out << entry.text; }

}  // namespace spell
