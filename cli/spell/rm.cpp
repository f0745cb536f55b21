#include "each_run.hpp"
#include "exit_status.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

bool is_upload(const std::string& word) {
  return word.starts_with("uploads/") || word.starts_with("public/");
}

void show_removed(Output& out, const std::string& name, const std::string& json) {
  if (out.json())
    out.json_line(json);
  else
    out.line(out.quiet() ? name : name + " deleted");
}

Result<int> remove_uploads(Context& context, const Words& uploads) {
  auto client = context.client();
  if (!client) return client.error();
  int status = 0;
  for (const auto& upload : uploads) {
    auto removed = client->resources().remove(upload);
    if (removed) {
      show_removed(context.out, upload, json_text("removed", upload));
    } else {
      context.out.error(removed.error());
      if (status == 0) status = exit_status(removed.error());
    }
  }
  return status;
}

Result<int> remove_runs(Context& context, const Words& ids) {
  return each_run(context, ids, [&](const Run& run) -> Result<int> {
    auto removed = run.remove();
    if (!removed) return removed.error();
    std::string number = std::to_string(run.id());
    show_removed(context.out, context.out.quiet() ? number : "Run " + number,
                 json_text("removed", run.id()));
    return 0;
  });
}

}  // namespace

Result<int> rm_command(Context& context) {
  Options options("rm", "[OPTIONS] IDS|UPLOADS...",
                  "Deletes runs that have ended, with their logs and outputs, or uploads, for "
                  "good. Asks first.");
  Words words, runs, uploads;
  bool force = false;
  options.words(words, "the numbers of runs, or uploads/NAME", 1)
      .flag("-f,--force", force, "do not ask")
      .notes("Examples:\n  spell rm 7 8\n  spell rm uploads/data\n");
  if (auto done = context.parse(options)) return *done;
  for (const auto& word : words) {
    if (word.starts_with("runs/"))
      return usage_error("the outputs of a run go with it: spell rm " + word.substr(5));
    (is_upload(word) ? uploads : runs).push_back(word);
  }
  if (auto numbers = parse_run_ids(runs); !numbers) return numbers.error();
  if (!force) {
    if (!context.out.terminal().can_ask)
      return usage_error(
          "spell rm asks before it deletes, and there is no terminal; -f deletes without asking");
    std::string which =
        runs.empty() ? "" : (runs.size() == 1 ? "run " : "runs ") + join(runs, ", ");
    if (!uploads.empty()) which += (runs.empty() ? "" : " and ") + join(uploads, ", ");
    std::string what = runs.empty() ? "?" : ", with logs and outputs?";
    if (!context.ask("Delete " + which + " for good" + what)) return 1;
  }
  auto status = runs.empty() ? Result<int>(0) : remove_runs(context, runs);
  if (!status || uploads.empty()) return status;
  auto second = remove_uploads(context, uploads);
  return second && *status != 0 ? status : second;
}

}  // namespace spell::cli
