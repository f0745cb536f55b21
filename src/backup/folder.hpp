// The run's folder as its backup reads it. The program may put a link anywhere at any time: no part
// of a path is ever followed if it is one.
#pragma once
#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "spell/result.hpp"
#include "spellfs/tree.hpp"

namespace spell::backup {

class Folder {
 public:
  static Result<Folder> open(const std::string& path);
  /// Of a path in it, "" for itself. No descriptor: errno says why.
  base::Fd open_folder(const std::string& path) const;
  base::Fd open_file(const std::string& path) const;
  /// As lstat(2); none: errno says why.
  std::optional<struct stat> state(const std::string& path) const;
  /// Where a link leads to; none: it is no link any more.
  std::optional<std::string> target(const std::string& path) const;
  const std::string& path() const { return path_; }

 private:
  base::Fd open_below(const std::string& path, int flags) const;
  base::Fd parent(const std::string& path, std::string& name) const;
  std::string path_;
  base::Fd top_;
};

/// The names in an open folder; empty where it cannot be read.
std::vector<std::string> names_in(const base::Fd& folder);

}  // namespace spell::backup
