#include "supervisor/mask.hpp"

#include <stdlib.h>

namespace spell::supervisor {

namespace {
constexpr char hidden[] = {'*', '*', '*'};
}

bool MaskValues::set(const List<const char*>& values) {
  values_ = static_cast<Value*>(calloc(values.size + 1, sizeof(Value)));
  if (!values_) return false;
  for (auto* text : values) {
    Value value{text, strlen(text)};
    if (value.size <= sizeof hidden) continue;
    if (value.size > mask_value_limit) value.size = mask_value_limit;
    if (value.size > longest_) longest_ = value.size;
    begins_[static_cast<unsigned char>(*text)] = true;
    values_[size_++] = value;
  }
  return true;
}

size_t MaskValues::match(const char* text, size_t size, bool& open) const {
  size_t longest = 0;
  if (!begins_[static_cast<unsigned char>(*text)]) return 0;
  for (size_t i = 0; i < size_; ++i) {
    auto& value = values_[i];
    bool whole = value.size <= size;
    if (memcmp(text, value.text, whole ? value.size : size) != 0) continue;
    if (!whole)
      open = true;
    else if (value.size > longest)
      longest = value.size;
  }
  return longest;
}

size_t Mask::apply(const MaskValues& values, char* data, size_t size, bool last) {
  memcpy(data, held_, size_);
  size_t in = 0, out = 0;
  size_t end = covered_;      // of the place that is covered; 0: none is
  bool shown = covered_ > 0;  // the place has its `***` already
  auto show = [&] {
    memcpy(data + out, hidden, sizeof hidden);
    out += sizeof hidden;
  };
  auto close_place = [&] {
    if (!end || in != end) return;
    if (!shown) show();  // only now: nothing of the place is looked at any more
    end = 0;
    shown = false;
  };
  for (; in < size; ++in) {
    close_place();
    bool open = false;
    size_t covers = values.match(data + in, size - in, open);
    if (open && !last) break;
    if (covers && in + covers > end) end = in + covers;
    if (!end) data[out++] = data[in];
  }
  close_place();
  size_ = size - in;
  memcpy(held_, data + in, size_);
  if (end && !shown) show();
  covered_ = end ? end - in : 0;
  return out;
}

}  // namespace spell::supervisor
