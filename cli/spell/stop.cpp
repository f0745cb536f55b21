// `spell stop` and `spell kill`.
#include "each_run.hpp"
#include "follow_view.hpp"

namespace spell::cli {

namespace {

Result<int> end_runs(Context& context, Options& options,
                     Result<RunInfo> (Run::*end)(CallOptions) const, const std::string& doing) {
  Words ids;
  options.words(ids, "the numbers of runs", 1);
  if (auto done = context.parse(options)) return *done;
  return each_run(context, ids, [&](const Run& run) -> Result<int> {
    auto info = (run.*end)({});
    if (!info) return info.error();
    show_run(
        context.out, *info,
        info->status.is_final() ? ending(*info).text : doing + " run " + std::to_string(info->id));
    return 0;
  });
}

}  // namespace

Result<int> stop_command(Context& context) {
  Options options("stop", "[OPTIONS] IDS...",
                  "Ends runs and saves their outputs. A run that is not yet running is killed.");
  return end_runs(context, options, &Run::stop, "Stopping");
}

Result<int> kill_command(Context& context) {
  Options options("kill", "[OPTIONS] IDS...", "Ends runs at once; nothing is saved.");
  return end_runs(context, options, &Run::kill, "Killing");
}

}  // namespace spell::cli
