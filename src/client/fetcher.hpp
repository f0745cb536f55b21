// Files that are fetched side by side: a few threads, each with a connection, take jobs from a
// bounded queue. Most files are small, and then the time of a copy is the time of the answers.
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

namespace spell::detail {

class Connection;

/// A folder that is being filled. When the last file in it is done it gets its own mode and time,
/// unless the copy has failed: then it stays open for the next attempt.
struct TargetFolder {
  base::Fd fd{};
  std::string path{}, shown{};
  ResourceInfo info{};
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

  Fetcher(Connection& connection, int threads, const Limit& limit, Tell tell);
  ~Fetcher();

  /// The file at `path` into a folder, under a name. Error: of a file before.
  Result<> push(std::shared_ptr<TargetFolder> folder, std::string name, std::string path,
                ResourceInfo info);
  /// There is no use in going on: what is half done stays as it is.
  void give_up();
  /// Until all are there.
  Result<> finish();

  /// For the progress: so many bytes are there, or are to come.
  void add_done(std::int64_t bytes) { done_ += bytes; }
  void expect(std::int64_t bytes) { total_ += bytes; }
  std::int64_t files() const { return files_; }
  std::int64_t bytes() const { return received_; }
  const std::atomic<bool>& failed() const { return failed_; }
  const Limit& limit() const { return limit_; }

 private:
  struct Job {
    std::shared_ptr<TargetFolder> folder;
    std::string name, path;
    ResourceInfo info;
  };
  void work();
  Result<> fetch(const Job& job);
  Result<> read_into(PartFile& part, const Job& job);
  Result<> wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& until);
  void tell() const;

  Connection& connection_;
  const std::size_t most_threads_;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> chain_;
  Limit limit_;
  Tell tell_;
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
