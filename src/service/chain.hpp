// What a chain is to the service: a run and those that it goes on as, one after the other. The one
// place that knows which of them stands for all.
#pragma once
#include <cstdint>

#include "store/store.hpp"

namespace spell::service {

/// Reason of those that were ended because one before them has succeeded, though late.
inline constexpr const char* superseded = "chain_complete";

inline bool is_success(const store::RunRecord& run) {
  return run.status == "complete" && run.exit_code == 0;
}

/// The run that stands for the whole chain of this one: its last, or one that has succeeded before,
/// though late. `find` returns a Result of a pointer to the run of a number.
template <class Find>
auto end_of_chain(const Find& find, std::int64_t number) -> decltype(find(number)) {
  auto run = find(number);
  while (run && (*run)->status == "interrupted" && (*run)->resumed_as != 0)
    run = find((*run)->resumed_as);
  auto last = run;
  while (run && (*run)->reason_code == superseded && (*run)->resumed_from != 0) {
    run = find((*run)->resumed_from);
    if (run && is_success(**run)) return run;
  }
  return last;
}

}  // namespace spell::service
