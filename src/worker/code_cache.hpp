// The code that runs on this machine had: a bare repository for each owner and workspace, so that
// only what is new has to be fetched:
//
//   <folder>/<owner>/<workspace>.git    its mtime is the last use
//            .gone-…                    on its way out
//
// A repository that is in use stays; beyond the limit those go whose last use is longest ago.
// Thread-safe; use() blocks.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::worker {

class CodeCache {
 public:
  CodeCache(std::string folder, std::int64_t limit) : folder_(std::move(folder)), limit_(limit) {}
  /// Removes what was on its way out.
  void clean();

  /// Writes a pack with the commit to `fd`, as against those of `have`. Returns its size.
  using Fetch = std::function<Result<std::int64_t>(const std::vector<std::string>& have, int fd)>;
  struct Use {
    std::string repository{};
    std::shared_ptr<void> held{};  ///< it stays until this goes
  };
  /// A repository that has the commit. `pack`: an empty file for what is fetched. Errors:
  /// `bad_pack`, `incomplete_pack`, those of `fetch` and the disk.
  Result<Use> use(const std::string& owner, const std::string& workspace, const std::string& commit,
                  const std::function<Result<base::Fd>()>& pack, const Fetch& fetch);
  /// For one in which an object is damaged or missing: it goes, and the next use fetches all of it.
  void discard(const Use&);

 private:
  struct Repository {
    std::mutex fetching;  ///< who comes second finds what the first has fetched
  };
  std::shared_ptr<Repository> hold(const std::string& path);
  void trim();

  const std::string folder_;
  const std::int64_t limit_;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<Repository>> held_;
};

}  // namespace spell::worker
