// An owned file descriptor, and the loops around read and write.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "spell/result.hpp"

namespace spell::base {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept;

 private:
  int fd_ = -1;
};

/// open(2) with O_CLOEXEC. The error names the path.
Result<Fd> open(const std::string& path, int flags, unsigned mode = 0600);
/// Writes all bytes, also over short writes and EINTR.
Result<> write_all(int fd, std::string_view bytes);
Result<> pwrite_all(int fd, std::string_view bytes, std::int64_t offset);
/// Reads up to `size` bytes at `offset`; fewer only at the end of the file.
Result<std::size_t> pread_full(int fd, void* buffer, std::size_t size, std::int64_t offset);

}  // namespace spell::base
