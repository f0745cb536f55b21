#include "service/retention.hpp"

#include <algorithm>
#include <tuple>

namespace spell::service {

Expired expired(std::vector<store::KeptRun> runs, const Retention& rules, std::int64_t now_us) {
  Expired out;
  if (!rules.any()) return out;
  std::sort(runs.begin(), runs.end(), [](auto& a, auto& b) {
    return std::tie(a.ended_us, a.owner, a.number) < std::tie(b.ended_us, b.owner, b.number);
  });
  std::int64_t bytes = 0;
  for (auto& run : runs) bytes += run.bytes;
  std::int64_t age_us = rules.keep_days * 24 * 3600 * std::int64_t{1'000'000};
  for (auto& run : runs) {
    if (run.labelled) continue;
    bool old = age_us > 0 && now_us - run.ended_us > age_us;
    // One without bytes makes no room.
    bool over = rules.keep_bytes > 0 && bytes > rules.keep_bytes && run.bytes > 0;
    if (old || over) {
      out.runs.emplace_back(run.owner, run.number);
      bytes -= run.bytes;
    } else if (age_us > 0 && out.next_us == 0) {
      out.next_us = run.ended_us + age_us + 1;
    }
  }
  return out;
}

}  // namespace spell::service
