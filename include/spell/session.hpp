// Being inside a run: a command beside its own, connections to its ports.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "spell/options.hpp"
#include "spell/result.hpp"

namespace spell {

struct ExecOptions {
  bool terminal = false;        ///< the command gets a terminal; output and errors are one then
  int columns = 80, rows = 24;  ///< of the terminal
  std::map<std::string, std::string> env{};  ///< in place of the run's own variables
};

/// A piece of what the command wrote: bytes as they came.
struct SessionOutput {
  std::string bytes{};
  bool is_stderr = false;
};

/// How the command ended, as a shell reports it (128 + signal).
struct SessionExit {
  int code = 0;
  std::optional<int> signal{};
};

/// A command in a run's surroundings. It ends with the run, and is hung up when this handle is
/// gone. Move-only; one thread may read while another writes and others signal. Output that nobody
/// reads holds the command up; memory stays bounded.
class Session {
 public:
  struct Impl;
  explicit Session(std::unique_ptr<Impl>);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Blocks until there is some; nothing at the end. Errors: `canceled`, `timeout`,
  /// `connection_lost`, `run_ended`.
  Result<std::optional<SessionOutput>> read(CallOptions = {});
  /// Blocks while the command does not take it. Fine also when the command reads no more.
  Result<> write(std::string_view bytes, CallOptions = {});
  /// The end of the command's input.
  void close_input();
  void resize(int columns, int rows);
  /// To the command's process group.
  void signal(int number);
  /// Waits for the end. Output that was not read is dropped.
  Result<SessionExit> wait(CallOptions = {});

 private:
  std::unique_ptr<Impl> impl_;
};

struct ForwardOptions {
  int local_port = 0;  ///< where to listen, on 127.0.0.1; 0: where the system likes
};

/// A port here whose connections lead to a port of a run, each by itself and in both directions:
/// the end of one direction leaves the other open, what breaks off there breaks off here. Ends with
/// the run, and when this handle is gone: nothing listens then, what is open is broken off.
/// Move-only; thread-safe.
class Forward {
 public:
  struct Impl;
  explicit Forward(std::unique_ptr<Impl>);
  Forward(Forward&&) noexcept;
  Forward& operator=(Forward&&) noexcept;
  ~Forward();

  /// On 127.0.0.1.
  int local_port() const;
  /// Blocks until a connection has come to nothing, and says why (`connection_refused`,
  /// `too_many_streams`, …): others may fare better. Nothing when the run has ended and what it has
  /// sent has been taken. Of reasons that nobody asks for the last ones are kept. Errors:
  /// `canceled`, `timeout`, `connection_lost` (to the run: nothing listens any more).
  Result<std::optional<Error>> next_refusal(CallOptions = {});

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace spell
