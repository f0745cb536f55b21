// Any bytes: a catalogue is refused with a line, or each of its entries is found by its name.
#include "model/catalogue.hpp"

#include <cstdint>
#include <cstdlib>

using namespace spell::model;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto parsed = Catalogue::parse({reinterpret_cast<const char*>(data), size});
  if (!parsed) {
    if (!parsed.error().message().starts_with("line ")) std::abort();
    return 0;
  }
  for (auto& entry : parsed->entries()) {
    if (!parsed->find(entry.name, entry.cloud)) std::abort();
    if (!entry.instance.empty() && parsed->find_instance(entry.instance) != &entry) std::abort();
    if (entry.price && (entry.price->nano < 0 || entry.sources.empty())) std::abort();
  }
  return 0;
}
