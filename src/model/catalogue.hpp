// The catalogue of machine types that comes with Spell (src/share/machine-types.csv), and price
// lists that administrators load.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spell/catalogue.hpp"
#include "spell/result.hpp"

namespace spell::model {

/// Immutable. Names are found in any case.
class Catalogue {
 public:
  /// Each figure needs a source that the text names, with its day or year. Error `invalid_request`,
  /// with the line.
  static Result<Catalogue> parse(std::string_view csv);

  const std::vector<CatalogueEntry>& entries() const { return entries_; }
  /// The first of this name, of this cloud if one is said; null: there is none.
  const CatalogueEntry* find(std::string_view name, std::string_view cloud = {}) const;
  /// By what a cloud calls it.
  const CatalogueEntry* find_instance(std::string_view instance) const;

 private:
  std::vector<CatalogueEntry> entries_;
  std::map<std::string, std::vector<std::size_t>, std::less<>> names_;  ///< lower case
  std::map<std::string, std::size_t, std::less<>> instances_;
};

/// A line of a price list. Billionths of a dollar an hour.
struct ListedPrice {
  std::string name;  ///< lower case: a machine type's, the catalogue's, or a cloud's for it
  std::optional<std::int64_t> price, spot_price;
};

/// "name,price,spot_price", in any order, and a line each: "v100,3.06/h,0.918". Error
/// `invalid_request`, with the line: an unknown column, a price that is none, a name twice.
Result<std::vector<ListedPrice>> parse_price_list(std::string_view csv);

}  // namespace spell::model
