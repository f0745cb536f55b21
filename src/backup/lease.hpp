// The kernel's word that nobody has a file open for writing: a read lease (fcntl(2), F_SETLEASE).
// Who opens it for writing waits until the lease is given back, so it must not be kept from him
// long.
#pragma once
#include <chrono>

namespace spell::backup {

/// Of an open file, as long as this lives. For the thread that took it, see hold_signals().
class Lease {
 public:
  enum class Answer { granted, busy, none };
  explicit Lease(int fd);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  /// none: there are no leases for this file, or not for this user.
  Answer answer() const { return answer_; }
  /// Somebody waits for it. Any thread.
  bool is_wanted() const;
  void give_back();

  /// The signal that says so is for the thread that took the lease, and must not end the process:
  /// it is blocked in the calling thread from here on.
  static void hold_signals();
  /// Waits so long, less if somebody wants a lease of this thread back.
  static void wait(std::chrono::nanoseconds time);

 private:
  const int fd_;
  Answer answer_;
};

}  // namespace spell::backup
