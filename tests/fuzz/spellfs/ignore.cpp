// Rules, a NUL, a path: nothing is an error, and the answer comes in time and does not change.
#include <cstdint>
#include <cstdlib>

#include "spellfs/ignore.hpp"

using namespace spell::spellfs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto cut = bytes.find('\0');
  auto rules = IgnoreRules::parse(bytes.substr(0, cut));
  auto path = cut == bytes.npos ? std::string_view("a/b.c") : bytes.substr(cut + 1);
  for (bool is_folder : {false, true})
    if (rules.ignores(path, is_folder) != rules.ignores(path, is_folder)) std::abort();
  return 0;
}
