#include "net/spool.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.hpp"

namespace spell::net {

Result<base::Fd> unnamed_file(const std::string& folder) {
#ifdef O_TMPFILE
  if (auto file = base::open(folder, O_TMPFILE | O_RDWR)) return file;
#endif
  std::string path = folder + "/spool-XXXXXX";
  base::Fd file(::mkstemp(path.data()));
  if (!file) return base::errno_error("make a file in " + folder);
  ::fcntl(file.get(), F_SETFD, FD_CLOEXEC);
  ::unlink(path.c_str());
  return file;
}

}  // namespace spell::net
