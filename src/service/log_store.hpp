// The output of runs: one append-only file a run (log_file.hpp), times of the day. Status entries
// are not here: they are events of the store, and merged by the reader at their log offset.
// Thread-safe; append() blocks on the disk.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>

#include "service/log_file.hpp"
#include "spell/result.hpp"

namespace spell::service {

class LogStore {
 public:
  explicit LogStore(std::string folder);
  /// A run's metrics are kept beside its log, in the same form (see model/metric.hpp): the name
  /// they have for append(), size() and read(). What removes, sweeps or counts a run's log takes
  /// both.
  static std::string metrics_of(const std::string& run) { return run + ".metrics"; }

  /// Appends output frames whose first byte is at `offset` of the run's output; their times are
  /// shifted by `shift_us`, but not beyond `latest_us`: what is here has been, whatever its sender
  /// says. Where `offset` is not the end of what is stored nothing is appended. `written` is called
  /// when readers can see the bytes, before they are durable. Returns the stored output bytes, all
  /// durable. Errors: `bad_frame`, `too_large` (the output would be longer than `limit`, which an
  /// honest worker keeps by itself), `disk_full`.
  Result<std::int64_t> append(const std::string& run, std::int64_t offset, std::string frames,
                              std::int64_t shift_us, const std::function<void()>& written = {},
                              std::int64_t latest_us = INT64_MAX, std::int64_t limit = INT64_MAX);
  /// Output bytes that can be read now; 0 for a run without output.
  Result<std::int64_t> size(const std::string& run);
  /// Frames from output byte `from` on, up to output byte `until` and about `limit` bytes; the
  /// first may be the rest of one. Error `damaged`: they are not as they were written.
  Result<std::string> read(const std::string& run, std::int64_t from, std::int64_t until,
                           std::size_t limit);
  /// Offset of the first byte of the last `lines` lines.
  Result<std::int64_t> tail(const std::string& run, std::int64_t lines);
  /// Deletes the run's log.
  Result<> remove(const std::string& run);
  /// Deletes the logs of runs that nobody knows: what a crash left of a removal. Returns their
  /// bytes.
  Result<std::int64_t> sweep(const std::function<Result<bool>(const std::string& run)>& known);
  /// Of a run that has ended; changes nothing.
  Result<LogFile::Sound> check(const std::string& run, std::stop_token stop = {}) const;
  /// On disk: of all logs, of one.
  std::int64_t stored_bytes() const;
  std::int64_t stored_bytes(const std::string& run) const;

 private:
  /// Of each file of a log; `size`: on disk.
  void each_file(const std::function<void(const std::string& run, std::int64_t size)>&) const;
  std::string path_of(const std::string& run) const;
  /// Null: there is no output and `create` is false.
  Result<std::shared_ptr<LogFile>> open(const std::string& run, bool create);

  std::string folder_;
  std::mutex mutex_;
  std::condition_variable opened_;
  std::set<std::string> opening_;  // which may mean to read all of it: nobody else waits
  std::unordered_map<std::string, std::shared_ptr<LogFile>> files_;
  std::list<std::string> recent_;  // the newest first; bounds how many files are open
};

}  // namespace spell::service
