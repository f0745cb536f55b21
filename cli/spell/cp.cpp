#include "command.hpp"
#include "exit_status.hpp"
#include "interrupt.hpp"
#include "json_text.hpp"
#include "progress.hpp"
#include "text.hpp"

namespace spell::cli {

Result<int> cp_command(Context& context) {
  Options options("cp", "[OPTIONS] SOURCE [DEST]",
                  "Copies a file or folder of a run's outputs, or of an upload, here. DEST is an "
                  "existing folder or\na new name (default .). Files that are here already, "
                  "whole, are not fetched again: after ^C or a lost\nconnection the same command "
                  "goes on where it was.");
  Words paths;
  bool force = false, interactive = false;
  options.words(paths, "a SOURCE", 1, 2)
      .flag("-f,--force", force, "overwrite existing files")
      .flag("-i,--interactive", interactive, "ask before a file is overwritten")
      .notes("Examples:\n  spell cp runs/7/model.pt\n  spell cp -f runs/7 results\n");
  if (auto done = context.parse(options)) return *done;
  if (force && interactive) return usage_error("-f and -i contradict each other");
  if (interactive && !context.out.terminal().can_ask)
    return usage_error("-i asks, and there is no terminal");
  auto client = context.client();
  if (!client) return client.error();
  Progress progress(context.out);
  DownloadOptions download;
  download.force = force;
  if (interactive)
    download.ask = [&](const std::string& path) {
      progress.finish();
      return context.ask("Overwrite " + path + "?");
    };
  download.progress = [&](std::int64_t done, std::int64_t total) {
    progress.update("Copying", done, total);
  };
  Interrupt interrupt;
  auto copied = client->resources().fetch(paths[0], paths.size() > 1 ? paths[1] : ".", download,
                                          {.stop = interrupt.token()});
  progress.finish();
  if (!copied && interrupt.happened()) {
    context.out.error(Error("canceled", "stopped; the same command goes on from there"));
    return interrupted_status;
  }
  if (!copied) return copied.error();
  if (context.out.json()) {
    context.out.json_line(json_text("files", copied->files));
  } else {
    std::string text = "Copied " + count(copied->files, "file");
    if (copied->present > 0) text += "; " + count(copied->present, "file") + " here already";
    context.out.status(Mark::step, text);
  }
  return 0;
}

}  // namespace spell::cli
