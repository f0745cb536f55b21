#include "worker/run_ends.hpp"

#include "base/error.hpp"

namespace spell::worker {

Error not_running(const StreamOrder& order) {
  return base::error("run_not_running",
                     "run " + std::to_string(order.number) + " is not running on its machine");
}

bool is_over(const base::Fd& supervisor) {
  pollfd file{supervisor.get(), 0, 0};
  return ::poll(&file, 1, 0) > 0;
}

}  // namespace spell::worker
