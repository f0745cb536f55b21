#include "run_options.hpp"

#include <sys/stat.h>

#include "machine_text.hpp"
#include "money.hpp"
#include "text.hpp"
#include "unavailable.hpp"

namespace spell::cli {

void RunOptions::define(Options& options) {
  options.command(command)
      .value("-t,--machine-type", machine_type, "NAME", "what to run on (default CPU)")
      .list("-m", machine_or_mounts, "NAME", "the same, for the name of a machine; or a mount")
      .value("--gpu", machine.gpu, "[NAME:]N",
             "GPUs; V100|A100:4 without -t: a type that has them, see spell machine-types --help")
      .value("--cpus", machine.cpus, "N", "cores of the machine")
      .value("--memory", machine.memory, "SIZE", "memory of the machine, such as 16G");
  options.listed(false);
  machine.define_choice(options);
  options.flag("--explain", explain, "show what the machine type is chosen from, and why")
      .listed(true)
      .list("--mount", mounts, "RESOURCE[:PATH]",
            "data for the run: runs/3/data, uploads/x, ./local/path; PATH: absolute or relative")
      .value("--from", image, "IMAGE",
             "run in this image: debian:12, oci:PATH, docker-archive:FILE (--docker-image is the same)")
      .listed(false)
      .value("--docker-image", image, "IMAGE", "the same as --from")
      .listed(true)
      .list("--apt", apt, "PKG", "a package of the machine's distribution, for the run alone")
      .value("--conda-file", conda_file, "FILE", "a file of the commit that names conda packages")
      .list("--pip", pip, "PKG",
            "a Python package, built once, then shared; --pip-req FILE: those of a file")
      .listed(false)
      .value("--pip-req", requirements, "FILE", "a requirements file of the commit")
      .listed(true)
      .value("--setup", setup, "COMMAND",
             "run once to make $SPELL_ENV, then shared; --refresh-env makes it anew")
      .listed(false)
      .flag("--refresh-env", refresh_env, "build the environment anew")
      .listed(true)
      .flag("-b,--background", background, "do not follow the log")
      .flag("-f,--force", force, "ask nothing")
      .flag("-v,--verbose", verbose, "show every entry of the log")
      .list("-e,--env", env, "NAME[=VALUE]",
            "a variable for the command; NAME alone takes its value here")
      .list("--secret", secrets, "NAME[=VARIABLE]",
            "one of your secrets as a variable; the log shows *** for it (see spell secret)")
      .value("-d,--description", description, "TEXT", "default: the commit's message")
      .list("--label", labels, "NAME", "a label, may be repeated")
      .value("-p,--project", project, "NAME", "put the run in a project")
      .value("-c,--commit-ref", commit_ref, "REF", "branch, tag or commit (default HEAD)")
      .value("--commit-label", commit_label, "LABEL",
             "in a workflow: the commit that it has under this label")
      .value("--key", key, "NAME",
             "the same key and options give the same run; in a workflow its name there")
      .flag("--require-clean", require_clean,
            "refuse uncommitted changes instead of including them")
      .flag("--include-untracked", include_untracked,
            "send untracked files too (never ignored ones)")
      .value("--github-url", github_url, "URL",
             "run that repository's code (--github-ref REF of it, else HEAD), none from here")
      .listed(false)
      .value("--github-ref", github_ref, "REF", "of --github-url (default HEAD)")
      .listed(true)
      .list("--param", params, "NAME=VALUE",
            "put VALUE where the command has :NAME:, and keep it with the run")
      .list("--after", after, "ID[,ID...]", "start when these runs are complete with exit code 0")
      .flag("--idempotent", idempotent, "reuse an identical run if there is one")
      .flag(
          "--auto-resume", auto_resume,
          "when its machine is lost, go on as another; --disable-auto-resume against a type's way")
      .listed(false)
      .flag("--disable-auto-resume", disable_auto_resume, "do not; default: what the type says")
      .listed(true)
      .flag("--exclusive", exclusive,
            "never two copies: its machine ends it when it may count as lost")
      .value("--notice-signal", notice_signal, "NAME",
             "signal for its processes when its machine is about to go: HUP, INT, TERM, USR1, USR2")
      .value("--timeout", timeout, "MINUTES", "then stop the run and save its outputs")
      .value("--priority", priority, "LEVEL", "low, normal or high (for administrators): its turn")
      .value("--max-cost", max_cost, "DOLLARS",
             "what it costs at most; it is stopped and saved then")
      .value("--stop-grace", stop_grace, "SECONDS",
             "from SIGTERM to SIGKILL when it is stopped (default 30)")
      .value("--log-limit", log_limit, "SIZE",
             "output kept before the command has to wait (default 10G)")
      .flag("--split-output", split_output, "keep stderr apart; order between the two is lost")
      .list("--append", append, "PATTERN",
            "files that stay open and grow, as in .gitignore, besides logs and CSV")
      .flag("--save-all", save_all, "save __pycache__, .git, .venv, node_modules too")
      .flag("--no-defaults", no_defaults, "leave the repository's spell.toml out")
      .flag("--no-venv", no_venv, "do not use the active Python virtual environment")
      .value("--from-file", from_file, "F.yaml", "read options from a file; the command line wins")
      .value("--save-command", save_command, "F.yaml",
             "write this call's options to a file, then run");
  options.notes(
      "A single COMMAND goes to the shell as it is, ARGS are quoted; options: before it, or behind "
      "it if quoted:\n"
      "  spell run --after 7 --mount runs/7/checkpoints --mount uploads/set:/data \"python3 "
      "evaluate.py\"\n");
}

Result<Mount> parse_mount(const std::string& text) {
  auto scheme = text.find("://");
  constexpr std::string_view of_machine = "machine:";
  auto cut = text.find(':', text.starts_with(of_machine) ? of_machine.size()
                            : scheme == text.npos        ? 0
                                                         : scheme + 3);
  Mount mount{text.substr(0, cut), cut == text.npos ? "" : text.substr(cut + 1)};
  if (scheme != text.npos && scheme < cut)
    return not_available("--mount " + text.substr(0, scheme) + "://");
  if (mount.resource.empty() || (cut != text.npos && mount.at.empty()))
    return usage_error("--mount " + shell_quote(text) + ": give RESOURCE or RESOURCE:PATH");
  return mount;
}

bool is_local(const Mount& mount) {
  return mount.resource.starts_with('.') || mount.resource.starts_with('/');
}

Result<RunSpec> RunOptions::spec(const std::function<const char*(const char*)>& environment) const {
  RunSpec spec;
  spec.command = join_command(command);
  if (spec.command.find_first_not_of(" \t\n") == spec.command.npos)
    return usage_error(
        "what shall run? spell run [OPTIONS] COMMAND [ARGS]... (see spell run --help)");
  std::optional<std::string> named;
  Words mounted = mounts;
  for (const auto& value : machine_or_mounts) {
    if (value.find('/') == value.npos)
      named = value;
    else
      mounted.push_back(value);
  }
  for (const auto& text : mounted) {
    auto mount = parse_mount(text);
    if (!mount) return mount.error();
    spec.mounts.push_back(*mount);
  }
  if (named && machine_type)
    return usage_error("-m and --machine-type both name a machine; give one of them");
  spec.machine_type = machine_type ? *machine_type : named.value_or("");
  for (const auto& text : env) {
    auto variable = parse_env(text, environment);
    if (!variable) return variable.error();
    spec.env[variable->first] = variable->second;
  }
  for (const auto& text : secrets) {
    auto cut = text.find('=');
    std::string name = text.substr(0, cut);
    std::string variable = cut == text.npos ? name : text.substr(cut + 1);
    if (name.empty() || variable.empty())
      return usage_error("--secret " + shell_quote(text) + ": give NAME or NAME=VARIABLE");
    if (!spec.secrets.emplace(variable, name).second || spec.env.contains(variable))
      return usage_error("--secret " + shell_quote(text) + ": " + variable + " is set already");
  }
  for (const auto& text : params) {
    auto cut = text.find('=');
    std::string name = text.substr(0, cut), option = "--param " + shell_quote(text) + ": ";
    if (cut == text.npos || name.empty()) return usage_error(option + "give NAME=VALUE");
    if (!spec.params.emplace(name, text.substr(cut + 1)).second)
      return usage_error(option + name + " is given twice");
    if (spec.command.find(":" + name + ":") == spec.command.npos)
      return usage_error(option + "the command has no :" + name + ": where its value belongs");
  }
  if (timeout) {
    spec.timeout = parse_minutes(*timeout);
    if (!spec.timeout)
      return usage_error("--timeout " + shell_quote(*timeout) +
                         ": give minutes, such as 90 or 0.5");
  }
  if (max_cost) {
    spec.max_cost = parse_dollars(*max_cost);
    if (!spec.max_cost || spec.max_cost->nano <= 0)
      return usage_error("--max-cost " + shell_quote(*max_cost) +
                         ": give dollars, such as 20 or 0.50");
  }
  if (stop_grace) {
    auto seconds = parse_int(*stop_grace);
    if (!seconds || *seconds < 0)
      return usage_error("--stop-grace " + shell_quote(*stop_grace) + ": give seconds");
    spec.stop_grace = std::chrono::seconds(*seconds);
  }
  if (log_limit) {
    auto bytes = parse_size(*log_limit);
    if (!bytes || *bytes < 1)
      return usage_error("--log-limit " + shell_quote(*log_limit) +
                         ": give a size, such as 500M or 10G");
    spec.log_limit = *bytes;
  }
  spec.gpu = machine.gpu.value_or("");
  auto amounts = parse_amounts(machine.cpus, machine.memory, {}, "");
  if (!amounts) return amounts.error();
  spec.cpus = amounts->cpus;
  spec.memory = amounts->memory;
  auto ids = parse_run_ids(after);
  if (!ids) return usage_error("--after: " + ids.error().message());
  spec.after = *ids;
  if (commit_label && (github_url || commit_ref || require_clean || include_untracked))
    return usage_error("--commit-label names the code; give no other");
  if (github_ref && !github_url) return usage_error("--github-ref needs --github-url");
  if (github_url && (commit_ref || require_clean || include_untracked))
    return usage_error(
        "--github-url takes the code from there; --commit-ref, --require-clean and "
        "--include-untracked are about the repository here");
  spec.description = description.value_or("");
  spec.project = project.value_or("");
  spec.labels = labels;
  spec.split_output = split_output;
  spec.save_all = save_all;
  spec.append = append;
  spec.exclusive = exclusive;
  spec.idempotent = idempotent;
  if (auto_resume && disable_auto_resume)
    return usage_error("--auto-resume and --disable-auto-resume exclude each other");
  if (auto_resume || disable_auto_resume) spec.auto_resume = auto_resume;
  spec.notice_signal = notice_signal.value_or("");
  spec.priority = priority.value_or("");
  if (priority && *priority != "low" && *priority != "normal" && *priority != "high")
    return usage_error("--priority " + shell_quote(*priority) + ": give low, normal or high");
  spec.pip = pip;
  spec.apt = apt;
  spec.requirements = requirements.value_or("");
  spec.setup = setup.value_or("");
  if (requirements && requirements->empty()) return usage_error("--pip-req: give a file");
  if (setup && setup->find_first_not_of(" \t\n") == setup->npos)
    return usage_error("--setup: give a command");
  spec.image = image.value_or("");
  spec.conda_file = conda_file.value_or("");
  if (image && image->empty()) return usage_error("--from: give an image");
  if (conda_file && conda_file->empty()) return usage_error("--conda-file: give a file");
  bool has_environment = !pip.empty() || requirements || setup || conda_file || image;
  if (refresh_env && !has_environment && apt.empty())
    return usage_error(
        "--refresh-env needs --from, --apt, --conda-file, --pip, --pip-req or --setup");
  spec.refresh_environment = refresh_env;
  const char* venv = environment("VIRTUAL_ENV");
  struct stat folder {};
  if (!no_venv && !has_environment && venv && *venv == '/' && ::stat(venv, &folder) == 0 &&
      S_ISDIR(folder.st_mode))
    spec.virtual_env = venv;
  return spec;
}

namespace {
/// Of "oci:PATH:TAG": where the path begins, and where it ends; none: it is of no such form.
std::optional<std::pair<std::size_t, std::size_t>> path_in_image(const std::string& image) {
  for (std::string_view transport : {"oci:", "oci-archive:", "docker-archive:"})
    if (image.starts_with(transport))
      return std::pair(transport.size(), std::min(image.size(), image.find(':', transport.size())));
  return std::nullopt;
}
}  // namespace

std::optional<std::string> local_image(const std::string& image) {
  auto at = path_in_image(image);
  if (!at) return std::nullopt;
  std::string path = image.substr(at->first, at->second - at->first);
  for (const auto* of_resource : {"runs/", "uploads/", "public/"})
    if (path.starts_with(of_resource)) return std::nullopt;
  struct stat there {};
  bool local = path.starts_with('.') || path.starts_with('/') || ::stat(path.c_str(), &there) == 0;
  return local ? std::optional(path) : std::nullopt;
}

std::string uploaded_image(const std::string& image, const std::string& resource) {
  auto at = path_in_image(image);
  return image.substr(0, at->first) + resource + image.substr(at->second);
}

Result<std::optional<MachineQuery>> RunOptions::choice() const {
  std::string named = machine_type ? "-t " + *machine_type : "";
  for (const auto& value : machine_or_mounts)
    if (value.find('/') == value.npos) named = "-m " + value;
  std::string chooses = machine.what_chooses();
  // With a type or machine --gpu NAME:N says which of its GPUs.
  bool of_named = !named.empty() && chooses.starts_with("--gpu ") &&
                  machine.gpu->find('|') == machine.gpu->npos && !explain;
  if (of_named) {
    auto others = machine;
    others.gpu.reset();
    chooses = others.what_chooses();
  }
  if (chooses.empty() && explain) chooses = "--explain";
  if (chooses.empty()) return std::optional<MachineQuery>();
  if (!named.empty())
    return usage_error(named + " names the machine type, " + chooses + " chooses one: give either");
  auto query = machine.query();
  if (!query) return query.error();
  MachineQuery choice = query->value_or(MachineQuery());
  choice.provided = true;
  return std::optional(choice);
}

}  // namespace spell::cli
