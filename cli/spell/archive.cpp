#include "each_run.hpp"

namespace spell::cli {

Result<int> archive_command(Context& context) {
  Options options("archive", "[OPTIONS] IDS...",
                  "Hides runs from lists; nothing is deleted. spell ps -a shows them.");
  Words ids;
  bool undo = false;
  options.words(ids, "the numbers of runs", 1).flag("--undo", undo, "show them again");
  if (auto done = context.parse(options)) return *done;
  return each_run(context, ids, [&](const Run& run) -> Result<int> {
    auto info = run.archive(!undo);
    if (!info) return info.error();
    show_run(context.out, *info,
             "Run " + std::to_string(run.id()) + (undo ? " is listed again" : " archived"));
    return 0;
  });
}

}  // namespace spell::cli
