#include "supervisor/spool.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "supervisor/clock.hpp"

namespace spell::supervisor {

namespace {

void put(unsigned char* out, unsigned long long value, int bytes) {
  for (int i = 0; i < bytes; ++i) out[i] = static_cast<unsigned char>(value >> 8 * i);
}

}  // namespace

bool Spool::create(const char* path) {
  file_ = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file_ < 0) return false;
  struct stat found;
  if (fstat(file_, &found) == 0 && found.st_size == 0) return true;
  errno = EEXIST;
  return false;
}

void Spool::append(FrameKind kind, uint8_t flags, const char* payload, size_t size) {
  put(header_, size, 4);
  put(header_ + 4, kind, 1);
  put(header_ + 5, flags, 1);
  put(header_ + 6, 0, 2);
  put(header_ + 8, static_cast<unsigned long long>(output_bytes_), 8);
  put(header_ + 16, static_cast<unsigned long long>(boot_us()), 8);
  payload_ = payload;
  size_ = size;
  retry();
}

void Spool::retry() {
  size_t done = 0, whole = sizeof header_ + size_;
  while (done < whole) {  // from the frame's start each time: a half-written one is written over
    iovec parts[2] = {{header_, sizeof header_}, {const_cast<char*>(payload_), size_}};
    int first = done < sizeof header_ ? 0 : 1;
    size_t skip = first ? done - sizeof header_ : done;
    parts[first].iov_base = static_cast<char*>(parts[first].iov_base) + skip;
    parts[first].iov_len -= skip;
    ssize_t n = pwritev(file_, parts + first, 2 - first, end_ + static_cast<long long>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    done += static_cast<size_t>(n);
  }
  if (header_[4] == frame_output) output_bytes_ += static_cast<long long>(size_);
  end_ += static_cast<long long>(whole);
  payload_ = nullptr;
}

void Spool::sync() { fdatasync(file_); }

}  // namespace spell::supervisor
