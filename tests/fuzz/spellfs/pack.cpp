// Any bytes as a pack: they are refused, or every object in them can be read back from a store.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/fd.hpp"
#include "spellfs/pack.hpp"
#include "spellfs/store.hpp"

using namespace spell::spellfs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  if (!file) std::abort();
  int fd = ::fileno(file.get());
  if (!spell::base::pwrite_all(fd, {reinterpret_cast<const char*>(data), size}, 0)) std::abort();
  auto length = static_cast<std::int64_t>(size);
  auto store = make_memory_store();
  auto added = store->add_pack("owner", fd, length);
  Decompressor decompressor;
  if (auto pack = PackFileReader::open(fd, length)) {
    for (auto& frame : pack->frames()) {
      if (added && !store->get(frame.kind, frame.name)) std::abort();
      auto stored = pack->stored(frame);
      if (stored) (void)decompressor.unpack(frame, *stored);
    }
  } else if (added) {
    std::abort();
  }
  if (auto pack = PackFileReader::salvage(fd, length))
    for (auto& frame : pack->frames()) (void)pack->stored(frame);
  return 0;
}
