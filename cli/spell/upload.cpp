#include "command.hpp"
#include "exit_status.hpp"
#include "interrupt.hpp"
#include "json_text.hpp"
#include "progress.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

void show_upload(Output& out, const UploadInfo& upload, const std::string& resource) {
  if (out.json()) return out.json_line(json_text("upload", upload));
  if (out.quiet()) return out.line(resource);
  std::string sent = upload.sent == 0 ? "nothing new to send" : format_size(upload.sent) + " sent";
  out.status(Mark::done, "Uploaded " + resource + ": " + count(upload.files, "file") + ", " +
                             format_size(upload.size) + " (" + sent + ")");
  if (upload.left_out > 0)
    out.status(Mark::step, count(upload.left_out, "file") +
                               " left out (.spellignore, .git, __pycache__ and the like; --all "
                               "takes them along)");
}

}  // namespace

Result<int> upload_command(Context& context) {
  Options options("upload", "[OPTIONS] PATH",
                  "Keeps a file or folder of this computer as uploads/NAME.\n"
                  "Only what the service does not have yet is sent. After ^C or a lost connection "
                  "the same command\ngoes on where it was.");
  Words path;
  std::optional<std::string> name;
  UploadOptions upload;
  options.words(path, "a PATH", 1, 1)
      .value("-n,--name", name, "NAME", "its name (default: that of the file or folder)")
      .flag("--all", upload.all,
            "take along what .spellignore names, and .git, .venv, __pycache__, node_modules")
      .notes(
          "Examples:\n  spell upload data\n  spell upload -n mnist ~/sets/mnist.npz\n"
          "  spell run --mount uploads/data \"python3 train.py\"\n\n"
          "The managing run of a workflow uploads below that one's folder alone:\n"
          "  spell upload -n uploads/workflows/$SPELL_WORKFLOW_ID/data data\n");
  if (auto done = context.parse(options)) return *done;
  upload.name = name.value_or("");
  if (name && name->empty()) return usage_error("--name needs a name");
  auto client = context.client();
  if (!client) return client.error();

  Progress progress(context.out);
  upload.progress = [&](const CopyProgress& copied) {
    progress.update("Uploading", copied.bytes, copied.total_bytes);
  };
  Interrupt interrupt;
  auto info = client->resources().upload(path[0], upload, {.stop = interrupt.token()});
  progress.finish();
  if (!info && interrupt.happened()) {
    context.out.error(Error(
        "canceled", "stopped; what has arrived is kept, the same command goes on from there"));
    return interrupted_status;
  }
  if (!info) return info.error();
  bool shared = upload.name.starts_with("public/");
  show_upload(context.out, *info, (shared ? "public/" : "uploads/") + info->name);
  for (const auto& skipped : info->skipped) context.out.warn("not uploaded: " + skipped);
  return info->skipped.empty() ? 0 : 1;
}

}  // namespace spell::cli
