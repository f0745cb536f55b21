// Projects: named groups of runs.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"

namespace spell {

struct ProjectInfo {
  std::string name{}, description{};
  bool archived = false;
  std::int64_t runs = 0;
  std::optional<Time> created_at{};
  /// Ended runs without labels are removed when they are older than so many days; 0: never.
  std::int64_t keep_days = 0;
  /// Of them only the newest so many are kept; 0: all.
  std::int64_t keep_runs = 0;
};

struct ProjectChange {
  std::optional<std::string> name{}, description{};
  std::optional<bool> archived{};
  std::optional<std::int64_t> keep_days{}, keep_runs{};  ///< see ProjectInfo
};

/// Thread-safe.
class Projects {
 public:
  Result<ProjectInfo> create(const std::string& name, const std::string& description = {},
                             CallOptions = {}) const;
  Result<std::vector<ProjectInfo>> list(bool with_archived = false, CallOptions = {}) const;
  Result<ProjectInfo> get(const std::string& name, CallOptions = {}) const;
  Result<ProjectInfo> edit(const std::string& name, const ProjectChange& change,
                           CallOptions = {}) const;
  Result<ProjectInfo> add_runs(const std::string& name, const std::vector<std::int64_t>& runs,
                               CallOptions = {}) const;
  Result<ProjectInfo> remove_runs(const std::string& name, const std::vector<std::int64_t>& runs,
                                  CallOptions = {}) const;

  explicit Projects(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
