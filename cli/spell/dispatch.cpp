#include <algorithm>
#include <exception>

#include "command.hpp"
#include "exit_status.hpp"
#include "spell/version.hpp"
#include "text.hpp"
#include "unavailable.hpp"

namespace spell::cli {

namespace {

constexpr CommandRow all_commands[] = {
    {"run", "run a command from this Git repository", run_command},
    {"logs", "show the log of a run", logs_command},
    {"ps", "list runs", ps_command},
    {"info", "show all about a run", info_command},
    {"wait", "wait for the end of runs", wait_command},
    {"stop", "end runs and save their outputs", stop_command},
    {"kill", "end runs at once, nothing is saved", kill_command},
    {"rerun", "run the same again", rerun_command},
    {"exec", "run a command inside a running run", exec_command},
    {"forward", "lead a port here to a port of a running run", forward_command},
    {"stats", "show what a run uses of its machine", stats_command},
    {"top", "show what all running runs use", top_command},
    {"metrics", "show what a run has measured of itself", metrics_command},
    {"send-metric", "inside a run: report a value", send_metric_command},
    {"upload", "keep a file or folder of this computer", upload_command},
    {"ls", "list the outputs of runs, and uploads", ls_command},
    {"cp", "copy outputs and uploads here", cp_command},
    {"rm", "delete runs or uploads for good", rm_command},
    {"link", "give a resource a name of your own", link_command},
    {"unlink", "take such a name away", unlink_command},
    {"du", "say how much room things take", du_command},
    {"fsck", "read and verify everything that is stored", fsck_command},
    {"archive", "hide runs from lists", archive_command},
    {"label", "put labels on a run", label_command},
    {"project", "group runs in projects", project_command},
    {"workflow", "start programs whose runs belong together", workflow_command},
    {"env", "environments of runs: list them, look, remove", env_command},
    {"secret", "keep values that runs may have and nobody sees", secret_command},
    {"cost", "say what runs and machines have cost", cost_command},
    {"budget", "say what projects, users, workflows may cost", budget_command},
    {"quota", "say what users may use at most", quota_command},
    {"repos", "list the repositories that runs came from", repos_command},
    {"machine", "see to the machines that runs run on", machine_command},
    {"machine-type", "see to the types of machines", machine_type_command},
    {"machine-types", "list the types of machines", machine_types_command},
    {"cluster", "the same as machine-type", cluster_command},
    {"status", "show the service, its machines and storage", status_command},
    {"login", "log in to a team's service", login_command},
    {"logout", "end that login", logout_command},
    {"whoami", "show who you are to the service", whoami_command},
    {"passwd", "change your password", passwd_command},
    {"access-tokens", "make, list and revoke tokens", access_tokens_command},
    {"user", "see to the users of a team's service", user_command},
    {"owner", "see to whose runs there are at a team's service", owner_command},
    {"audit", "show who did what", audit_command},
    {"service", "see to the personal service", service_command},
    {"completion", "make your shell complete spell's words", completion_command},
};

/// For programs: in no list.
constexpr CommandRow unlisted[] = {
    {"__complete", "", complete_command},
    {"__manual", "", manual_command},
};

std::string overview(std::string_view name, std::string_view summary,
                     std::span<const CommandRow> rows) {
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.name.size());
  std::string text = "Usage: spell" + std::string(name.empty() ? "" : " ") + std::string(name) +
                     " COMMAND [OPTIONS]\n\n" + std::string(summary) + "\n\nCommands:\n";
  for (const auto& row : rows)
    text += "  " + std::string(row.name) + std::string(width - row.name.size() + 2, ' ') +
            std::string(row.summary) + "\n";
  return text;
}

/// The options that may stand before the command's name; they are handed on to it.
struct LeadingOptions {
  Words own{};
  std::string command{};
  Words rest{};
};

LeadingOptions split_leading(const Words& arguments) {
  auto split = split_arguments(
      arguments, [](std::string_view name) -> std::optional<bool> { return name == "--service"; });
  LeadingOptions leading{std::move(split.own), {}, {}};
  if (split.words.empty()) return leading;
  leading.command = split.words.front();
  leading.rest = leading.own;
  leading.rest.insert(leading.rest.end(), split.words.begin() + 1, split.words.end());
  return leading;
}

Error unknown_command(const std::string& given, std::string_view parent,
                      std::span<const CommandRow> rows) {
  std::vector<std::string> names;
  for (const auto& row : rows) names.emplace_back(row.name);
  std::string prefix = "spell " + std::string(parent) + (parent.empty() ? "" : " ");
  std::string meant = nearest(given, names);
  return usage_error("unknown command \"" + given + "\"" +
                     (meant.empty() ? "" : "; did you mean " + prefix + meant + "?") + " (see " +
                     prefix + "--help)");
}

bool has(const Words& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Result<int> dispatch(const Words& arguments, Output& out) {
  LeadingOptions leading = split_leading(arguments);
  if (has(leading.own, "--json")) out.set_mode(Output::Mode::json);
  if (leading.command.empty()) {
    if (has(leading.own, "--version")) {
      out.write("spell " + std::string(version()) + "\n");
      return 0;
    }
    bool help = has(leading.own, "--help") || has(leading.own, "-h");
    for (const auto& option : leading.own)
      if (!help && option != "--json" && option != "-q" && option != "--quiet")
        return usage_error("unknown option " + option + " (see spell --help)");
    if (!help) return usage_error("which command? (see spell --help)");
    out.write(
        overview("",
                 "Runs any command from a Git repository, reproducibly, and keeps what it made.",
                 all_commands) +
        "\nspell COMMAND --help shows a command's options and examples.\n");
    return 0;
  }
  for (const auto& row : all_commands) {
    if (row.name != leading.command) continue;
    Context context(out, std::move(leading.rest));
    return row.run(context);
  }
  for (const auto& row : unlisted) {
    if (row.name != leading.command) continue;
    // What comes is another command's: nothing of it is read here.
    Context context(out, Words(arguments.begin() + 1, arguments.end()));
    return row.run(context);
  }
  if (has(leading.rest, "--json")) out.set_mode(Output::Mode::json);
  if (is_unavailable(leading.command)) return not_available(leading.command);
  return unknown_command(leading.command, "", all_commands);
}

}  // namespace

std::span<const CommandRow> commands() { return all_commands; }

Result<int> run_subcommand(Context& context, const std::string& name, std::string_view summary,
                           std::span<const CommandRow> rows) {
  LeadingOptions leading = split_leading(context.arguments());
  if (context.inspector && leading.command.empty())
    return context.inspector->group(name, summary, rows), 0;
  if (leading.command.empty()) {
    if (!has(leading.own, "--help") && !has(leading.own, "-h"))
      return usage_error("spell " + name + " needs a command (see spell " + name + " --help)");
    context.out.write(overview(name, summary, rows));
    return 0;
  }
  for (const auto& row : rows) {
    if (row.name != leading.command) continue;
    Context inner(context.out, std::move(leading.rest), context.inspector);
    return row.run(inner);
  }
  return unknown_command(leading.command, name, rows);
}

int spell_main(const Words& arguments, const Streams& streams) {
  Output out(streams, detect_terminal(streams));
  try {
    try {
      auto result = dispatch(arguments, out);
      if (result) return *result;
      out.error(result.error());
      return exit_status(result.error());
    } catch (const Error& failure) {
      out.error(failure);
      return exit_status(failure);
    } catch (const std::exception& failure) {
      out.error(Error("internal_error", failure.what()));
      return 1;
    }
  } catch (const OutputClosed&) {
    return output_closed_status;
  } catch (const Error&) {
    return 1;  // stderr cannot be written either
  }
}

}  // namespace spell::cli
