#include <sys/stat.h>

#include <cstdlib>

#include "follow.hpp"
#include "json_text.hpp"
#include "local_program.hpp"
#include "progress.hpp"
#include "run_options.hpp"
#include "text.hpp"
#include "workflow.hpp"

namespace spell::cli {

namespace {

struct WorkflowOptions {
  Words repositories{}, remotes{}, command{};
  std::optional<std::string> program{}, build{};
  bool local = false, background = false;
  RunOptions run{};

  void define(Options& options) {
    options.command(command)
        .list("-r,--repo", repositories, "LABEL=PATH[:COMMIT]",
              "a repository here whose commit runs name by LABEL; must have no uncommitted changes")
        .list("--github-repo", remotes, "LABEL=URL[:REF]", "the same of a repository elsewhere")
        .value("--program", program, "FILE",
               "an executable of this computer: sent along, and run with COMMAND as its arguments")
        .value("--build", build, "DIR[:TARGET]",
               "a CMake project: sent along, built on the machine, and run with COMMAND as its "
               "arguments")
        .flag("--local", local, "run COMMAND here; only its runs are the service's")
        .flag("-b,--background", background, "do not follow the log of the managing run")
        .flag("-v,--verbose", run.verbose, "show every entry of the log")
        .list("-e,--env", run.env, "NAME[=VALUE]",
              "a variable for the command; NAME alone takes its value here")
        .list("--secret", run.secrets, "NAME[=VARIABLE]",
              "one of your secrets as a variable; the log shows *** for it (see spell secret)")
        .list("--mount", run.mounts, "RESOURCE[:PATH]", "data for the managing run: uploads/x")
        .value("-d,--description", run.description, "TEXT", "what the workflow is about")
        .flag("--exclusive", run.exclusive, "never two copies of the managing run")
        .list("--append", run.append, "PATTERN",
              "files of the managing run that stay open and grow")
        .list("--label", run.labels, "NAME", "a label of the managing run, may be repeated")
        .value("-p,--project", run.project, "NAME", "put the managing run in a project")
        .value("--timeout", run.timeout, "MINUTES", "then stop the managing run")
        .value("--priority", run.priority, "LEVEL",
               "of its runs that say nothing: low, normal, high")
        .notes(
            "COMMAND starts the workflow's runs: a program that uses libspell, or a script that "
            "calls spell run.\nIt is given credentials for this workflow alone, on a machine of "
            "the service; it takes no place there.\n\n"
            "Examples:\n"
            "  spell workflow create --repo char-rnn=../char-rnn --program build/pipeline\n"
            "  spell workflow create --repo char-rnn=../char-rnn --build pipeline:pipeline\n"
            "  spell workflow create --local --repo char-rnn=../char-rnn build/pipeline\n");
  }
};

/// DIR[:TARGET]: the last ':' divides, unless it belongs to the folder's name.
std::pair<std::string, std::string> project_of(const std::string& text) {
  struct stat st;
  auto colon = text.rfind(':');
  if (colon == text.npos || ::stat(text.c_str(), &st) == 0) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

Result<WorkflowSpec> spec_of(const WorkflowOptions& given) {
  WorkflowSpec spec;
  for (const auto& text : given.repositories)
    if (auto added = add_repository(text, false, spec.repositories); !added) return added.error();
  for (const auto& text : given.remotes)
    if (auto added = add_repository(text, true, spec.repositories); !added) return added.error();
  spec.description = given.run.description.value_or("");
  if (given.program && given.build)
    return usage_error("--program and --build: a workflow has one program; give one of them");
  bool brings_program = given.program || given.build;
  if (given.local && brings_program)
    return usage_error(std::string(given.program ? "--program" : "--build") +
                       " is for the service's machines; --local runs COMMAND here");
  if (given.command.empty() && !brings_program)
    return usage_error(
        "what starts the runs? spell workflow create [OPTIONS] COMMAND [ARGS]... (see spell "
        "workflow create --help)");
  if (given.local && (!given.run.append.empty() || given.run.exclusive))
    return usage_error(std::string(given.run.exclusive ? "--exclusive" : "--append") +
                       " is about the managing run; with --local there is none");
  if (given.local) return spec;
  RunOptions run = given.run;
  run.command = brings_program ? Words{"program"} : given.command;
  run.no_venv = true;
  auto asked = run.spec([](const char* name) -> const char* { return std::getenv(name); });
  if (!asked) return asked.error();
  for (const auto& mount : asked->mounts)
    if (is_local(mount))
      return usage_error("--mount " + shell_quote(mount.resource) +
                         ": upload it first (spell upload)");
  // The program may be in the repository here, of which the commit counts, as of all the others.
  auto here = inspect(Code::here());
  if (!here && here.error().code() != "not_a_repository") return here.error();
  asked->code = here && !brings_program ? Code::here().require_clean() : Code::none();
  spec.run = std::move(*asked);
  if (given.program) spec.program = WorkflowProgram{*given.program, given.command};
  if (given.build) {
    auto [folder, target] = project_of(*given.build);
    spec.build = WorkflowBuild{folder, target, given.command};
  }
  return spec;
}

Result<int> run_here(Context& context, const Client& client, const WorkflowInfo& made,
                     const std::string& command) {
  auto status = run_local_program(command, "SPELL_WORKFLOW_ID=" + std::to_string(made.id),
                                  context.out.json());
  auto workflow = client.workflows().get(made.id);
  if (!workflow) return workflow.error();
  auto finished = workflow->finish(status ? *status : 127);
  if (!status) return status;
  if (!finished) return finished.error();
  context.out.status(
      *status == 0 ? Mark::done : Mark::failed,
      "Workflow " + std::to_string(made.id) + " ended with exit code " + std::to_string(*status));
  return *status;
}

}  // namespace

Result<> add_repository(const std::string& text, bool remote, std::map<std::string, Code>& into) {
  const char* option = remote ? "--github-repo " : "--repo ";
  auto cut = text.find('=');
  std::string label = text.substr(0, cut);
  std::string place = cut == text.npos ? "" : text.substr(cut + 1), ref = "HEAD";
  if (label.empty() || place.empty())
    return usage_error(option + shell_quote(text) +
                       ": give LABEL=" + (remote ? "URL[:REF]" : "PATH[:COMMIT]"));
  // The last ':' divides, unless it belongs to the place itself: a folder's name, a scheme, a port.
  struct stat st;
  auto colon = place.rfind(':');
  bool of_place = colon == place.npos || colon + 1 == place.size() ||
                  place.compare(colon, 3, "://") == 0 ||
                  (remote && place.find('/', colon) != place.npos) ||
                  (!remote && ::stat(place.c_str(), &st) == 0);
  if (!of_place) {
    ref = place.substr(colon + 1);
    place.resize(colon);
  }
  Code code = remote ? Code::url(place, ref) : Code::repository(place, ref).require_clean();
  if (!into.emplace(label, code).second)
    return Error("duplicate_label", option + shell_quote(text) + ": the label " + label +
                                        " is given twice; each repository has its own");
  return ok();
}

Result<int> create_workflow(Context& context) {
  Options options("workflow create", "[OPTIONS] COMMAND [ARGS]...",
                  "Starts a workflow: a program whose runs belong together, on a machine of the "
                  "service or with --local here.");
  WorkflowOptions given;
  given.define(options);
  if (auto done = context.parse(options)) return *done;
  auto spec = spec_of(given);
  if (!spec) return spec.error();
  auto client = context.client();
  if (!client) return client.error();
  Output& out = context.out;
  if (spec->run && spec->run->code.kind() == Code::Kind::here)
    out.status(Mark::step, "Syncing repo " + inspect(spec->run->code).value_or({}).root + ".");
  for (const auto& [label, code] : spec->repositories)
    out.status(Mark::step, "Syncing repo " + code.location() + ".");
  Progress progress(out);
  auto made = client->workflows().create(
      *spec, {}, [&](const std::string& step, std::int64_t done, std::int64_t total) {
        progress.update(step == "sending" ? "Sending" : "Packing", done, total);
      });
  progress.finish();
  if (!made) return made.error();
  std::string id = std::to_string(made->id);
  if (out.json())
    out.json_line(json_text("workflow", *made));
  else
    out.status(Mark::cast, "Casting workflow #" + id + "…");
  if (given.local) return run_here(context, *client, *made, join_command(given.command));
  if (given.background) {
    // A script that starts workflows reads their numbers.
    if (!out.json() && (!out.terminal().out || out.quiet())) out.line(id);
    out.status(Mark::step, "See it with: spell workflow info " + id);
    return 0;
  }
  if (!made->run) return Error("invalid_answer", "the service has made no managing run");
  out.status(Mark::step, "Following workflow at run " + std::to_string(*made->run) + ".");
  if (out.terminal().out) out.status(Mark::step, "Stop viewing logs with ^C");
  auto run = client->runs().get(*made->run);
  if (!run) return run.error();
  return follow(out, *run, {.to_the_end = true, .tail = {}, .all = given.run.verbose});
}

}  // namespace spell::cli
