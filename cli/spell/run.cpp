#include <cstdlib>

#include "command.hpp"
#include "follow.hpp"
#include "json_text.hpp"
#include "machine_query.hpp"
#include "progress.hpp"
#include "project_file.hpp"
#include "run_options.hpp"
#include "settings.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

Code code_of(const RunOptions& options, const Settings& settings) {
  if (options.commit_label) return Code::label(*options.commit_label);
  if (options.github_url)
    return Code::url(*options.github_url, options.github_ref.value_or("HEAD"));
  Code code = Code::here(options.commit_ref.value_or("HEAD"));
  bool clean = options.require_clean || !settings.include_uncommitted;
  return code.include_untracked(options.include_untracked).require_clean(clean);
}

/// A run without files is what the user may have meant only where no commit was named.
bool may_go_without_files(const Error& error, const RunOptions& options) {
  return error.code() == "not_a_repository" && !options.github_url && !options.commit_ref;
}

/// The user's consent to what does not travel. False: declined. Sets code to none where there is no
/// repository.
Result<bool> ask_about_code(Context& context, const RunOptions& options, Code& code) {
  auto repository = inspect(code);
  if (!repository) {
    if (!may_go_without_files(repository.error(), options)) return repository.error();
    code = Code::none();
    return context.ask("There is no Git repository here. Run without any files?");
  }
  if (repository->untracked.empty() || options.include_untracked) return true;
  return context.ask("Untracked files are not sent: " + join_some(repository->untracked) +
                     ". Run without them?");
}

/// What a run of a workflow needs, and one that is of none cannot have. Nothing has been sent yet.
Result<> check_workflow(const RunOptions& options, std::int64_t workflow) {
  if (workflow == 0 && options.commit_label)
    return Error("unknown_commit_label",
                 "--commit-label " + shell_quote(*options.commit_label) +
                     ": this run is of no workflow, and only those have labelled commits "
                     "(spell workflow create --repo LABEL=PATH)");
  if (workflow != 0 && !options.key && !options.idempotent)
    return usage_error("--key is missing: a run of workflow " + std::to_string(workflow) +
                       " has a name in it, by which a program that was started again finds the run "
                       "instead of making another; or --idempotent: the same options are the same "
                       "run");
  return ok();
}

/// Uploads a path here: only what the service lacks is sent. `option`: what has named it; `is`:
/// what is said of what it has become, whose name is returned.
Result<std::string> upload_path(Context& context, const Client& client, const std::string& path,
                                const std::string& option, const std::string& is) {
  Progress progress(context.out);
  UploadOptions upload;
  upload.progress = [&](const CopyProgress& copied) {
    progress.update("Uploading", copied.bytes, copied.total_bytes);
  };
  auto info = client.resources().upload(path, upload);
  progress.finish();
  if (!info) return Error(info.error().code(), option + ": " + info.error().message());
  for (const auto& skipped : info->skipped) context.out.warn("not uploaded: " + skipped);
  std::string name = "uploads/" + info->name;
  context.out.status(Mark::step, path + is + name + ": " + count(info->files, "file") + ", " +
                                     format_size(info->size) + " (" + format_size(info->sent) +
                                     " sent)");
  return name;
}

/// Paths here that the run mounts, or has its image from, become what is uploaded of them.
Result<> upload_paths(Context& context, const Client& client, RunSpec& spec) {
  for (auto& mount : spec.mounts) {
    if (!is_local(mount)) continue;
    auto name = upload_path(context, client, mount.resource, "--mount " + mount.resource,
                            " is mounted as ");
    if (!name) return name.error();
    mount.resource = *name;
  }
  auto image = local_image(spec.image);
  if (!image) return ok();
  auto name = upload_path(context, client, *image, "--from " + spec.image, " is kept as ");
  if (!name) return name.error();
  spec.image = uploaded_image(spec.image, *name);
  return ok();
}

