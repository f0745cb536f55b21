// spelld: the service as a program. `spelld serve --personal` is started by the command line when
// it is needed; `spelld init` and `spelld serve` make and serve the data of a team. `spelld gc`,
// `spelld fsck`, `spelld backup` and `spelld restore` look after what a service keeps.
#include <CLI/CLI.hpp>

#include "backup.hpp"
#include "base/file_limit.hpp"
#include "personal.hpp"
#include "spell/version.hpp"
#include "storage.hpp"
#include "team.hpp"

namespace {

void define_init(CLI::App& init, spell::daemon::InitOptions& options) {
  init.add_option("--data", options.data,
                  "Its folder; default /var/lib/spelld for root and spelld, else "
                  "~/.local/share/spelld");
  init.add_option("--owner", options.owner, "The team's name")->capture_default_str();
  init.add_option("--host", options.hosts,
                  "Name or address by which others reach this computer, the first one in URLs; may "
                  "be repeated; default: its host name");
  init.add_option("--listen", options.listen, "HOST:PORT to listen on")->capture_default_str();
  init.add_option("--admin", options.administrator,
                  "Name of the first administrator; default: who calls, or admin");
  init.add_flag(
      "--password-stdin", options.password_stdin,
      "Read the administrator's password from standard input; else one is made and shown");
  init.add_flag("--json", options.json, "Print JSON");
}

}  // namespace

int main(int argc, char** argv) {
  spell::base::raise_file_limit();
  CLI::App app{
      "The service of Spell. A personal one is started by the command line when it is needed; for "
      "a team: spelld init, spelld serve."};
  app.set_version_flag("--version", std::string("spelld ") + spell::version());
  app.require_subcommand(1);
  spell::daemon::InitOptions init_options;
  define_init(*app.add_subcommand("init", "Make the data of a team's service"), init_options);
  spell::daemon::PersonalOptions options;
  spell::daemon::TeamOptions team;
  auto* serve = app.add_subcommand("serve", "Serve a team, or with --personal this user");
  serve->add_option("--data", team.data,
                    "Folder of the team's service; default as for spelld init");
  serve->add_option("--listen", team.listen, "HOST:PORT; default: as spelld.toml says");
  auto* certificate = serve->add_option("--certificate", team.certificate,
                                        "PEM file, the chain behind it; default: one under the "
                                        "service's own authority");
  auto* key = serve->add_option("--key", team.key, "PEM file of the certificate's key");
  certificate->needs(key);
  key->needs(certificate);
  serve->add_flag("--with-worker", team.with_worker,
                  "Carry out runs of type CPU on this computer too");
  bool personal = false;
  serve->add_flag("--personal", personal,
                  "The personal service of this user, with a worker for this computer; it ends by "
                  "itself when there is nothing left to do");
  serve->add_option("--spell-dir", options.spell_dir,
                    "Folder of the personal service; default ~/.spell");
  serve->add_option("--ready-fd", options.ready_fd,
                    "Descriptor that gets a line when the service answers");
  serve
      ->add_option("--idle-seconds", options.idle_seconds,
                   "A personal service ends after so long without anything to do; 0: never")
      ->capture_default_str();
  serve
      ->add_option("--managing-runs", options.managing,
                   "Managing runs of workflows that this computer carries beside other runs; of a "
                   "team's service: see spelld.toml")
      ->check(CLI::Range(0, 100'000))
      ->capture_default_str();
  spell::daemon::StorageOptions storage;
  auto* gc = app.add_subcommand("gc", "Free what nothing names any more");
  auto* fsck = app.add_subcommand("fsck", "Read and verify everything that is stored");
  auto of_service = [](CLI::App* command, spell::daemon::ServiceFolder& service, bool& json) {
    command->add_option("--data", service.data, "Folder of a team's service");
    command->add_option("--spell-dir", service.spell_dir, "Folder of a personal service")
        ->envname("SPELL_DIR");
    command->add_flag("--json", json, "Print the API's object");
  };
  for (auto* command : {gc, fsck}) of_service(command, storage.service, storage.json);
  fsck->add_flag("--accept-log", storage.accept_log,
                 "Where the service does not start since the log of its database is damaged: leave "
                 "out what stands behind the damage; a copy of the log stays");
  gc->add_option("--spare", storage.spare,
                 "Seconds: what arrived more recently stays; default: what unfinished uploads and "
                 "runs have sent")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1'000'000'000}));
  spell::daemon::BackupOptions backup;
  auto* back_up = app.add_subcommand(
      "backup",
      "Copy all that a service keeps, while it goes on; again into the same folder: what is new");
  back_up->add_option("DIR", backup.folder, "Folder of the backup")->required();
  of_service(back_up, backup.service, backup.json);
  spell::daemon::RestoreOptions restored;
  auto* restore = app.add_subcommand("restore", "Make the data of a service from a backup");
  restore->add_option("DIR", restored.folder, "Folder of the backup")->required();
  restore->add_option("--data", restored.data, "Folder to be made")->required();
  restore
      ->add_option(
          "--skip-numbers", restored.skip_numbers,
          "Run numbers go on so much above the last one in the backup, which does not know "
          "those that were given after it")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1'000'000'000}))
      ->capture_default_str();
  restore->add_flag("--json", restored.json, "Print JSON");
  serve->add_option("--cache-limit", options.cache_limit,
                    "Disk for data that runs mount, kept for the next; default: a fifth of it");
  serve->add_option("--backup-rate", options.backup_rate,
                    "Bytes a second that the backup of running runs reads here; default: 250M");
  serve->add_option("--packages", options.packages,
                    "Folder of the packages that /install/ hands to machines; default: those that "
                    "were installed with this program");
  serve
      ->add_option("--pool-check", options.pool_check,
                   "Seconds: so often the machines that pools list are compared with those that "
                   "are known")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{86'400}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  if (*back_up) return spell::daemon::back_up(backup);
  if (*restore) return spell::daemon::restore(restored);
  if (*gc) return spell::daemon::collect(storage);
  if (*fsck) return spell::daemon::check(storage);
  if (app.got_subcommand("init")) return spell::daemon::init_team(init_options);
  if (personal) return spell::daemon::serve_personal(options);
  team.ready_fd = options.ready_fd;
  team.cache_limit = options.cache_limit;
  team.backup_rate = options.backup_rate;
  team.packages = options.packages;
  team.pool_check = options.pool_check;
  return spell::daemon::serve_team(team);
}
