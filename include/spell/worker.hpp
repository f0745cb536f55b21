// The worker of a service that is inside of the same program: carries its runs out on this
// computer. Link spell::service.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "spell/result.hpp"
#include "spell/service.hpp"

namespace spell {

struct WorkerOptions {
  std::string folder{};  ///< of its own; "": `worker` in the service's
  /// Path of the program spell-supervisor, which is started for each run; "": $SPELL_LIBEXEC,
  /// beside the running program, beside where Spell is installed.
  std::string supervisor{};
  std::function<void(const std::string& line)> log{};  ///< told what happens; from any thread
};

/// Carries runs out as long as it lives. Move-only.
class Worker {
 public:
  /// Finds the runs again that an earlier worker of this folder has left. Errors: `not_found` (no
  /// supervisor), `io_error`.
  static Result<Worker> start(const Service&, const WorkerOptions& = {});
  /// Ends it; commands go on under their supervisors. Done by the destructor, too.
  void stop();
  /// Nothing of a run is left to be carried out or reported.
  bool idle() const;

  struct Impl;
  Worker(Worker&&) noexcept;
  Worker& operator=(Worker&&) noexcept;
  ~Worker();

 private:
  explicit Worker(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace spell
