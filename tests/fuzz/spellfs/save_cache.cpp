// The cache of a save, behind its checksum: any bytes are refused or read within bounds.
#include <cstdint>

#include "base/hash.hpp"
#include "spellfs/save_cache.hpp"

using namespace spell::spellfs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  auto sum = spell::base::sha256(bytes);
  bytes.append(reinterpret_cast<const char*>(sum.data()), sum.size());
  auto reader = SaveCacheReader::open(std::move(bytes));
  if (!reader) return 0;
  std::string path;
  for (;;) {
    auto next = reader->next(path);
    if (!next || !*next) return 0;
  }
}
