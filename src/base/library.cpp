#include "base/library.hpp"

#include <sys/utsname.h>
#include <unistd.h>

namespace spell::base {

bool has_library(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), R_OK) == 0;
  struct utsname system {};
  (void)::uname(&system);
  std::string own = std::string(system.machine) + "-linux-gnu/";
  for (std::string folder :
       {"/lib/" + own, "/usr/lib/" + own, std::string("/lib64/"), std::string("/usr/lib64/"),
        std::string("/lib/"), std::string("/usr/lib/"), std::string("/usr/local/lib/")})
    if (::access((folder + name).c_str(), R_OK) == 0) return true;
  return false;
}

}  // namespace spell::base
