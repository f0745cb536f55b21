#include "base/error.hpp"

#include <cstring>
#include <ostream>

#include "spell/error.hpp"

namespace spell {

std::ostream& operator<<(std::ostream& out, const Error& e) { return out << e.message(); }

namespace base {

Error errno_error(std::string_view what, int number) {
  const char* code = "io_error";
  if (number == ENOSPC || number == EDQUOT)
    code = "disk_full";
  else if (number == EACCES || number == EPERM || number == EROFS)
    code = "not_permitted";
  else if (number == ENOENT || number == ENOTDIR)
    code = "not_found";
  char buffer[128];
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
  const char* text = strerror_r(number, buffer, sizeof buffer);
#else
  strerror_r(number, buffer, sizeof buffer);
  const char* text = buffer;
#endif
  return {code, "cannot " + std::string(what) + ": " + text};
}

}  // namespace base
}  // namespace spell
