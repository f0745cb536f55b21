// The cache of a save, behind its checksum: any bytes are refused or read within bounds.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <memory>

#include "base/hash.hpp"
#include "spellfs/save_cache.hpp"

using namespace spell::spellfs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  auto sum = spell::base::sha256(bytes);
  bytes.append(reinterpret_cast<const char*>(sum.data()), sum.size());
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  if (!file || !spell::base::write_all(fileno(file.get()), bytes)) return 0;
  auto reader = SaveCacheReader::open(spell::base::Fd(::dup(fileno(file.get()))));
  if (!reader) return 0;
  std::string path;
  for (;;) {
    auto next = reader->next(path);
    if (!next || !*next) return 0;
  }
}
