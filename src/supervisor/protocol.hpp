// What spell-supervisor and its callers say to each other. Version 1; a later worker speaks every
// version there was.
//
// One form for everything: fields "key=value", each ended by a NUL, the first being
// "spell-supervisor=1".
//
// spec      stdin of the program, never on disk (it may hold secrets); the last field is "end=".
// One field each:
//           run, containment (0 namespaces, 1 user namespaces, 2 best effort), command,
//           working_folder, log_limit, log_wait_s, stop_grace_s, timeout_s, split_output (0, 1),
//           service_lock, user (only of a run that has a user of its own), lease_until_us (only of
//           one that has a lease; of the boot clock), allowed_until_us (likewise: it is stopped
//           then, as it may cost no more). Repeated: env, hidden, mask (a value that becomes `***`
//           in the output before it is spooled), revive, bind_from (or bind_from_read_only)
//           followed by bind_to, link_to followed by link_at, group (a folder of a control group
//           that the run is in, see groups.hpp), system_layer, or system_upper
//           followed by system_work (once; see System in spec.hpp), and mount_from followed by
//           mount_upper, mount_work and mount_to: a run that does not use one of the newer fields
//           has none of them, so that an older supervisor starts it too.
// lock      of the run's folder, held by an open-file-description write lock while the supervisor
// lives:
//           boot, run, and once they exist pid, init, init_start (field 22 of /proc/INIT/stat).
// sock      of the run's folder, for callers that come later (SOCK_SEQPACKET): there once the run
//           has gone on for a moment, or nobody is connected; the lock is written anew after it.
// request   a packet on a connection: do=stop or do=kill, and reason; do=lease, and
//           until_us: that is when its lease ends; do=allow, and until_us: that is when it is
//           stopped for what it costs; do=signal, and signal, for the command's process group; or
//           do=exec, with five open files: guest, input, output, errors, control.
// guest     a command to let into the run, an anonymous file: command, env (repeated, in place of
//           the run's own), terminal (0, 1: input is one, and becomes the command's), end.
// control   a socket of packets (SOCK_SEQPACKET). From the supervisor: taken; then process (its id
//           in the run), or error_code and error; at its end code, and signal. To it: signal, for
//           the command's process group. Closed by the caller: the command is hung up, and ended.
//           Closed from within: the run has ended, or, before `taken`, the supervisor is older than
//           do=exec.
// state     a packet from the supervisor, at the start of a connection and after each change;
//           several changes are one packet
//           while the client does not read: started_us, spool_end, output_bytes, log_full (0, 1),
//           level (what fence it got, by name), containment (why not a better one), and once
//           they are so command_ended and stopping (its end was asked for). spool_end never
//           counts the end frame. It closes the connection when the end frame is in the spool.
// end       payload of the spool's last frame: started_us, stopped_us (when its end was asked for
//           first), ended_us, code, signal, ended_by, error_code, error, level, containment; only
//           those that there are. The last field is "end=".
#pragma once
#include <stddef.h>
#include <string.h>

#include <string_view>

namespace spell::supervisor {

inline constexpr int protocol_version = 1;
inline constexpr int client_descriptor =
    3;  ///< a socket of the caller, already connected, or closed
/// An empty file that a folder may have for its next run: it becomes the lock.
inline constexpr const char* kept_lock = "lock.kept";
/// ended_by of a run that was over its memory, and of one that ended since the machine's was used
/// up.
inline constexpr const char *ended_by_memory = "memory",
                            *ended_by_machine_memory = "machine_memory";
inline constexpr size_t packet_limit = 1024;  ///< of requests and states

/// Exit status of `spell-supervisor FOLDER`: where it cannot stand, it ends without a word.
enum class Start {
  done = 0,
  usage = 2,
  bad_spec = 3,
  bad_folder = 4,
  locked = 5,
  used_folder = 6,
  no_space = 7,
  system = 8
};

struct Field {
  std::string_view key, value;  ///< a NUL follows the value in memory
};

class FieldReader {
 public:
  FieldReader(const char* bytes, size_t size) : at_(bytes), end_(bytes + size) {}
  /// False at the end, and at the first field that is not whole.
  bool next(Field& out) {
    if (at_ == end_) return false;
    auto* nul = static_cast<const char*>(memchr(at_, 0, static_cast<size_t>(end_ - at_)));
    if (!nul) return false;
    auto* equals = static_cast<const char*>(memchr(at_, '=', static_cast<size_t>(nul - at_)));
    if (!equals) return false;
    out.key = {at_, static_cast<size_t>(equals - at_)};
    out.value = {equals + 1, static_cast<size_t>(nul - equals - 1)};
    at_ = nul + 1;
    return true;
  }

 private:
  const char* at_;
  const char* end_;
};

/// A decimal number, or `otherwise`.
inline long long number_of(std::string_view text, long long otherwise) {
  bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  if (text.empty() || text.size() > 18) return otherwise;
  long long value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return otherwise;
    value = value * 10 + (c - '0');
  }
  return negative ? -value : value;
}

/// A number as decimal digits.
class Digits {
 public:
  explicit Digits(long long value) : at_(bytes_ + sizeof bytes_ - 1) {
    auto rest = static_cast<unsigned long long>(value);
    if (value < 0) rest = 0 - rest;
    do *--at_ = static_cast<char>('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) *--at_ = '-';
  }
  Digits(const Digits&) = delete;
  const char* text() const { return at_; }

 private:
  char bytes_[24] = {};
  char* at_;
};

/// Fields in a fixed buffer; one that does not fit is cut.
template <size_t Size>
class FieldWriter {
 public:
  FieldWriter() { put("spell-supervisor", protocol_version); }
  void put(std::string_view key, std::string_view value) {
    if (key.size() + 2 > Size - size_) return;
    add(key);
    add("=");
    size_t room = Size - size_ - 1;
    add(value.size() < room ? value : std::string_view(value.data(), room));
    bytes_[size_++] = 0;
  }
  void put(std::string_view key, long long value) { put(key, Digits(value).text()); }
  void put(std::string_view key, int value) { put(key, static_cast<long long>(value)); }
  const char* data() const { return bytes_; }
  size_t size() const { return size_; }

 private:
  void add(std::string_view text) {
    memcpy(bytes_ + size_, text.data(), text.size());
    size_ += text.size();
  }
  char bytes_[Size];
  size_t size_ = 0;
};

}  // namespace spell::supervisor
