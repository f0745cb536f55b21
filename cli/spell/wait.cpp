#include "each_run.hpp"
#include "exit_status.hpp"
#include "follow_view.hpp"

namespace spell::cli {

Result<int> wait_command(Context& context) {
  Options options("wait", "[OPTIONS] IDS...",
                  "Waits for the end of runs. Ends with the exit code of the first that is not 0: "
                  "the command's own,\n"
                  "128 + its signal, or 125 for a run that ended otherwise. Of a run that is\n"
                  "interrupted and goes on as another, the end of that one counts.");
  Words ids;
  options.words(ids, "the numbers of runs", 1)
      .notes("Example:\n  spell wait 7 8 && spell cp runs/8/model.pt\n");
  if (auto done = context.parse(options)) return *done;
  return each_run(context, ids, [&](const Run& run) -> Result<int> {
    auto info = run.wait();
    if (!info) return info.error();
    if (info->id != run.id())
      if (auto first = run.info()) context.out.status(Mark::halted, ending(*first).text);
    show_run(context.out, *info, ending(*info).text);
    return exit_status(*info);
  });
}

}  // namespace spell::cli
