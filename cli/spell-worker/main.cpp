#include <CLI/CLI.hpp>
#include <string>

#include "base/file_limit.hpp"
#include "commands.hpp"
#include "spell/version.hpp"

int main(int argc, char** argv) {
  using namespace spell::worker_program;
  spell::base::raise_file_limit();
  CLI::App app{"Lends this machine to a service of Spell."};
  app.set_version_flag("--version", std::string("spell-worker ") + spell::version());
  app.require_subcommand(1);
  Options options;
  auto* joining = app.add_subcommand("join", "Make this machine one of a service's");
  joining->add_option("URL", options.url, "https://HOST:PORT, or unix:PATH of a personal service")
      ->required();
  joining
      ->add_option("TOKEN", options.token,
                   "As `spell machine add` prints it; -: on standard input, where nobody sees it")
      ->required();
  joining->add_flag("--foreground", options.foreground, "Then work in this terminal");
  auto* running = app.add_subcommand("run", "The daemon: works for the service, or waits for one");
  running->add_option("--backup-rate", options.backup_rate,
                      "Bytes a second that the backup of running runs reads, such as 50M; default: "
                      "what worker.toml says, else 250M");
  for (auto* command : {joining, running}) {
    command
        ->add_option("--notice", options.notice,
                     "Who says that this machine is about to be taken away; default: as its "
                     "firmware says whose it is (auto)")
        ->check(CLI::IsMember({"aws", "gcp", "azure", "none", "auto"}));
    command->add_flag("--sigterm-is-notice", options.sigterm_is_notice,
                      "SIGTERM means the end of the machine, as for jobs of a cluster: the runs "
                      "end, their files safe. Else they go on without the daemon");
  }
  auto* leaving = app.add_subcommand("leave", "Be nobody's machine any more");
  leaving->add_flag("--force", options.force, "Kill the runs that are here");
  auto* telling = app.add_subcommand("status", "What this machine is, and whether it is connected");
  auto* salvaging = app.add_subcommand(
      "salvage", "Deliver what a dead machine's worker has left on its disk, and start nothing");
  salvaging
      ->add_option(
          "DIR", options.folder,
          "The worker's folder on that disk, or where the disk is mounted (to be written to)")
      ->required();
  for (auto* command : {joining, running, leaving, telling})
    command->add_option("--state", options.state,
                        "Its folder; default: /var/lib/spell-worker as root, else "
                        "~/.local/share/spell-worker");
  for (auto* command : {joining, leaving, telling, salvaging})
    command->add_flag("--json", options.json, "Print one JSON object");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (*joining) return join(options);
  if (*running) return run(options);
  if (*leaving) return leave(options);
  if (*salvaging) return salvage(options);
  return status(options);
}
