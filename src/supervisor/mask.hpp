// Hides the values of secrets in a stream of output: each place that one of them covers becomes
// `***`, also where it comes in pieces. What may be the beginning of a value is held back until it
// is clear. The spool, and so the log, holds the masked bytes only: their offsets are the log's.
#pragma once
#include <stddef.h>

#include "supervisor/spec.hpp"

namespace spell::supervisor {

/// Longer values are cut to this in the mask.
inline constexpr size_t mask_value_limit = 64 << 10;

/// The values, shared by the streams of a run. Shorter than 4 bytes they are not masked: `***` must
/// never be longer than what it replaces.
class MaskValues {
 public:
  /// The texts must stay. False: no memory.
  bool set(const List<const char*>& values);
  bool any() const { return size_ > 0; }
  size_t longest() const { return longest_; }
  /// How much of `text` a value covers that begins there; `open`: a longer one may, if more comes.
  size_t match(const char* text, size_t size, bool& open) const;

 private:
  struct Value {
    const char* text;
    size_t size;
  };
  Value* values_ = nullptr;
  size_t size_ = 0, longest_ = 0;
  bool begins_[256] = {};  ///< whether any value begins with this byte
};

/// What one stream holds back. Without a destructor: it lives as long as the program.
class Mask {
 public:
  size_t held() const { return size_; }
  /// Masks `data` in place, whose first held() bytes are free for what is held back; what is not
  /// clear is held back again, unless this is the last call. Returns how many bytes are to be
  /// written.
  size_t apply(const MaskValues&, char* data, size_t size, bool last);

 private:
  char held_[mask_value_limit];
  size_t size_ = 0;
  size_t covered_ = 0;  ///< bytes at the start of what is held that a value covers already
};

}  // namespace spell::supervisor
