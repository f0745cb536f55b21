// What an hour of a machine type costs: its own price, else that of the owner's price list, else
// the catalogue's, on demand and spot each on its own. What the catalogue says counts for what is
// bought, not for one's own machines. And what the catalogue knows of a type besides.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/catalogue.hpp"
#include "spell/machine.hpp"
#include "store/store.hpp"

namespace spell::service {

/// Billionths of a dollar an hour; none: not known.
struct TypePrice {
  std::optional<std::int64_t> price, spot_price;  ///< on demand, and of spot machines
  std::string from;                               ///< see MachineTypeInfo::price_from

  /// What an hour of one of its machines costs.
  std::optional<std::int64_t> hourly(bool spot) const {
    return spot && spot_price ? spot_price : price;
  }
};

struct HourlyPrices {
  std::optional<std::int64_t> price, spot_price;
};
using PriceList = std::map<std::string, HourlyPrices, std::less<>>;  ///< by name, lower case
using PriceLists = std::map<std::string, PriceList>;                 ///< by owner
inline const PriceList no_prices{};

PriceLists to_price_lists(const std::vector<store::PriceRecord>&);

/// The one that comes with Spell.
const model::Catalogue& catalogue();
/// What the catalogue has of a type: by the instance that its pool launches, else by its name, with
/// or without "-spot"; null: nothing.
const CatalogueEntry* known_as(const store::MachineTypeRecord&);

TypePrice price_of(const store::MachineTypeRecord&, const PriceList&);
void show_price(MachineTypeInfo&, const TypePrice&);
/// What a type is like of whose machines none was seen; and how fast it is. `record`: its own, or
/// one with its name alone; the machines have been counted.
void show_catalogue(MachineTypeInfo&, const store::MachineTypeRecord& record);
/// The catalogue with the prices of a list; what only the list has comes behind.
std::vector<CatalogueEntry> priced_catalogue(const PriceList&);

}  // namespace spell::service
