#include "command.hpp"
#include "follow.hpp"
#include "text.hpp"

namespace spell::cli {

Result<int> logs_command(Context& context) {
  Options options("logs", "[OPTIONS] ID",
                  "Shows the log of a run. The command's output goes to stdout; when that is no "
                  "terminal, status lines go\n"
                  "to stderr.");
  Words id;
  bool follow_it = false, verbose = false;
  std::optional<std::string> lines;
  options.words(id, "the number of a run", 1, 1)
      .flag("-f,--follow", follow_it, "go on until the run ends, then end with its exit code")
      .value("-n,--number", lines, "N", "only the last N lines")
      .flag("-v,--verbose", verbose, "show every entry")
      .notes("Examples:\n  spell logs -f 7\n  spell logs -n 20 7\n  spell logs 7 > output.txt\n");
  if (auto done = context.parse(options)) return *done;
  FollowOptions follow_options{.to_the_end = follow_it, .tail = {}, .all = verbose};
  if (lines) {
    follow_options.tail = parse_int(*lines);
    if (!follow_options.tail || *follow_options.tail < 0)
      return usage_error("-n " + shell_quote(*lines) + ": give a number of lines");
  }
  auto run = context.run(id[0]);
  if (!run) return run.error();
  return follow(context.out, *run, follow_options);
}

}  // namespace spell::cli
