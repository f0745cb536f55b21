#include "exec/scope.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"

namespace spell::exec {

namespace {

constexpr std::int64_t patience_ns = 10'000'000'000;
constexpr std::size_t message_limit = 1 << 20;

// What is written and read here is D-Bus's own form, little endian (D-Bus Specification, "Type
// System" and "Message Protocol"); the method is StartTransientUnit of org.freedesktop.systemd1(5).

/// Values one after the other, each at a multiple of its size from the beginning.
class Values {
 public:
  Values& align(std::size_t to) {
    text_.resize((text_.size() + to - 1) / to * to);
    return *this;
  }
  Values& byte(char value) {
    text_ += value;
    return *this;
  }
  template <class T>
  Values& number(T value) {
    align(sizeof value);
    for (std::size_t i = 0; i < sizeof value; ++i)
      text_ += static_cast<char>(static_cast<std::uint64_t>(value) >> 8 * i);
    return *this;
  }
  /// A string, or the path of an object.
  Values& string(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    text_.append(value) += '\0';
    return *this;
  }
  Values& signature(std::string_view value) {
    text_ += static_cast<char>(value.size());
    text_.append(value) += '\0';
    return *this;
  }
  /// What `fill` adds, as an array of values that begin at multiples of `to`.
  template <class Fill>
  Values& array(std::size_t to, Fill fill) {
    number(std::uint32_t{0});
    std::size_t length_at = text_.size() - 4;
    align(to);
    std::size_t begin = text_.size();
    fill(*this);
    auto length = static_cast<std::uint32_t>(text_.size() - begin);
    for (std::size_t i = 0; i < 4; ++i) text_[length_at + i] = static_cast<char>(length >> 8 * i);
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// A name and a variant: one element of an array of properties. The value follows.
Values& property(Values& values, std::string_view name, std::string_view type) {
  return values.align(8).string(name).signature(type);
}

std::string start_unit(const Scope& scope, pid_t process) {
  Values body;
  body.string(scope.name + ".scope").string("fail");
  body.array(8, [&](Values& all) {
    property(all, "Description", "s").string(scope.description);
    property(all, "PIDs", "au").array(4, [&](Values& pids) {
      pids.number(static_cast<std::uint32_t>(process));
    });
    property(all, "TasksMax", "t").number(UINT64_MAX);
    property(all, "TimeoutStopUSec", "t").number(scope.stop_s * 1'000'000);
    if (scope.delegated) property(all, "Delegate", "b").number(std::uint32_t{1});
    property(all, "CollectMode", "s").string("inactive-or-failed");
  });
  body.array(8, [](Values&) {});  // no other units

  Values message;
  message.byte('l').byte(1).byte(0).byte(1);  // a call, in version 1 of the protocol
  message.number(static_cast<std::uint32_t>(body.text().size())).number(std::uint32_t{1});
  message.array(8, [](Values& fields) {
    auto field = [&](char code, std::string_view type) -> Values& {
      return fields.align(8).byte(code).signature(type);
    };
    field(1, "o").string("/org/freedesktop/systemd1");
    field(2, "s").string("org.freedesktop.systemd1.Manager");
    field(3, "s").string("StartTransientUnit");
    field(6, "s").string("org.freedesktop.systemd1");
    field(8, "g").signature("ssa(sv)a(sa(sv))");
  });
  return message.align(8).text() + body.text();
}

/// The same values, read: nothing that is not there is.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  void align(std::size_t to) { at_ = (at_ + to - 1) / to * to; }
  unsigned char byte() {
    return at_ < text_.size() ? static_cast<unsigned char>(text_[at_++]) : (ok_ = false, 0);
  }
  std::uint32_t number() {
    align(4);
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value |= static_cast<std::uint32_t>(byte()) << 8 * i;
    return value;
  }
  std::string_view string() { return text(number()); }
  std::string_view signature() { return text(byte()); }
  bool more() const { return ok_ && at_ < text_.size(); }
  bool whole() const { return ok_; }

 private:
  std::string_view text(std::size_t size) {
    if (!ok_ || at_ > text_.size() || text_.size() - at_ < size + 1) return ok_ = false, "";
    auto value = text_.substr(at_, size);
    at_ += size + 1;
    return value;
  }
  std::string_view text_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

struct Message {
  unsigned char type = 0;  ///< 2: an answer, 3: an error, 4: a signal
  std::uint32_t answers = 0;
  std::string member{}, error{}, body{};
};

class Manager {
 public:
  Result<> connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return failed("its socket's path is too long");
    std::memcpy(address.sun_path, path.data(), path.size());
    socket_ = base::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket_ ||
        ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      return failed(std::string("cannot be reached: ") + std::strerror(errno));
    return ok();
  }

  Result<> send(std::string_view text) {
    while (!text.empty()) {
      ssize_t n = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed(std::strerror(errno));
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return ok();
  }

  Result<std::string> line() {
    std::size_t end;
    while ((end = buffer_.find("\r\n")) == std::string::npos) SPELL_TRY(read_more());
    auto text = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return text;
  }

  Result<Message> message() {
    constexpr std::size_t fixed = 16;
    while (buffer_.size() < fixed) SPELL_TRY(read_more());
    Reader head(buffer_);
    bool little = head.byte() == 'l';
    Message out;
    out.type = head.byte();
    head.byte(), head.byte();
    std::size_t body = head.number();
    (void)head.number();
    std::size_t fields = head.number(), begin = (fixed + fields + 7) / 8 * 8;
    if (!little || body > message_limit || fields > message_limit)
      return failed("says what is no message");
    while (buffer_.size() < begin + body) SPELL_TRY(read_more());
    // From the beginning, for what values are aligned to.
    Reader all(std::string_view(buffer_).substr(0, fixed + fields));
    for (int i = 0; i < 4; ++i) (void)all.number();
    while (all.more()) {
      all.align(8);
      auto code = all.byte();
      auto type = all.signature();
      std::string_view text;
      if (type == "u") {
        auto number = all.number();
        if (code == 5) out.answers = number;
      } else if (type == "g") {
        (void)all.signature();
      } else if (type == "s" || type == "o") {
        text = all.string();
      } else {
        return failed("says what is no message");
      }
      if (code == 3) out.member = text;
      if (code == 4) out.error = text;
    }
    if (!all.whole()) return failed("says what is no message");
    out.body = buffer_.substr(begin, body);
    buffer_.erase(0, begin + body);
    return out;
  }

  static Error failed(const std::string& what) {
    return base::error("no_scope", "systemd " + what);
  }

 private:
  Result<> read_more() {
    auto left_ms = (until_ns_ - base::boot_ns()) / 1'000'000;
    pollfd file{socket_.get(), POLLIN, 0};
    int ready = left_ms > 0 ? ::poll(&file, 1, static_cast<int>(left_ms)) : 0;
    if (ready == 0) return failed("does not answer");
    char part[8192];
    ssize_t n = ready < 0 ? -1 : ::recv(socket_.get(), part, sizeof part, 0);
    if (n < 0 && errno == EINTR) return ok();
    if (n < 0) return failed(std::strerror(errno));
    if (n == 0) return failed("has hung up");
    buffer_.append(part, static_cast<std::size_t>(n));
    return ok();
  }

  base::Fd socket_;
  std::string buffer_;
  std::int64_t until_ns_ = base::boot_ns() + patience_ns;
};

}  // namespace

bool can_make_scopes() {
  // Of the process that systemd started, not of what it starts in turn; MANAGERPID names a manager
  // other than the system's.
  const char* main_process = std::getenv("SYSTEMD_EXEC_PID");
  return ::geteuid() == 0 && main_process && main_process == std::to_string(::getpid()) &&
         !std::getenv("MANAGERPID") && base::exists(manager_socket);
}

Result<> put_in_scope(const Scope& scope, pid_t process, const std::string& socket) {
  Manager manager;
  SPELL_TRY(manager.connect(socket));
  // Who this is the other end sees; the number is that of root, in digits written as hex.
  SPELL_TRY(manager.send(std::string(1, '\0') + "AUTH EXTERNAL 30\r\nBEGIN\r\n" +
                         start_unit(scope, process)));
  auto greeting = manager.line();
  if (!greeting) return greeting.error();
  if (!greeting->starts_with("OK ")) return Manager::failed("lets nobody in: " + *greeting);
  for (bool taken = false, done = false; !taken || !done;) {
    auto message = manager.message();
    if (!message) return message.error();
    Reader body(message->body);
    if (message->type == 3 && message->answers == 1)
      return Manager::failed("refuses: " + std::string(body.string()));
    taken |= message->type == 2 && message->answers == 1;
    // The job's number, its path, its unit, and what came of it.
    if (message->type != 4 || message->member != "JobRemoved") continue;
    (void)body.number(), (void)body.string();
    if (body.string() != scope.name + ".scope") continue;
    if (auto result = body.string(); result != "done")
      return Manager::failed("could not make it: " + std::string(result));
    done = true;
  }
  return ok();
}

}  // namespace spell::exec
