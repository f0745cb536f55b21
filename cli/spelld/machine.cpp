#include "machine.hpp"

#include <pwd.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.hpp"
#include "base/text.hpp"

namespace spell::daemon {

std::string machine_name() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  std::string name(std::string_view(host).substr(0, std::string_view(host).find('.')));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return base::valid_name(name) && name != "cpu" ? name : "this-machine";
}

int places() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(2, cores);
}

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

}  // namespace spell::daemon
