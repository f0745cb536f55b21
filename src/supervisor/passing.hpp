// Packets with open files: how a request to let a command in travels. For both ends.
#pragma once
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

namespace spell::supervisor {

/// In this order; all of them, or none.
enum Passed { passed_spec, passed_input, passed_output, passed_errors, passed_control };
inline constexpr int passed_limit = 5;

inline void close_files(int (&files)[passed_limit]) {
  for (int& file : files) {
    if (file >= 0) close(file);
    file = -1;
  }
}

/// As recv(2) without waiting. `files` are -1 where there are none, and close at exec.
inline ssize_t receive_files(int socket, char* bytes, size_t size, int (&files)[passed_limit]) {
  for (int& file : files) file = -1;
  iovec piece{bytes, size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof files)] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return n;
  memcpy(files, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
  if (header->cmsg_len != CMSG_LEN(sizeof files)) close_files(files);
  return n;
}

inline bool send_files(int socket, const char* bytes, size_t size,
                       const int (&files)[passed_limit]) {
  iovec piece{const_cast<char*>(bytes), size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof files)] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof files);
  memcpy(CMSG_DATA(header), files, sizeof files);
  return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

}  // namespace spell::supervisor
