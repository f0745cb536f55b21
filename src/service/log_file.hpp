// One log on disk: frames (Log v1), one behind the other, output only, without a gap.
//
// Beside it lies `.parts`: where each part of about 256 KiB begins, so that any byte is found
// without reading the log, and its checksum, so that no flipped bit is ever returned as output.
//
//   record, 40 bytes, little endian    0  i64 where the part begins in the file
//                                      8  i64 ... and in the output
//                                     16  i64 where in the file the checked bytes end
//                                     24  u64 XXH3 of the part's bytes up to there
//                                     32  u64 XXH3 of the 32 bytes before
//
// The last record is written anew while its part grows, when the bytes that it speaks of are on the
// disk: it may be behind them, never ahead. The records are never synced: after a power loss, or
// where a file of an older version has none, they are made anew from the log.
//
// A last part that does not read as it was written stays as it is until its frames come again: what
// is stored ends before it for append(). Thread-safe; all calls block on the disk.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::service {

class LogFile {
 public:
  /// Opens the file, or makes it.
  static Result<std::unique_ptr<LogFile>> open(const std::string& path);
  /// What check() has found.
  struct Sound {
    std::int64_t output = 0;  ///< bytes from the first on that are as they were written
    bool damaged = false;     ///< what follows is not; false: a power loss has cut it, at most
    bool parts = true;        ///< false: a record of `.parts` is damaged
  };
  /// Of a log on disk that nobody writes to; changes nothing.
  static Result<Sound> check(const std::string& path, std::stop_token stop = {});
  /// The names of its files.
  static std::vector<std::string> names(const std::string& path);

  /// Output bytes.
  std::int64_t size() const;
  /// Appends whole frames whose first byte of output is `offset`; nothing where that is not the end
  /// of what is stored. Returns that end. Not durable before sync().
  Result<std::int64_t> append(std::int64_t offset, std::string_view frames);
  /// Where it fails, what was not durable has to come again: append() says so.
  Result<> sync();
  /// Frames from output byte `from` on, up to `until` and about `limit` bytes; the first and the
  /// last may be pieces of one. Error `damaged`.
  Result<std::string> read(std::int64_t from, std::int64_t until, std::size_t limit) const;
  /// The first byte of output of each part.
  std::vector<std::int64_t> parts() const;

 private:
  struct Part {
    std::int64_t file = 0, output = 0;  // where it begins
    std::int64_t checked = 0;           // where in the file its checksum ends
    std::uint64_t sum = 0;
    std::string record() const;
  };
  struct Parts;

  explicit LogFile(std::string path) : path_(std::move(path)) {}
  Result<> load();
  static Parts read_parts(const std::string& path, std::int64_t size);
  /// Takes the frames of `bytes`, which lie at the end of the file, into the parts; returns how
  /// many bytes whole frames are.
  std::int64_t take(std::string_view bytes);
  void write_records(std::size_t first, const std::vector<Part>&);
  Error damaged(std::int64_t at) const;

  const std::string path_;
  base::Fd data_, records_;
  mutable std::mutex mutex_;
  std::vector<Part> parts_{Part{}};
  base::Checksum sum_;  // of the last part
  std::int64_t file_size_ = 0, output_size_ = 0;
  std::size_t durable_ = 0;     // the last part that was durable once, in part at least
  std::size_t unrecorded_ = 0;  // the first part whose record is behind
  int rewrites_ = 0;            // how often what had been stored was given up for other bytes
  bool longer_ = false;         // bytes that are no frames lie behind
  bool hurt_ = false;           // the last part is not as it was written, or not durable
  bool stale_ = false;          // a record on disk may be of bytes that are replaced
};

}  // namespace spell::service
