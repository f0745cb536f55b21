#include "command.hpp"
#include "json_text.hpp"
#include "progress.hpp"
#include "text.hpp"

namespace spell::cli {

Result<int> cp_command(Context& context) {
  Options options("cp", "[OPTIONS] SOURCE [DEST]",
                  "Copies a file or folder of a run's outputs here. DEST is an existing folder or "
                  "a new name (default .).");
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
  auto files = client->resources().download(paths[0], paths.size() > 1 ? paths[1] : ".", download);
  progress.finish();
  if (!files) return files.error();
  if (context.out.json())
    context.out.json_line(json_text("files", *files));
  else
    context.out.status(Mark::step, "Copied " + count(*files, "file"));
  return 0;
}

}  // namespace spell::cli
