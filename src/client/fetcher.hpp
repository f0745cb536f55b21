// Files that are fetched side by side: a few threads take jobs from a bounded queue. Their content
// comes by name, many small files or a piece of a large one with each answer
// (spellfs/remote_store), so what is fetched is one version of a tree, whatever happens to its name
// meanwhile.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "client/part_file.hpp"
#include "client/retry.hpp"
#include "spellfs/node.hpp"
#include "spellfs/remote_store.hpp"

namespace spell::detail {

class Connection;

/// A folder that is being filled. When the last file in it is done it gets its own mode and time,
/// unless the copy has failed: then it stays open for the next attempt.
struct TargetFolder {
  base::Fd fd{};
  std::string shown{};
  spellfs::Entry entry{};
  bool restore = false;
  const std::atomic<bool>* failed = nullptr;
  /// How something in it is shown.
  std::string below(const std::string& name) const;
  ~TargetFolder();
};

/// The calling thread pushes and is told of progress; others fetch.
class Fetcher {
 public:
  struct Totals {
    std::int64_t done = 0, total = 0;  ///< bytes, with those that were there already
  };
  using Tell = std::function<void(const Totals&)>;

  /// `path`: of the resource that all objects lie below; `tree`: its version, which the service
  /// keeps while it is fetched.
  Fetcher(Connection& connection, std::string path, std::string tree, int threads,
          const Limit& limit, Tell tell);
  ~Fetcher();

  /// A file into a folder, under a name. Error: of a file before.
  Result<> push(std::shared_ptr<TargetFolder> folder, std::string name, spellfs::Entry entry);
  /// There is no use in going on: what is half done stays as it is.
  void give_up();
  /// Until all are there.
  Result<> finish();

  /// The resource's objects.
  const spellfs::ObjectSource& objects() const { return *objects_; }
  /// For the progress: so many bytes are there, or are to come.
  void add_done(std::int64_t bytes) { done_ += bytes; }
  void expect(std::int64_t bytes) { total_ += bytes; }
  std::int64_t files() const { return files_; }
  std::int64_t bytes() const { return received_; }
  const std::atomic<bool>& failed() const { return failed_; }
  const Limit& limit() const { return limit_; }

 private:
  struct File;
  struct Job {
    // Small files of a folder.
    std::shared_ptr<TargetFolder> folder{};
    std::vector<std::pair<std::string, spellfs::Entry>> files{};
    std::int64_t bytes = 0;
    // Of a large file a part, instead.
    std::shared_ptr<File> file{};
    std::vector<spellfs::Piece> pieces{};
    std::int64_t at = 0;
  };
  void work();
  Result<> push(Job job);
  Result<> push_gathered();
  Result<> push_large(const std::shared_ptr<TargetFolder>& folder, const std::string& name,
                      const spellfs::Entry& entry);
  Result<> fetch(Job& job);
  Result<> fetch_file(const std::shared_ptr<TargetFolder>& folder, const std::string& name,
                      const spellfs::Entry& entry);
  void expect_pieces(const File& file, const std::vector<spellfs::Piece>& pieces,
                     std::int64_t at) const;
  Result<> fetch_piece(File& file, const spellfs::Piece& piece, std::int64_t at);
  Result<> complete(File& file);
  void fail(const Error& error);
  Result<> wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& until);
  void tell() const;

  const std::size_t most_threads_;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> chain_;
  Limit limit_;
  Tell tell_;
  std::unique_ptr<spellfs::RemoteStore> objects_;
  Job gathered_;  ///< the calling thread's
  std::atomic<std::int64_t> done_ = 0, total_ = 0, files_ = 0, received_ = 0;
  std::atomic<bool> failed_ = false;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<Job> queue_;
  std::vector<std::thread> threads_;
  std::size_t busy_ = 0;
  bool ended_ = false;
  Result<> result_ = ok();
};

}  // namespace spell::detail
