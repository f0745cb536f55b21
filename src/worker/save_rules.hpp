// What of a run's folder is an output, and what is not: the same for its backup while it runs and
// for the save at its end.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "git/store.hpp"
#include "model/worker_protocol.hpp"
#include "spellfs/ignore.hpp"
#include "spellfs/tree.hpp"
#include "worker/run_folder.hpp"

namespace spell::worker {

/// Files that stay open and grow, by their names: logs, tables, events, and what --append says.
/// What is there of one is whole.
class GrowingFiles {
 public:
  GrowingFiles() : GrowingFiles(std::vector<std::string>()) {}
  /// Patterns as in .gitignore; the last that names a file decides, so "!*.csv" takes back what is
  /// usual.
  explicit GrowingFiles(const std::vector<std::string>& append);
  bool contain(const std::string& path) const;

 private:
  spellfs::IgnoreRules files_, folders_;
};

struct SaveRules {
  git::CheckoutManifest manifest{};
  /// Files as the checkout made them, and places of mounts (a folder's path ends with '/').
  std::map<std::string, spellfs::KnownFile> known{};
  std::vector<std::string> copies{};  ///< paths of what was copied instead of mounted
  bool all = false;                   ///< --save-all
  spellfs::IgnoreRules ignored{};
  std::string problem{};  ///< why the rules of .spellignore are not used; "": they are

  bool ignores(const std::string& path, bool is_folder) const {
    return !ignored.empty() && ignored.ignores(path, is_folder);
  }
  /// That, a folder that is usually left out, or a copy. Not to be asked about what lies below.
  bool leaves_out(const std::string& path, bool is_folder) const;
  GrowingFiles growing{};
};

/// Error `damaged`.
Result<SaveRules> read_save_rules(const Folders&, const model::StartCommand&);

}  // namespace spell::worker