/// Names the machine type that fits best, and says why. `choice`: what the run needs of it. What is
/// only to be explained chooses nothing.
Result<> choose_machine_type(Context& context, const Client& client, const RunOptions& given,
                             const MachineQuery& choice, RunSpec& spec) {
  std::vector<RankedMachineType> fit;
  if (given.explain) {
    auto selection = client.machine_types().explain(choice);
    if (!selection) return selection.error();
    show_selection_beside(context.out, *selection);
    fit = std::move(selection->fit);
  }
  if (!given.machine.chooses()) {
    context.out.status(Mark::step, "Machine type CPU, the default: no option chooses another");
    return ok();
  }
  if (fit.empty()) {
    auto selected = client.select(choice);
    if (!selected) return selected.error();
    fit = std::move(*selected);
  }
  const auto& best = fit.front();
  spec.machine_type = best.name;
  if (!best.run_gpu.empty()) spec.gpu = best.run_gpu;
  context.out.status(Mark::step, "Machine type " + best.name + ", " +
                                     why_chosen(choice, fit.size()) + ": " + best.reason);
  return ok();
}

Result<RunInfo> submit(Context& context, const Client& client, const RunSpec& spec,
                       const std::string& key) {
  Progress progress(context.out);
  return client.runs().submit(
      spec, key,
      [&](const std::string& step, std::int64_t done, std::int64_t total) {
        progress.update(step == "sending" ? "Sending" : "Packing", done, total);
      },
      {},
      [&](const std::string& notice) {
        progress.finish();
        context.out.status(Mark::step, notice);
      });
}

}  // namespace

Result<int> run_command(Context& context) {
  Options options("run", "[OPTIONS] COMMAND [ARGS]...",
                  "Runs a command with the code of this Git repository, follows its log (^C ends "
                  "that, not the run), ends as it did.");
  RunOptions given;
  given.define(options);
  if (auto done = context.parse(options)) return *done;
  if (given.from_file)
    if (auto read = read_command_file(*given.from_file, options, given.command); !read)
      return read.error();
  // That of the work tree is not that of other code.
  bool own_code = !given.commit_ref && !given.github_url && !given.commit_label;
  if (own_code && !given.no_defaults)
    if (auto project = find_project_file())
      if (auto read = read_project_file(*project, options, given); !read) return read.error();
  auto spec = given.spec([](const char* name) -> const char* { return std::getenv(name); });
  if (!spec) return spec.error();
  auto choice = given.choice();
  if (!choice) return choice.error();
  if (given.save_command)
    if (auto saved = write_command_file(*given.save_command, options, given.command); !saved)
      return saved.error();

  if (auto fits = check_workflow(given, context.client_options().workflow); !fits)
    return fits.error();
  auto settings = read_settings(context.client_options());
  if (!settings) return settings.error();
  spec->code = code_of(given, *settings);
  if (context.out.terminal().can_ask && !given.force && !given.github_url && !given.commit_label &&
      !context.out.json()) {
    auto consent = ask_about_code(context, given, spec->code);
    if (!consent) return consent.error();
    if (!*consent) return 1;
  }
  auto client = context.client();
  if (!client) return client.error();
  if (*choice)
    if (auto chosen = choose_machine_type(context, *client, given, **choice, *spec); !chosen)
      return chosen.error();
  if (auto uploaded = upload_paths(context, *client, *spec); !uploaded) return uploaded.error();
  std::string key = given.key.value_or("");
  auto info = submit(context, *client, *spec, key);
  if (!info && info.error().code() == "key_conflict" && given.machine.chooses())
    return Error("key_conflict", info.error().message() +
                                     "; the machine type is chosen anew each time: -t and the name "
                                     "of that run's keep it");
  if (!info && may_go_without_files(info.error(), given)) {
    if (!given.force)
      return Error(info.error().code(), info.error().message() + "; -f runs without any files");
    context.out.warn("no Git repository here: the run gets no files");
    spec->code = Code::none();
    info = submit(context, *client, *spec, key);
  }
  if (!info) return info.error();
  return show_new_run(context, *client, *info, given.background, given.verbose);
}

Result<int> show_new_run(Context& context, const Client& client, const RunInfo& info,
                         bool background, bool verbose) {
  Output& out = context.out;
  std::string id = std::to_string(info.id);
  std::string service = context.service_address();
  if (out.json()) {
    if (background) return out.json_line(json_text("run", info)), 0;
    out.write(json_text("run", info) + "\n");
  } else if (info.already_existed) {
    out.status(Mark::cast, "Run " + id + " is the same and is used again");
  } else {
    out.status(
        Mark::cast,
        "Casting spell #" + id +
            (service.empty() ? ""
                             : " at " + service.substr(service.starts_with("https://") ? 8 : 0)) +
            "…");
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
