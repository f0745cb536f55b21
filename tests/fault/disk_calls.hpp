// The calls of this program that reach `disk` before they reach the C library: to be included by
// one file of a program.
#pragma once
#include <unistd.h>

#include "disk.hpp"

namespace {
fault::Disk disk;

int synced(int fd) {
  std::string path = fault::path_of(fd);
  if (!disk.step(path)) return fault::failed();
  disk.sync(path);
  return 0;
}
}  // namespace

extern "C" {
int fsync(int fd) { return synced(fd); }
int fdatasync(int fd) { return synced(fd); }
int ftruncate(int fd, off_t size) noexcept {
  if (!disk.step(fault::path_of(fd))) return fault::failed();
  return fault::next<int(int, off_t)>("ftruncate")(fd, size);
}
int unlink(const char* path) noexcept {
  disk.losing(path);
  return disk.step(path) ? fault::next<int(const char*)>("unlink")(path) : fault::failed();
}
}
