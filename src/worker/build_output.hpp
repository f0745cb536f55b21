// What a build under a supervisor prints, as whole lines, as they come. One thread at a time.
#pragma once
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "worker/log_shipper.hpp"

namespace spell::worker {

class BuildOutput {
 public:
  using Say = std::function<void(const std::vector<std::string>& lines)>;
  BuildOutput(const std::string& place, Say say)
      : spool_(place + "/spool", true), say_(std::move(say)) {}

  /// Reads what is new before this end of the spool.
  void read(std::int64_t spool_end);
  /// The last line, which had no end.
  void finish();
  /// The last ones that are not blank.
  const std::deque<std::string>& last() const { return last_; }

 private:
  void take(std::string_view bytes);
  void end_line(std::vector<std::string>& lines);
  LogShipper spool_;
  Say say_;
  std::string line_;
  std::int64_t read_ = 0;
  std::deque<std::string> last_;
};

}  // namespace spell::worker
