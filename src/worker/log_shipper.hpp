// Reads a run's spool from where the service's copy ends, in batches of whole output frames. Keeps
// only positions; every byte comes from the spool again, so that a batch can be sent any number of
// times. One thread at a time.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::worker {

class LogShipper {
 public:
  /// Sends frames that begin at output byte `offset`; no frames: asks only. Returns the output
  /// bytes that the service has.
  using Send = std::function<Result<std::int64_t>(std::int64_t offset, std::string frames)>;
  static constexpr std::size_t batch_limit = 1 << 20;

  /// `known`: the service has nothing of this run's log yet; else it is asked first.
  LogShipper(std::string spool_path, bool known) : path_(std::move(spool_path)), known_(known) {}

  /// Sends one batch of what lies before `spool_end`. Returns what the service has then.
  Result<std::int64_t> ship(std::int64_t spool_end, const Send&);

 private:
  struct Batch {
    std::string frames;
    std::int64_t next_position = 0, next_offset = 0;  ///< where the one after it begins
  };
  Result<Batch> next_batch(std::int64_t spool_end) const;
  Result<> seek(std::int64_t output_offset, std::int64_t spool_end);

  std::string path_;
  base::Fd spool_;
  bool known_;
  std::int64_t position_ = 0;  ///< in the spool: a frame's beginning
  std::int64_t offset_ = 0;    ///< output bytes before it
  std::int64_t skip_ = 0;      ///< bytes of that frame that the service has
};

}  // namespace spell::worker
