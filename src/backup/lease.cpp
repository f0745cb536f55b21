#include "backup/lease.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace spell::backup {

namespace {

sigset_t lease_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGIO);
  return set;
}

}  // namespace

void Lease::hold_signals() {
  auto set = lease_signal();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void Lease::wait(std::chrono::nanoseconds time) {
  auto set = lease_signal();
  timespec until{time.count() / 1'000'000'000, time.count() % 1'000'000'000};
  ::sigtimedwait(&set, nullptr, &until);
}

Lease::Lease(int fd) : fd_(fd), answer_(Answer::granted) {
  // Before the lease is there: the kernel's choice would be the whole process.
  f_owner_ex owner{F_OWNER_TID, ::gettid()};
  if (::fcntl(fd_, F_SETOWN_EX, &owner) == 0 && ::fcntl(fd_, F_SETLEASE, F_RDLCK) == 0) return;
  answer_ = errno == EAGAIN || errno == EWOULDBLOCK ? Answer::busy : Answer::none;
}

Lease::~Lease() { give_back(); }

bool Lease::is_wanted() const {
  return answer_ == Answer::granted && ::fcntl(fd_, F_GETLEASE) != F_RDLCK;
}

void Lease::give_back() {
  if (answer_ == Answer::granted) ::fcntl(fd_, F_SETLEASE, F_UNLCK);
  answer_ = Answer::none;
}

}  // namespace spell::backup
