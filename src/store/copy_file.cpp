#include "store/copy_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"

namespace spell::store {

std::string folder_of(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == path.npos ? "." : path.substr(0, slash + 1);
}

Result<> sync_file(const std::string& path) {
  auto file = base::open(path, O_RDONLY);
  if (!file) return file.error();
  return ::fsync(file->get()) == 0 ? ok() : Result<>(base::errno_error("write " + path));
}

Result<> copy_file(const std::string& from, const std::string& to) {
  std::string part = from + ".copy";
  std::error_code failed;
  std::filesystem::copy_file(from, part, std::filesystem::copy_options::overwrite_existing, failed);
  auto finish = [&]() -> Result<> {
    if (failed) {
      errno = failed.value();
      return base::errno_error("copy " + from + " to " + part);
    }
    SPELL_TRY(sync_file(part));
    if (::rename(part.c_str(), to.c_str()) != 0) return base::errno_error("make " + to);
    return base::sync_folder(folder_of(to));
  };
  auto done = finish();
  if (!done) (void)::unlink(part.c_str());
  return done;
}

}  // namespace spell::store
