#include <cstdlib>

#include "command.hpp"
#include "follow.hpp"
#include "json_text.hpp"
#include "progress.hpp"
#include "run_options.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// The code that will travel, after the user has agreed to what will not. Nothing: the user declined.
Result<std::optional<Code>> choose_code(Context& context, const RunOptions& options) {
  if (options.github_url) return std::optional(Code::url(*options.github_url, options.github_ref.value_or("HEAD")));
  bool may_ask = context.out.terminal().can_ask && !options.force && !context.out.json();
  Code code = Code::here(options.commit_ref.value_or("HEAD"));
  code.include_untracked(options.include_untracked).require_clean(options.require_clean);

  auto repository = inspect(code);
  if (!repository) {
    if (repository.error().code() != "not_a_repository" || options.commit_ref) return repository.error();
    if (may_ask) {
      if (!context.ask("There is no Git repository here. Run without any files?")) return std::optional<Code>();
    } else if (!options.force) {
      return Error(repository.error().code(), repository.error().message() + "; -f runs without any files");
    } else {
      context.out.warn("no Git repository here: the run gets no files");
    }
    return std::optional(Code::none());
  }

  if (!repository->changed.empty() && !options.require_clean)
    context.out.status(Mark::step, "Uncommitted changes to " +
                                       count(static_cast<std::int64_t>(repository->changed.size()), "file") +
                                       " are included: " + join_some(repository->changed));
  if (!repository->ignored.empty())
    context.out.status(Mark::step, "Not sent: " + join_some(repository->ignored) + " (ignored)");
  if (!repository->untracked.empty() && !options.include_untracked) {
    std::string what = "untracked files are not sent: " + join_some(repository->untracked);
    if (!may_ask) context.out.warn(what + " (--include-untracked sends them)");
    else if (!context.ask("Untracked files are not sent: " + join_some(repository->untracked) + ". Run without them?"))
      return std::optional<Code>();
  }
  return std::optional(code);
}

Result<RunInfo> submit(Context& context, const Client& client, const RunSpec& spec) {
  Progress progress(context.out);
  return client.runs().submit(spec, "", [&](const std::string& step, std::int64_t done, std::int64_t total) {
    progress.update(step == "sending" ? "Sending" : "Packing", done, total);
  });
}

}  // namespace

Result<int> run_command(Context& context) {
  Options options("run", "[OPTIONS] COMMAND [ARGS]...",
                  "Runs a command with the code of this Git repository, follows its log and ends with its exit code.\n"
                  "^C ends the viewing, not the run.");
  RunOptions given;
  given.define(options);
  if (auto done = context.parse(options)) return *done;
  if (given.from_file)
    if (auto read = read_command_file(*given.from_file, options, given.command); !read) return read.error();
  auto spec = given.spec([](const char* name) -> const char* { return std::getenv(name); });
  if (!spec) return spec.error();
  if (given.save_command)
    if (auto saved = write_command_file(*given.save_command, options, given.command); !saved) return saved.error();

  auto code = choose_code(context, given);
  if (!code) return code.error();
  if (!*code) return 1;
  spec->code = **code;
  auto client = context.client();
  if (!client) return client.error();
  auto info = submit(context, *client, *spec);
  if (!info) return info.error();
  return show_new_run(context, *client, *info, given.background, given.verbose);
}

Result<int> show_new_run(Context& context, const Client& client, const RunInfo& info, bool background, bool verbose) {
  Output& out = context.out;
  std::string id = std::to_string(info.id);
  std::string service = context.service_address();
  if (out.json()) {
    if (background) return out.json_line(json_text("run", info)), 0;
    out.write(json_text("run", info) + "\n");
  } else if (info.already_existed) {
    out.status(Mark::cast, "Run " + id + " is the same and is used again");
  } else {
    out.status(Mark::cast, "Casting spell #" + id + (service.empty() ? "" : " at " + service) + "…");
  }
  if (background) {
    // A script that starts runs reads their numbers.
    if (!out.terminal().out || out.quiet()) out.line(id);
    out.status(Mark::step, "Follow it with: spell logs -f " + id);
    return 0;
  }
  if (out.terminal().out) out.status(Mark::step, "Stop viewing logs with ^C");
  auto run = client.runs().get(info.id);
  if (!run) return run.error();
  return follow(out, *run, {.to_the_end = true, .tail = {}, .all = verbose});
}

}  // namespace spell::cli
