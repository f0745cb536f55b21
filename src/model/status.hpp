// The life-cycle of a run, as one table.
//
//   machine_requested -> building -> mounting -> running -> saving -> pushing -> complete
//        any of them may pass through  stopping -> saving …, killing -> killed,  or end in a final
//        status.
#pragma once
#include <span>
#include <string_view>

namespace spell::model {

struct StatusRow {
  std::string_view name;
  bool final;
  bool on_machine;         ///< the run has a machine (a place is taken)
  std::string_view shown;  ///< as `spell ps` shows it
  std::string_view next;   ///< the statuses that may follow, separated by blanks
};
std::span<const StatusRow> statuses();
const StatusRow* find_status(std::string_view name);
bool is_final(std::string_view status);
/// Whether a run may go from one status to the other.
bool may_follow(std::string_view from, std::string_view to);

}  // namespace spell::model
