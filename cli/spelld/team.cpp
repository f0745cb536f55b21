#include "team.hpp"

#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/password.hpp"
#include "base/spell_dir.hpp"
#include "base/text.hpp"
#include "keys.hpp"
#include "lock.hpp"
#include "machine.hpp"
#include "program.hpp"
#include "say.hpp"
#include "service/team_data.hpp"
#include "serving.hpp"
#include "settings.hpp"
#include "worker/machine.hpp"

namespace spell::daemon {

namespace {

namespace fs = std::filesystem;

Result<std::string> full_path(const std::string& given) {
  std::error_code failure;
  auto path = fs::absolute(given.empty() ? default_data_folder() : given, failure);
  if (failure) return base::error("io_error", given + ": " + failure.message());
  std::string text = path.lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

std::string user_of(uid_t uid) {
  passwd* entry = ::getpwuid(uid);
  return entry ? entry->pw_name : "uid " + std::to_string(uid);
}

}  // namespace

Result<> become_owner(const std::string& data) {
  if (::geteuid() != 0) return ok();
  struct stat st {};
  uid_t uid = 0;
  gid_t gid = 0;
  if (::stat(data.c_str(), &st) == 0) {
    uid = st.st_uid;
    gid = st.st_gid;
  } else if (passwd* entry = ::getpwnam("spelld"); entry && data == default_data_folder()) {
    uid = entry->pw_uid;
    gid = entry->pw_gid;
    SPELL_TRY(base::make_folders(data));
    if (::chown(data.c_str(), uid, gid) != 0)
      return base::errno_error("give " + data + " to spelld");
  }
  if (uid == 0) return ok();
  if (::setgroups(0, nullptr) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0)
    return base::errno_error("become " + user_of(uid));
  return ok();
}

namespace {

/// While it is there the folder holds an init that has not come to its end, and may be cleared.
std::string unfinished(const std::string& data) { return data + "/init-unfinished"; }

Result<> make_room(const std::string& data) {
  if (base::exists(settings_path(data)))
    return base::error(
        "already_initialised",
        data + " holds a service already; `spelld serve --data " + data + "` serves it");
  SPELL_TRY(base::make_folders(data));
  std::error_code failure;
  bool may_clear = base::exists(unfinished(data));
  for (auto& entry : fs::directory_iterator(data, failure)) {
    if (entry.path() == unfinished(data) || entry.path().filename() == "lost+found") continue;
    if (!may_clear)
      return base::error("not_empty", data + " is not empty (" + entry.path().filename().string() +
                                          "): give another folder with --data");
    SPELL_TRY(base::remove_tree(entry.path().string()));
  }
  if (failure) return base::error("io_error", "cannot read " + data + ": " + failure.message());
  // In one step: half of it would be something else in the folder.
  auto marked = base::open(unfinished(data), O_WRONLY | O_CREAT, 0600);
  if (!marked) return marked.error();
  return base::sync_folder(data);
}

Result<std::string> first_line(int fd) {
  std::string line;
  for (char c = 0; line.size() < 2048 && ::read(fd, &c, 1) == 1 && c != '\n';) line += c;
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

std::string caller_name() {
  const char* behind_sudo = ::getenv("SUDO_USER");
  std::string name = behind_sudo ? behind_sudo : base::user_name();
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return name == "root" || !service::check_user_name(name) ? "admin" : name;
}

std::string own_host() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return check_hosts({name}) ? name : "localhost";
}

struct Made {
  Settings settings{};
  std::string data{}, administrator{}, password{}, fingerprint{};
  std::string url() const {
    auto& host = settings.hosts.front();
    std::string port = settings.listen.substr(settings.listen.rfind(':') + 1);
    return "https://" + (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" +
           port;
  }
};

Result<Made> make(const InitOptions& options) {
  Made made;
  auto data = full_path(options.data);
  if (!data) return data.error();
  made.data = *data;
  made.settings.owner = options.owner;
  made.settings.listen = options.listen;
  made.settings.hosts = options.hosts;
  made.administrator = options.administrator.empty() ? caller_name() : options.administrator;
  if (made.settings.hosts.empty()) made.settings.hosts.push_back(own_host());
  for (auto* local : {"localhost", "127.0.0.1", "::1"})
    if (auto& hosts = made.settings.hosts;
        std::find(hosts.begin(), hosts.end(), local) == hosts.end())
      hosts.emplace_back(local);

  // Everything that was asked for is looked at before anything is made.
  if (!base::valid_name(options.owner))
    return base::error("usage",
                       "--owner: a team's name is 1 to 64 letters, digits, '.', '_' and '-'");
  SPELL_TRY(service::check_user_name(made.administrator));
  SPELL_TRY(check_hosts(made.settings.hosts));
  auto port = base::parse_int(options.listen.substr(options.listen.rfind(':') + 1));
  if (options.listen.find(':') == std::string::npos || !port || *port < 0 || *port > 65535)
    return base::error("usage", "--listen is HOST:PORT, not " + options.listen);
  if (options.password_stdin) {
    auto password = first_line(STDIN_FILENO);
    SPELL_TRY(base::check_password_rules(*password));
    made.password = *password;
  } else {
    made.password = base::make_password();
  }

  SPELL_TRY(become_owner(made.data));
  SPELL_TRY(make_room(made.data));
  auto fingerprint = make_authority(made.data, options.owner);
  if (!fingerprint) return fingerprint.error();
  made.fingerprint = *fingerprint;
  SPELL_TRY(service::make_team_data(made.data, made.administrator, made.password));
  SPELL_TRY(write_settings(made.data, made.settings));
  SPELL_TRY(base::remove_tree(unfinished(made.data)));
  return made;
}

bool has_unit() {
  return base::exists("/run/systemd/system") && base::exists("/lib/systemd/system/spelld.service");
}

}  // namespace

int init_team(const InitOptions& options) {
  ::umask(077);
  auto made = make(options);
  if (!made) return fail(made.error());
  if (options.json) {
    nlohmann::json service{{"data", made->data},
                           {"owner", made->settings.owner},
                           {"url", made->url()},
                           {"fingerprint", made->fingerprint},
                           {"administrator", made->administrator}};
    if (!options.password_stdin) service["password"] = made->password;
    std::cout << nlohmann::json{{"service", service}}.dump() << std::endl;
    return 0;
  }
  bool usual = made->data == default_data_folder();
  std::cout << "Made the service of " << made->settings.owner << " in " << made->data << "\n\n"
            << "  Administrator  " << made->administrator << "\n";
  if (!options.password_stdin)
    std::cout << "  Password       " << made->password
              << "   (shown this once; spell passwd changes it)\n";
  std::cout
      << "  Fingerprint    " << made->fingerprint << "\n\n"
      << "Next:\n"
      << "  "
      << (usual && has_unit() ? "systemctl enable --now spelld"
                              : "spelld serve" + (usual ? "" : " --data " + made->data))
      << "\n"
      << "  spell login " << made->url() << " --user " << made->administrator << " --fingerprint "
      << made->fingerprint << "\n"
      << "  spell machine add NAME\n\n"
      << "No machine has joined yet, so no run can start, of type CPU neither: spell machine\n"
      << "add says how one does; spelld serve --with-worker lends this computer.\n";
  std::cout.flush();
  return std::cout ? 0 : 1;
}

namespace {

Result<int> serve_data(const TeamOptions& options) {
  auto data = full_path(options.data);
  if (!data) return data.error();
  struct stat st {};
  if (::stat(data->c_str(), &st) == 0 && st.st_uid != ::geteuid())
    return base::error("not_permitted", *data + " belongs to " + user_of(st.st_uid) +
                                            ": serve it as that user (runuser -u " +
                                            user_of(st.st_uid) + " -- spelld serve …)");
  auto settings = read_settings(*data);
  if (!settings) return settings.error();
  if (!options.listen.empty()) settings->listen = options.listen;
  if (!options.certificate.empty()) {
    settings->certificate = options.certificate;
    settings->key = options.key;
  }
  if (settings->hosts.empty()) settings->hosts.push_back(own_host());
  auto held = take_lock(*data + "/spelld.lock");
  if (!held) return held.error();
  if (held->other) return base::error("already_served", "a service serves " + *data + " already");
  auto authority = read_authority(*data);
  if (!authority) return authority.error();
  auto now = [] {
    return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  };
  auto shown = certificate(*data, *authority, *settings, now());
  if (!shown) return shown.error();

  Log log;
  Serving serving;
  serving.service.kind = service::ServiceOptions::Kind::team;
  serving.service.state_folder = *data;
  serving.service.spell_dir = *data;
  serving.service.socket_path = *data + "/spelld.sock";
  serving.service.owner = settings->owner;
  serving.service.packages = packages_folder(options.packages);
  serving.service.sdk = sdk_folder();
  serving.service.pools = pools_folder();
  serving.service.worker_program = worker_program();
  serving.service.pool_check = std::chrono::seconds(options.pool_check);
  serving.service.idle_seconds = 0;
  serving.service.keep_free = settings->keep_free;
  serving.service.environments = settings->environments;
  serving.service.managing = settings->managing_runs;
  serving.service.retention = {settings->keep_days, settings->keep_bytes};
  serving.service.listen = settings->listen;
  serving.service.host = settings->hosts.front();
  serving.service.identity = shown->identity;
  serving.service.authority = *authority;
  if (options.with_worker || settings->with_worker) {
    serving.service.machine = worker::machine_name();
    serving.service.places = places();
    EmbeddedWorker& worker = serving.worker.emplace();
    worker.folder = *data + "/worker";
    worker.hidden = {*data};
    worker.service_lock = *data + "/spelld.lock";
    worker.cache_limit = options.cache_limit;
    worker.backup_rate = options.backup_rate;
  }
  serving.ready = [&](service::Service& service) {
    log.write("listening on port " + std::to_string(service.port()));
    tell_systemd_ready();
    tell(options.ready_fd, "ready " + std::to_string(service.port()));
  };
  // The certificate is looked at when it is due, and on SIGHUP, without anybody's calls ending.
  serving.look = [&](service::Service& service) {
    auto next = certificate(*data, *authority, *settings, now());
    auto taken = next ? service.set_identity(next->identity) : Result<>(next.error());
    if (!taken) {
      log.write("the certificate could not be renewed: " + taken.error().message());
      return std::chrono::seconds(std::chrono::hours(1));
    }
    if (next->renewed) log.write("the certificate has been renewed");
    return std::clamp(next->look_again - now(), std::chrono::seconds(1),
                      std::chrono::seconds(std::chrono::days(1)));
  };
  auto reason = serve_until_told(serving, log);
  if (!reason) return reason.error();
  log.write("ended: " + *reason);
  return 0;
}

}  // namespace

int serve_team(const TeamOptions& options) {
  ::umask(077);
  mallopt(M_ARENA_MAX, 2);
  auto status = serve_data(options);
  return status ? *status : fail(status.error());
}

}  // namespace spell::daemon
