// Hears what happens in a run's folder (inotify) and tells the ledger. A new folder is watched,
// then listed, so that nothing made in between is missed. Where events were lost (the kernel's
// queue overflowed) or cannot be had (its limit of watches) a look at the whole folder finds out.
// Not thread-safe.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backup/folder.hpp"
#include "backup/ledger.hpp"

namespace spell::backup {

class Watch {
 public:
  /// True for what is not part of a backup; a folder's contents are not asked about then.
  using LeftOut = std::function<bool(const std::string& path, bool is_folder)>;
  /// Error: the kernel has no more inotify instances for this user (fs.inotify.max_user_instances).
  static Result<Watch> start(const Folder& folder, Ledger& ledger, LeftOut left_out);
  /// Readable when something has happened.
  int fd() const { return events_.get(); }
  /// Tells all that has happened until now, without waiting.
  void pump();
  /// Tells what is other than the ledger expects, and watches what is not watched.
  void look();
  /// Events were lost: look() is due.
  bool is_blind() const { return blind_; }
  /// Some folders are not watched, since the kernel's limit is reached: only look() sees them.
  bool is_limited() const { return limited_; }

 private:
  struct Move {
    std::uint32_t cookie = 0;
    std::string path{};
    bool folder = false;
  };
  enum class Arrival { made, renamed, looked };

  Watch(const Folder& folder, Ledger& ledger, LeftOut left_out)
      : folder_(&folder), ledger_(&ledger), left_out_(std::move(left_out)) {}
  bool leaves_out(const std::string& path, bool is_folder) const;
  void on(std::uint32_t mask, std::uint32_t cookie, const std::string& path, Time now);
  void on_file(std::uint32_t mask, const std::string& path, Time now);
  void arrive(const std::string& path, Time now, Arrival how);
  void file_arrived(const std::string& path, const struct stat& st, Time now, Arrival how);
  bool watch(const base::Fd& folder, const std::string& path);
  void leave(const std::string& folder, bool for_good);
  void settle_move(Time now);

  const Folder* folder_;
  Ledger* ledger_;
  LeftOut left_out_;
  base::Fd events_;
  std::map<int, std::string> paths_;
  std::map<std::string, int> watches_;
  std::optional<Move> moving_;  ///< the first half of a rename
  bool blind_ = false, limited_ = false;
};

}  // namespace spell::backup
