#include "settings.hpp"

#include <unistd.h>

#include <sstream>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/spell_dir.hpp"
#include "base/text.hpp"

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace spell::daemon {

std::string settings_path(const std::string& data) { return data + "/spelld.toml"; }

std::string default_data_folder() {
  if (::geteuid() == 0 || base::user_name() == "spelld") return "/var/lib/spelld";
  return base::Environment::current().home + "/.local/share/spelld";
}

Result<Settings> read_settings(const std::string& data) {
  std::string path = settings_path(data);
  auto text = base::read_file(path, 1 << 20);
  if (!text && text.error().code() == "not_found")
    return base::error(
        "not_initialised",
        data + " holds no service of a team; `spelld init --data " + data + "` makes one");
  if (!text) return text.error();
  auto parsed = toml::parse(*text);
  auto bad = [&](const auto& where, const std::string& what) {
    return base::error("invalid_configuration",
                       path + ", line " + std::to_string(where.begin.line) + ": " + what);
  };
  if (!parsed) return bad(parsed.error().source(), std::string(parsed.error().description()));
  Settings settings;
  for (auto& [key, value] : parsed.table()) {
    auto text_of = [&](std::string& into) {
      auto found = value.value_exact<std::string>();
      if (found) into = *found;
      return found.has_value();
    };
    auto number_of = [&](auto& into, std::int64_t most) {
      auto found = value.value_exact<std::int64_t>();
      bool within = found && *found >= 0 && *found <= most;
      if (within) into = static_cast<std::decay_t<decltype(into)>>(*found);
      return within;
    };
    bool fine = false;
    if (key == "keep_free") {
      fine = number_of(settings.keep_free, 99);
    } else if (key == "managing_runs") {
      fine = number_of(settings.managing_runs, 100'000);
    } else if (key == "keep_days") {
      fine = number_of(settings.keep_days, 1'000'000);
    } else if (key == "keep_bytes" || key == "environments") {
      std::string size;
      auto bytes = text_of(size) ? base::parse_size(size) : std::nullopt;
      fine = bytes && *bytes >= 0;
      (key == "keep_bytes" ? settings.keep_bytes : settings.environments) = bytes.value_or(0);
    } else if (key == "owner") {
      fine = text_of(settings.owner);
    } else if (key == "listen") {
      fine = text_of(settings.listen);
    } else if (key == "certificate") {
      fine = text_of(settings.certificate);
    } else if (key == "key") {
      fine = text_of(settings.key);
    } else if (key == "with_worker") {
      auto found = value.value_exact<bool>();
      fine = found.has_value();
      settings.with_worker = found.value_or(false);
    } else if (key == "hosts") {
      fine = value.is_array();
      if (fine)
        for (auto& host : *value.as_array()) {
          auto name = host.value_exact<std::string>();
          fine = fine && name;
          if (name) settings.hosts.push_back(*name);
        }
    } else {
      return bad(key.source(), "'" + std::string(key.str()) + "' is no setting of spelld");
    }
    if (!fine)
      return bad(value.source(), "'" + std::string(key.str()) + "' is not what it should be");
  }
  if (settings.owner.empty())
    return base::error("invalid_configuration", path + " does not name the owner");
  return settings;
}

Result<> write_settings(const std::string& data, const Settings& settings) {
  toml::array hosts;
  for (auto& host : settings.hosts) hosts.push_back(host);
  auto line = [](const char* name, const auto& value) {
    std::ostringstream out;
    out << name << " = " << toml::toml_formatter(toml::value(value)) << "\n";
    return out.str();
  };
  std::ostringstream names;
  names << toml::toml_formatter(hosts);
  std::string text =
      "# The service of a team. Changes count from its next start on.\n" +
      line("owner", settings.owner) + line("listen", settings.listen) +
      "# Names and addresses of this computer, for its certificate.\nhosts = " + names.str() +
      "\n# Another certificate than the one under the service's own authority:\n"
      "# certificate = \"/etc/…/fullchain.pem\"\n"
      "# key = \"/etc/…/privkey.pem\"\n"
      "# Runs of type CPU beside the database:\n" +
      line("with_worker", settings.with_worker) +
      "# Percent of the disk that stays free: with less no new runs are taken.\n" +
      line("keep_free", settings.keep_free) +
      "# Managing runs of workflows that each machine carries beside other runs.\n" +
      line("managing_runs", settings.managing_runs) +
      "# What is kept; without these, everything. Runs with labels always stay.\n"
      "# keep_days = 365\n"
      "# keep_bytes = \"2T\"\n"
      "# What environments may take, each reckoned alone; without this a tenth of the disk.\n"
      "# environments = \"100G\"\n";
  return base::write_file(settings_path(data), text, 0600);
}

}  // namespace spell::daemon
