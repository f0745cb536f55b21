// A command beside a run's own, in the run's own surroundings: its namespaces, root, user and
// environment. It is a child of the run's init, so it ends with the run. Used by one thread at a
// time; nothing here blocks for long.
#pragma once
#include <map>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "spell/result.hpp"

namespace spell::exec {

struct GuestOptions {
  std::string command{};                     ///< for the shell
  std::map<std::string, std::string> env{};  ///< in place of the run's own
  bool terminal = false;
  int columns = 80, rows = 24;
};

class Guest {
 public:
  /// Of the run whose folder it is. Errors: `run_not_running`, and those of the system.
  static Result<Guest> start(const std::string& run_folder, const GuestOptions&);

  /// Our ends, non-blocking. With a terminal both are its master, and there are no errors.
  base::Fd input, output, errors;

  struct Exit {
    int code = 0;
    std::optional<int> signal{};
  };
  /// Readable when next() has something to say.
  int event_fd() const { return control_.get(); }
  /// What has happened: nothing (an empty optional), or its end. Errors: `run_ended` (with it),
  /// `supervisor_version` (the run was started by a version that lets nobody in), `start_failed`.
  Result<std::optional<Exit>> next();
  bool started() const { return started_; }
  void send_signal(int number) const;
  /// Of a guest with a terminal.
  void resize(int columns, int rows) const;

 private:
  std::string folder_;
  base::Fd control_;  ///< closed: the command is hung up
  base::Fd master_;
  bool taken_ = false, started_ = false;
};

}  // namespace spell::exec
