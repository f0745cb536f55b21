// Waiting until a file grows, or another takes its name: the kernel tells, nothing looks again and
// again.
#pragma once
#include <string>

#include "spell/result.hpp"

namespace spell::cli {

class FileWatch {
 public:
  /// Of the file that has this path now, and of the folder it is in.
  static Result<FileWatch> open(const std::string& path);
  FileWatch(FileWatch&& other) noexcept;
  FileWatch& operator=(FileWatch&& other) noexcept;
  ~FileWatch();

  /// Returns when something happened since open(), or since the last return.
  Result<> wait();

 private:
  FileWatch() = default;
  int events_ = -1, file_ = -1, folder_ = -1;  ///< the latter two only where the kernel wants them
};

}  // namespace spell::cli
