// A command of spell: a row of the table, and what it is given to work with.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "arguments.hpp"
#include "options.hpp"
#include "output.hpp"
#include "spell/client.hpp"

namespace spell::cli {

struct CommandRow;

/// Who wants to know what a command is: it is told, and the command is not carried out.
struct Inspector {
  virtual ~Inspector() = default;
  virtual void command(const Options&) = 0;
  /// A command of commands, and nothing says which.
  virtual void group(const std::string& name, std::string_view summary,
                     std::span<const CommandRow> rows) = 0;
};

/// One call of a command.
class Context {
 public:
  Context(Output& output, Words arguments, Inspector* who = nullptr)
      : out(output), inspector(who), arguments_(std::move(arguments)) {}

  Output& out;
  Inspector* const inspector;

  /// Adds the options that every command has, and parses. Holds the result when the command has
  /// nothing more to do: an error, or 0 when its help was shown.
  std::optional<Result<int>> parse(Options& options);
  /// The service that --service or the environment names.
  Result<Client> client() const;
  /// Of that service, by the number that the user gave.
  Result<Run> run(const std::string& number) const;
  ClientOptions client_options() const;
  /// "" for the personal service, else the address as the user wrote it.
  std::string service_address() const;
  /// Asks for a line. Only where `out.terminal().can_ask`.
  std::string ask_line(std::string_view question);
  /// Asks a yes-or-no question. Only where `out.terminal().can_ask`.
  bool ask(std::string_view question);
  const Words& arguments() const { return arguments_; }

 private:
  Words arguments_;
  std::optional<std::string> service_;
};

struct CommandRow {
  std::string_view name;
  std::string_view summary;
  Result<int> (*run)(Context&);
};
std::span<const CommandRow> commands();

/// The program: `arguments` without its own name. Returns the exit status.
int spell_main(const Words& arguments, const Streams& streams);

/// A command of commands: `spell project create …`. Runs the row that the first word names.
Result<int> run_subcommand(Context& context, const std::string& name, std::string_view summary,
                           std::span<const CommandRow> rows);

Result<int> run_command(Context&);
Result<int> logs_command(Context&);
Result<int> ps_command(Context&);
Result<int> info_command(Context&);
Result<int> stop_command(Context&);
Result<int> kill_command(Context&);
Result<int> metrics_command(Context&);
Result<int> completion_command(Context&);
/// "__complete WORDS… CURRENT": what the shells' functions ask.
Result<int> complete_command(Context&);
/// "__manual FOLDER": writes the manual pages there.
Result<int> manual_command(Context&);
Result<int> send_metric_command(Context&);
Result<int> wait_command(Context&);
Result<int> exec_command(Context&);
Result<int> forward_command(Context&);
Result<int> budget_command(Context&);
Result<int> cost_command(Context&);
Result<int> stats_command(Context&);
Result<int> top_command(Context&);
Result<int> ls_command(Context&);
Result<int> cp_command(Context&);
Result<int> upload_command(Context&);
Result<int> link_command(Context&);
Result<int> unlink_command(Context&);
Result<int> du_command(Context&);
Result<int> fsck_command(Context&);
Result<int> rm_command(Context&);
Result<int> archive_command(Context&);
Result<int> label_command(Context&);
Result<int> rerun_command(Context&);
Result<int> repos_command(Context&);
Result<int> project_command(Context&);
Result<int> workflow_command(Context&);
Result<int> secret_command(Context&);
Result<int> env_command(Context&);
Result<int> quota_command(Context&);
Result<int> machine_command(Context&);
Result<int> machine_type_command(Context&);
Result<int> cluster_command(Context&);
Result<int> machine_types_command(Context&);
Result<int> status_command(Context&);
Result<int> service_command(Context&);
Result<int> login_command(Context&);
Result<int> logout_command(Context&);
Result<int> whoami_command(Context&);
Result<int> passwd_command(Context&);
Result<int> user_command(Context&);
Result<int> owner_command(Context&);
Result<int> access_tokens_command(Context&);
Result<int> audit_command(Context&);

}  // namespace spell::cli
