#include "command.hpp"
#include "exit_status.hpp"
#include "interrupt.hpp"
#include "json_text.hpp"
#include "stats_table.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

void show_stats(Output& out, const Usage& usage, bool again) {
  if (out.json()) return out.json_line(json_text("stats", usage.stats));
  if (out.quiet()) {
    auto& s = usage.stats;
    return out.line(std::to_string(s.cpu_millis) + " " + std::to_string(s.memory));
  }
  // In place, where somebody looks on.
  if (again && out.live()) out.write("\x1b[H\x1b[J");
  out.table(usage_table({usage}, false));
  if (!usage.stats.gpus.empty()) out.table(gpu_table(usage.stats));
  if (usage.stats.unsaved > 0)
    out.line("Backup: " + format_size(usage.stats.unsaved) + " not safe yet, the oldest for " +
             format_duration(std::chrono::milliseconds(usage.stats.unsaved_age_ms)));
}

}  // namespace

Result<int> stats_command(Context& context) {
  Options options("stats", "[OPTIONS] ID",
                  "Shows what a running run uses: cores, memory, disk, and each GPU. The network's "
                  "figures are those of its\nwhole machine.");
  Words id;
  bool follow = false;
  options.words(id, "the number of a run", 1, 1)
      .flag("-f,--follow", follow, "go on, a line a second, until the run ends or ^C")
      .notes(
          "With -q: thousandths of a core, and bytes of memory.\n\nExamples:\n  spell stats 7\n"
          "  spell stats -f --json 7 > usage.jsonl\n");
  if (auto done = context.parse(options)) return *done;
  auto run = context.run(id[0]);
  if (!run) return run.error();
  auto info = run->info();
  if (!info) return info.error();
  Interrupt interrupt;
  auto samples = run->stats({.stop = interrupt.token()});
  bool live = follow && context.out.live(), any = false;
  if (live) context.out.write("\x1b[2J");
  while (auto sample = samples.next()) {
    if (!*sample) {
      if (interrupt.happened()) return interrupted_status;
      if (any && sample->error().code() == "run_ended") return 0;
      return sample->error();
    }
    any = true;
    show_stats(context.out, {*info, **sample}, live);
    if (!follow) break;
  }
  return 0;
}

}  // namespace spell::cli
