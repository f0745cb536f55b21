// What is sold under which name and at what price, and what a machine of one's own costs.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spell/result.hpp"
#include "spell/units.hpp"

namespace spell {

/// A type that Spell knows by its name, or by what a cloud calls it. 0 and none: not known. Of a
/// name that several clouds sell the first counts where none is said.
struct CatalogueEntry {
  std::string name{};  ///< "V100x4"
  std::string gpu{};   ///< "V100"
  std::int64_t gpus = 0;
  std::int64_t gpu_memory = 0;                   ///< bytes of each GPU
  std::int64_t cpus = 0, memory = 0, disk = 0;   ///< cores, bytes
  double throughput = 0;                         ///< of training with all its GPUs, of one V100: 1
  std::string cloud{}, instance{};               ///< "aws" sells it as "p3.8xlarge"
  std::optional<Dollars> price{}, spot_price{};  ///< an hour
  std::string price_from{};                      ///< "price list" or "catalogue"
  std::vector<std::string> sources{};            ///< where the figures are from, and of when
};

/// What a machine of one's own costs.
struct OwnMachine {
  Dollars purchase{};
  double throughput = 0;  ///< of training, of one V100: 1; 0: as the type that it is compared with
  double years = 0;       ///< for how long it will be used; 0: not said
  double watts = 0;       ///< what it draws when it is used
  Dollars electricity{};  ///< a kilowatt-hour
  double share = 0;       ///< of the time that it is used, up to 1; 0: not said
};

/// When a machine of one's own is cheaper than an hourly price.
struct BreakEven {
  double hours = 0;              ///< that it has to be used; infinite: its power alone costs more
  Dollars replaces{};            ///< what an hour of it costs elsewhere
  Dollars power{};               ///< what an hour of it costs in power
  std::optional<double> days{};  ///< that this takes, at its share of use
  /// An hour of it in all, with its purchase price spread over the hours of its years.
  std::optional<Dollars> own{};
};

/// purchase / (an_hour * throughput / of_type - power): the hours of use after which what it costs
/// is what the same work would have cost at `an_hour` on a type of the throughput `of_type` (0: as
/// fast). Error `invalid_request`: a negative figure, a share above 1, no purchase price.
Result<BreakEven> break_even(const OwnMachine&, Dollars an_hour, double of_type = 0);

}  // namespace spell
