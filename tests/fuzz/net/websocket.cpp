// Any bytes as what comes over a stream: they are refused, or cut into messages within the limit,
// and the same ones however they arrive.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "net/websocket.hpp"

using namespace spell::net;

namespace {

constexpr std::size_t limit = 4096;

bool read(std::string_view bytes, bool masked, std::size_t step, std::vector<WireMessage>& out) {
  MessageReader reader(masked, limit);
  bool fine = true;
  while (fine && !bytes.empty()) {
    auto piece = bytes.substr(0, step);
    bytes.remove_prefix(piece.size());
    fine = static_cast<bool>(reader.feed(piece));
    while (auto message = reader.next()) out.push_back(std::move(*message));
  }
  return fine;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (bool masked : {false, true}) {
    std::vector<WireMessage> whole, cut;
    bool fine = read(bytes, masked, SIZE_MAX, whole);
    if (fine != read(bytes, masked, 1, cut) || whole.size() != cut.size()) std::abort();
    for (std::size_t i = 0; i < whole.size(); ++i) {
      if (whole[i].kind != cut[i].kind || whole[i].payload != cut[i].payload) std::abort();
      if (whole[i].payload.size() > limit) std::abort();
    }
  }
  return 0;
}
