#include "each_run.hpp"
#include "json_text.hpp"
#include "text.hpp"
#include "unavailable.hpp"

namespace spell::cli {

Result<int> rm_command(Context& context) {
  Options options(
      "rm", "[OPTIONS] IDS...",
      "Deletes runs that have ended for good, with their logs and outputs. Asks first.");
  Words ids;
  bool force = false;
  options.words(ids, "the numbers of runs", 1).flag("-f,--force", force, "do not ask");
  if (auto done = context.parse(options)) return *done;
  for (const auto& id : ids)
    if (id.starts_with("uploads/")) return not_available("rm " + id);
  if (auto numbers = parse_run_ids(ids); !numbers) return numbers.error();
  if (!force) {
    if (!context.out.terminal().can_ask)
      return usage_error(
          "spell rm asks before it deletes, and there is no terminal; -f deletes without asking");
    std::string which = (ids.size() == 1 ? "run " : "runs ") + join(ids, ", ");
    if (!context.ask("Delete " + which + " for good, with logs and outputs?")) return 1;
  }
  return each_run(context, ids, [&](const Run& run) -> Result<int> {
    auto removed = run.remove();
    if (!removed) return removed.error();
    if (context.out.json())
      context.out.json_line(json_text("removed", run.id()));
    else if (context.out.quiet())
      context.out.line(std::to_string(run.id()));
    else
      context.out.line("Run " + std::to_string(run.id()) + " deleted");
    return 0;
  });
}

}  // namespace spell::cli
