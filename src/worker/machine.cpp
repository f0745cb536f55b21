#include "worker/machine.hpp"

#include <gnu/libc-version.h>
#include <pwd.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/library.hpp"
#include "base/text.hpp"
#include "worker/gpus.hpp"
#include "worker/image_layer.hpp"
#include "worker/layers.hpp"
#include "worker/system_layer.hpp"
#include "worker/toolchain.hpp"

namespace spell::worker {

using model::json;

namespace {

constexpr exec::Containment all_containments[] = {exec::Containment::namespaces,
                                                  exec::Containment::user_namespaces,
                                                  exec::Containment::best_effort};

/// What the answer depends on: another boot may have other rules, another program other abilities.
std::string fingerprint(const std::string& supervisor, std::uint32_t user) {
  struct stat st {};
  if (::stat(supervisor.c_str(), &st) != 0) return {};
  return base::boot_id() + " " + supervisor + " " + std::to_string(st.st_size) + " " +
         std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec) +
         (user != 0 ? " as " + std::to_string(user) : "");
}

std::optional<exec::Capabilities> read_cache(const std::string& path, const std::string& wanted) {
  auto text = base::read_file(path, 1 << 16);
  if (!text) return std::nullopt;
  json cache = json::parse(*text, nullptr, false);
  if (!cache.is_object()) return std::nullopt;
  for (auto member : {"for", "containment", "remedy", "no_overlays", "no_packages"})
    if (!cache.contains(member) || !cache[member].is_string()) return std::nullopt;
  for (auto member : {"overlays", "packages"})
    if (!cache.contains(member) || !cache[member].is_boolean()) return std::nullopt;
  if (cache["for"] != wanted) return std::nullopt;
  for (auto containment : all_containments)
    if (cache["containment"] == exec::name_of(containment))
      return exec::Capabilities{containment,          cache["remedy"],   cache["overlays"],
                                cache["no_overlays"], cache["packages"], cache["no_packages"]};
  return std::nullopt;
}

}  // namespace

Result<exec::Capabilities> find_capabilities(const std::string& supervisor,
                                             const std::string& folder, std::uint32_t user) {
  std::string path = folder + "/capabilities.json", wanted = fingerprint(supervisor, user);
  if (auto cached = read_cache(path, wanted)) return *cached;
  auto probed = exec::probe(supervisor, folder, user);
  if (!probed) return probed;
  json cache;
  cache["for"] = wanted;
  cache["containment"] = exec::name_of(probed->containment);
  cache["remedy"] = probed->remedy;
  cache["overlays"] = probed->overlays;
  cache["no_overlays"] = probed->no_overlays;
  cache["packages"] = probed->packages;
  cache["no_packages"] = probed->no_packages;
  // Without the cache the next start only probes again.
  (void)base::write_file(path, cache.dump(-1, ' ', false, json::error_handler_t::replace), 0600,
                         false);
  return probed;
}

std::string machine_name() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  std::string name(std::string_view(host).substr(0, std::string_view(host).find('.')));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return base::valid_name(name) && name != "cpu" ? name : "this-machine";
}

namespace {
/// Of the libraries that C++ programs name most often, those that are here.
std::string known_libraries() {
  std::vector<std::string> here;
  for (std::string name :
       {"libgcc_s.so.1", "libstdc++.so.6", "libssl.so.3", "libcrypto.so.3", "libz.so.1"})
    if (base::has_library(name)) here.push_back(std::move(name));
  return base::join(here, " ");
}
}  // namespace

std::vector<std::string> base_environment() {
  std::string home = "/", user = "uid-" + std::to_string(::getuid()), shell = "/bin/sh";
  if (passwd* entry = ::getpwuid(::getuid())) {
    home = entry->pw_dir;
    user = entry->pw_name;
    if (entry->pw_shell && *entry->pw_shell) shell = entry->pw_shell;
  }
  std::string language = "C.UTF-8";
  if (auto locale = base::read_file("/etc/default/locale", 65536)) {
    for (auto& line : base::split(*locale, '\n')) {
      std::string_view text = base::trim(line);
      if (!text.starts_with("LANG=")) continue;
      text.remove_prefix(5);
      if (text.size() > 1 && text.front() == '"' && text.back() == '"')
        text = text.substr(1, text.size() - 2);
      if (!text.empty()) language = text;
    }
  }
  std::string path = ::getuid() == 0
                         ? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                         : home + "/.local/bin:/usr/local/bin:/usr/bin:/bin";
  std::vector<std::string> environment{"PATH=" + path,    "HOME=" + home,   "USER=" + user,
                                       "LOGNAME=" + user, "SHELL=" + shell, "LANG=" + language};
  if (auto zone = base::read_file("/etc/timezone", 256); zone && !base::trim(*zone).empty())
    environment.push_back("TZ=" + std::string(base::trim(*zone)));
  return environment;
}

model::WorkerHello describe_machine(const std::string& version, int cores,
                                    const exec::Capabilities& capabilities,
                                    const std::string& nvidia_smi) {
  model::WorkerHello hello;
  hello.version = version;
  hello.boot_id = base::boot_id();
  cpu_set_t usable;
  CPU_ZERO(&usable);
  hello.cores = cores > 0                                             ? cores
                : ::sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable)
                                                                      : 1;
  struct sysinfo info {};
  if (::sysinfo(&info) == 0)
    hello.memory = static_cast<std::int64_t>(info.totalram) * info.mem_unit;
  if (auto gpus = find_gpus(nvidia_smi))
    hello.gpus = std::move(*gpus);
  else
    hello.notes.push_back("GPUs: none can be used (" + gpus.error().message() + ")");
  hello.capabilities["containment"] = exec::name_of(capabilities.containment);
  struct utsname system {};
  if (::uname(&system) == 0) hello.capabilities["architecture"] = system.machine;
  hello.capabilities["glibc"] = ::gnu_get_libc_version();
  hello.capabilities["libraries"] = known_libraries();
  auto tools = find_toolchain(base_environment());
  hello.capabilities["lacks_for_builds"] =
      capabilities.containment == exec::Containment::best_effort ? "namespaces" : tools.missing;
  hello.capabilities["lacks_for_packages"] = lacks_for_packages(capabilities);
  hello.capabilities["lacks_for_images"] = lacks_for_images(capabilities, base_environment());
  hello.capabilities["lacks_for_conda"] =
      lacks_for_conda(capabilities, base_of(base_environment()));
  hello.capabilities["mounts"] = capabilities.containment == exec::Containment::best_effort
                                     ? "copies"
                                 : capabilities.overlays ? "overlays"
                                                         : "read-only";
  if (capabilities.containment != exec::Containment::best_effort && !capabilities.overlays)
    hello.notes.push_back("mounts: read-only (" + capabilities.no_overlays + ")");
  if (!capabilities.remedy.empty())
    hello.notes.push_back(std::string("containment: ") + exec::name_of(capabilities.containment) +
                          " (" + capabilities.remedy + ")");
  return hello;
}

}  // namespace spell::worker
