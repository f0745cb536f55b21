// Wrong passwords slow the next ones down: per user and address from the sixth on, per address from
// the 21st, per user from anywhere from the 101st. Who is told to wait is not looked at, so
// guessing on does not help; nobody is locked out for more than a minute. Thread-safe.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace spell::service {

class Guesses {
 public:
  /// 0: the password may be looked at, and counts as wrong until right() is called. Else: seconds
  /// to wait. `now_s`: of a clock that does not jump.
  std::int64_t begin(const std::string& user, const std::string& address, std::int64_t now_s);
  void right(const std::string& user, const std::string& address);

 private:
  struct Entry {
    int wrong = 0;
    std::int64_t last_s = 0, until_s = 0;
  };
  void make_room(std::int64_t now_s);

  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

/// What counts as one address: an IPv6 network of 64 bits is one.
std::string guesser(const std::string& address);

}  // namespace spell::service
