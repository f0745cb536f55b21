#include "follow.hpp"

namespace spell::cli {

Result<int> rerun_command(Context& context) {
  Options options("rerun", "[OPTIONS] ID",
                  "Submits a run again, with the same code and options, as a new run.");
  Words id;
  bool background = false, verbose = false;
  options.words(id, "the number of a run", 1, 1)
      .flag("-b,--background", background, "do not follow the log")
      .flag("-v,--verbose", verbose, "show every entry of the log");
  if (auto done = context.parse(options)) return *done;
  auto number = parse_run_id(id[0]);
  if (!number) return number.error();
  auto client = context.client();
  if (!client) return client.error();
  auto run = client->runs().get(*number);
  if (!run) return run.error();
  auto again = run->rerun();
  if (!again) return again.error();
  auto info = again->info();
  if (!info) return info.error();
  return show_new_run(context, *client, *info, background, verbose);
}

}  // namespace spell::cli
