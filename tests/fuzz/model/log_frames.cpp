// Any bytes, in pieces of any size: frames of a log are refused, or are exactly what was fed.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "model/log.hpp"

using namespace spell::model;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::size_t piece = data[0] + 1;
  std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  FrameParser parser;
  std::string again;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    parser.feed(bytes.substr(at, piece));
    for (;;) {
      auto frame = parser.next();
      if (!frame) return 0;
      if (!*frame) break;
      append_frame(again, (*frame)->header, (*frame)->payload);
    }
  }
  if (bytes.substr(0, again.size()) != again) std::abort();
  return 0;
}
