// Any bytes: a price list is refused with a line, or each price is one, under a name of its own.
#include <cstdint>
#include <cstdlib>
#include <set>

#include "base/text.hpp"
#include "model/catalogue.hpp"

using namespace spell;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto list = model::parse_price_list({reinterpret_cast<const char*>(data), size});
  if (!list) {
    if (!list.error().message().starts_with("line ")) std::abort();
    return 0;
  }
  std::set<std::string> names;
  for (auto& listed : *list) {
    if (!base::valid_name(listed.name) || !names.insert(listed.name).second) std::abort();
    if (!listed.price && !listed.spot_price) std::abort();
    for (auto& price : {listed.price, listed.spot_price})
      if (price && (*price < 0 || *price > 10'000'000'000'000)) std::abort();
  }
  return 0;
}
