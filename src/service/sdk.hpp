// The SDK that this service hands out, for programs that are built on its machines: headers, static
// library and CMake package, as a tree in SpellFS. It was installed beside the service and is of
// its version.
#pragma once
#include <map>
#include <mutex>
#include <string>

#include "service/api.hpp"

namespace spell::service {

/// Thread-safe.
class Sdk {
 public:
  /// `folder`: where it is on disk; it need not be there.
  explicit Sdk(std::string folder) : folder_(std::move(folder)) {}
  /// As an upload of the caller's owner that counts for no user, without its workflow's part of the
  /// name. Blocks; only the first time it is read from
  /// disk. Error `sdk_missing`.
  Result<CheckedUpload> give(Context&, const Call&);

 private:
  struct Known {
    std::string state;  ///< of what is on disk
    store::UploadRecord record;
  };
  std::string folder_;
  std::mutex mutex_;
  std::map<std::string, Known> known_;  ///< by owner
};

}  // namespace spell::service
