// A folder of the service, page by page.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "client/resource_path.hpp"
#include "spell/resource.hpp"

namespace spell::detail {

/// The first page is small, so that something can be shown at once. Not thread-safe.
class Pages {
 public:
  /// `path`: see plain_path().
  Pages(Connection& connection, std::string path, const Limit& limit)
      : connection_(connection), path_(std::move(path)), limit_(limit) {}

  /// The next entries of a folder, or the one of a file; empty at the end. Error
  /// `resource_not_found`.
  Result<std::vector<ResourceInfo>> next();
  /// What is listed; known after the first page.
  const ResourceInfo& resource() const { return resource_; }

 private:
  Connection& connection_;
  std::string path_, after_;
  Limit limit_;
  ResourceInfo resource_;
  int page_ = 0;
  bool ended_ = false;
};

/// What a path names, and the nanoseconds of its time, beyond modified_at. Error
/// `resource_not_found`.
struct Stated : ResourceInfo {
  std::int64_t modified_ns = 0;
};
Result<Stated> stat_resource(Connection&, const std::string& plain_path, const Limit&);

}  // namespace spell::detail
