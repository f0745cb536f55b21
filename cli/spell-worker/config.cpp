#include "config.hpp"

#include <unistd.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "worker/cloud_notice.hpp"
#include "worker/run_users.hpp"
#include "worker/share.hpp"

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace spell::worker_program {

Result<Config> read_config(const std::string& folder) {
  Config config;
  if (::geteuid() == 0)
    config.run_users = std::to_string(worker::usual_run_users.first) + "-" +
                       std::to_string(worker::usual_run_users.last);
  std::string path = folder + "/worker.toml";
  if (!base::exists(path)) path = "/etc/spell/worker.toml";
  auto text = base::read_file(path, 1 << 20);
  if (!text && text.error().code() == "not_found") return config;
  if (!text) return text.error();
  auto parsed = toml::parse(*text);
  auto bad = [&](const toml::source_region& where, const std::string& what) {
    return base::error("invalid_configuration",
                       path + ", line " + std::to_string(where.begin.line) + ": " + what);
  };
  if (!parsed) return bad(parsed.error().source(), std::string(parsed.error().description()));
  for (auto& [key, value] : parsed.table()) {
    std::string name(key.str());
    if (name == "cores") {
      auto cores = value.value_exact<std::int64_t>();
      if (!cores || *cores < 1 || *cores > 4096)
        return bad(value.source(), "cores must be a number from 1 to 4096");
      config.cores = static_cast<int>(*cores);
    } else if (name == "cache-limit") {
      auto size = base::parse_size(value.value_exact<std::string>().value_or(""));
      if (!size || *size < 1)
        return bad(value.source(), "cache-limit must be a size, such as \"50G\"");
      config.cache_limit = *size;
    } else if (name == "backup-rate") {
      auto size = base::parse_size(value.value_exact<std::string>().value_or(""));
      if (!size || *size < 1)
        return bad(value.source(), "backup-rate must be bytes a second, such as \"50M\"");
      config.backup_rate = *size;
    } else if (name == "nvidia-smi") {
      config.nvidia_smi = value.value_exact<std::string>().value_or("");
      if (!config.nvidia_smi.starts_with('/'))
        return bad(value.source(), "nvidia-smi must be the path of a program");
    } else if (name == "cdi") {
      config.cdi = value.value_exact<std::string>().value_or("");
      if (!config.cdi.starts_with('/'))
        return bad(value.source(), "cdi must be the path of a folder");
    } else if (name == "end-after" || name == "end-anyway") {
      auto seconds = value.value_exact<std::int64_t>();
      if (!seconds || *seconds < 0 || *seconds > 365 * 86'400)
        return bad(value.source(), name + " must be a number of seconds");
      (name == "end-after" ? config.end_after : config.end_anyway) = std::chrono::seconds(*seconds);
    } else if (name == "on-end") {
      config.on_end = value.value_exact<std::string>().value_or("");
      if (config.on_end.empty()) return bad(value.source(), "on-end must be a shell's command");
    } else if (name == "run-users") {
      config.run_users = value.value_exact<std::string>().value_or("");
      if (config.run_users == "none")
        config.run_users.clear();
      else if (auto range = worker::parse_run_users(config.run_users); !range)
        return bad(value.source(), range.error().message());
    } else if (name == "notice") {
      config.notice = value.value_exact<std::string>().value_or("");
      if (auto cloud = worker::find_cloud(config.notice); !cloud)
        return bad(value.source(), cloud.error().message());
    } else if (name == "sigterm-is-notice") {
      auto yes = value.value_exact<bool>();
      if (!yes) return bad(value.source(), "sigterm-is-notice must be true or false");
      config.sigterm_is_notice = *yes;
    } else if (name == "notice-seconds") {
      auto seconds = value.value_exact<std::int64_t>();
      if (!seconds || *seconds < 0 || *seconds > 86'400)
        return bad(value.source(), "notice-seconds must be a number from 0 to 86400");
      config.notice_seconds = *seconds;
    } else if (name == "share") {
      bool texts = value.is_array();
      if (texts)
        for (auto& entry : *value.as_array()) {
          auto shared = entry.value_exact<std::string>();
          auto share = worker::parse_share(shared.value_or(""));
          if (shared && !share) return bad(entry.source(), share.error().message());
          texts = texts && shared;
          if (shared) config.shares.push_back(*shared);
        }
      if (!texts) return bad(value.source(), "share must be a list of folders: [\"/data\"]");
    } else {
      return bad(value.source(),
                 "'" + name +
                     "' is not known; there are: cores, cache-limit, backup-rate, "
                     "nvidia-smi, cdi, run-users, share, notice, sigterm-is-notice, "
                     "notice-seconds, end-after, end-anyway, on-end");
    }
  }
  return config;
}

}  // namespace spell::worker_program
