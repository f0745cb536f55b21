// Any bytes: a folder node is refused, or its names are fit for a disk and in order.
#include <cstdint>
#include <cstdlib>

#include "spellfs/node.hpp"

using namespace spell::spellfs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto node = decode_folder_node(bytes);
  auto description = describe(Kind::folder, bytes);
  if (node.ok() != description.ok()) std::abort();
  if (!node) return 0;
  std::string last;
  for (auto& entry : node->entries) {
    if (entry.name <= last || entry.name.find('/') != std::string::npos || entry.name == "..")
      std::abort();
    last = entry.name;
  }
  std::string again;
  Emit emit = [&](Kind, const Name&, std::string made) {
    again = std::move(made);
    return spell::ok();
  };
  TreeBuilder builder(Kind::folder, emit);
  if (node->level > 0) return 0;
  int emitted = 0;
  for (auto& entry : node->entries) {
    if (!builder.add(entry)) std::abort();
    emitted += !again.empty();
  }
  if (!builder.finish()) std::abort();
  if (emitted == 0 && again != bytes) std::abort();
  return 0;
}
