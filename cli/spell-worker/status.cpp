#include <iostream>

#include "base/file.hpp"
#include "commands.hpp"
#include "say.hpp"
#include "state.hpp"
#include "worker/joined.hpp"

namespace spell::worker_program {

int status(const Options& options) {
  std::string folder = options.state.empty() ? default_state_folder() : options.state;
  // Looking makes nothing.
  auto joined = base::exists(folder) ? worker::read_joined(folder)
                                     : Result<std::optional<worker::Joined>>(std::nullopt);
  if (!joined) return fail(joined.error(), options.json);
  Status status = base::exists(folder) ? read_status(folder) : Status();
  std::int64_t runs = count_runs(folder);
  if (options.json) {
    nlohmann::json out{{"folder", folder},    {"state", status.state},
                       {"runs", runs},        {"version", status.version},
                       {"code", status.code}, {"error", status.error}};
    out["machine"] = *joined ? (*joined)->name : "";
    out["url"] = *joined ? (*joined)->url : "";
    std::cout << out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
    return 0;
  }
  if (*joined)
    std::cout << "Machine " << (*joined)->name << " of " << (*joined)->url << std::endl;
  else
    std::cout << "This machine has not joined a service" << std::endl;
  if (status.state == "stopped")
    std::cout << "The worker does not run: spell-worker run" << std::endl;
  else
    std::cout << "The worker is " << status.state
              << (status.error.empty() ? "" : ": " + status.error) << std::endl;
  std::cout << runs << (runs == 1 ? " run here" : " runs here") << std::endl;
  return 0;
}

}  // namespace spell::worker_program
