#include "file_watch.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#ifdef __linux__
#include <sys/inotify.h>
#else
#include <sys/event.h>
#endif

namespace spell::cli {

namespace {

std::string folder_of(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

Error failure(const std::string& path) {
  return Error("no_service_log", path + " cannot be watched: " + std::strerror(errno));
}

}  // namespace

FileWatch::FileWatch(FileWatch&& other) noexcept { *this = std::move(other); }

FileWatch& FileWatch::operator=(FileWatch&& other) noexcept {
  std::swap(events_, other.events_);
  std::swap(file_, other.file_);
  std::swap(folder_, other.folder_);
  return *this;
}

FileWatch::~FileWatch() {
  for (int fd : {events_, file_, folder_})
    if (fd >= 0) ::close(fd);
}

#ifdef __linux__

Result<FileWatch> FileWatch::open(const std::string& path) {
  FileWatch watch;
  watch.events_ = ::inotify_init1(IN_CLOEXEC);
  if (watch.events_ < 0 || ::inotify_add_watch(watch.events_, path.c_str(), IN_MODIFY) < 0 ||
      ::inotify_add_watch(watch.events_, folder_of(path).c_str(), IN_CREATE | IN_MOVED_TO) < 0)
    return failure(path);
  return watch;
}

Result<> FileWatch::wait() {
  alignas(inotify_event) char events[4096];
  while (::read(events_, events, sizeof events) < 0)
    if (errno != EINTR) return failure("the file");
  return ok();
}

#else

Result<FileWatch> FileWatch::open(const std::string& path) {
  FileWatch watch;
  watch.events_ = ::kqueue();
  watch.file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  watch.folder_ = ::open(folder_of(path).c_str(), O_RDONLY | O_CLOEXEC);
  struct kevent wanted[2];
  EV_SET(&wanted[0], watch.file_, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE | NOTE_EXTEND, 0, 0);
  EV_SET(&wanted[1], watch.folder_, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE, 0, 0);
  if (watch.events_ < 0 || watch.file_ < 0 || watch.folder_ < 0 ||
      ::kevent(watch.events_, wanted, 2, nullptr, 0, nullptr) != 0)
    return failure(path);
  return watch;
}

Result<> FileWatch::wait() {
  struct kevent event;
  while (::kevent(events_, nullptr, 0, &event, 1, nullptr) < 0)
    if (errno != EINTR) return failure("the file");
  return ok();
}

#endif

}  // namespace spell::cli
