// The output spool: Log v1 frames (see model/log.hpp), appended one by one. The file is whole up to
// end(); a frame for which there was no space is kept by reference and written when there is.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace spell::supervisor {

enum FrameKind : uint8_t { frame_output = 1, frame_end = 4 };
inline constexpr uint8_t frame_stderr = 1;
inline constexpr size_t frame_payload_limit = 1 << 20;

class Spool {
 public:
  /// A new file, or an empty one; false if something is in it. Only under the folder's lock.
  bool create(const char* path);
  /// The payload must stay as it is until pending() is false. Only when nothing is pending.
  void append(FrameKind, uint8_t flags, const char* payload, size_t size);
  /// Tries again to write what is pending.
  void retry();
  bool pending() const { return payload_ != nullptr; }
  long long end() const { return end_; }
  long long output_bytes() const { return output_bytes_; }
  void sync();

 private:
  int file_ = -1;
  long long end_ = 0, output_bytes_ = 0;
  unsigned char header_[24];
  const char* payload_ = nullptr;
  size_t size_ = 0;
};

}  // namespace spell::supervisor
