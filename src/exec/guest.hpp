// A command beside a run's own, in the run's own surroundings: its namespaces, root, user and
// environment. It is a child of the run's init, so it ends with the run. Used by one thread at a
// time; nothing here blocks.
#pragma once
#include <poll.h>

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
  /// `supervisor`: the way to that of the run (Supervised::connection()), which any number of
  /// guests may share. Errors: those of the system. Everything else comes with next().
  static Result<Guest> start(base::Fd supervisor, const GuestOptions&);

  /// Our ends, non-blocking. With a terminal both are its master, and there are no errors.
  base::Fd input, output, errors;

  struct Exit {
    int code = 0;
    std::optional<int> signal{};
  };
  /// What to wait for until next() has something to do or to say.
  pollfd event() const;
  /// What has happened: nothing (an empty optional), or its end. Errors: `run_not_running`,
  /// `run_ended` (with it), `supervisor_version` (the run was started by a version that lets nobody
  /// in), `start_failed`, `too_many_streams`.
  Result<std::optional<Exit>> next();
  bool started() const { return started_; }
  void send_signal(int number) const;
  /// Of a guest with a terminal.
  void resize(int columns, int rows) const;

 private:
  /// What is to be asked of the supervisor, as long as it has no room for it.
  struct Request {
    base::Fd spec, input, output, errors, control;
  };
  /// Errors as next().
  Result<> ask();

  base::Fd supervisor_;
  std::optional<Request> request_;
  base::Fd control_;  ///< closed: the command is hung up
  base::Fd master_;
  bool taken_ = false, started_ = false;
};

}  // namespace spell::exec
