// Which machine types fit a query, and in which order. Pure: the same types and query give the same
// order, in whatever order the types come. No text is made for what is not shown.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "spell/machine.hpp"

namespace spell::detail {

/// GPUs of which one of several kinds will do.
struct WantedGpu {
  std::string name{};  ///< "": any
  std::int64_t count = 0;
};

/// "V100|A100:4": a number also counts for those before it that have none; `otherwise` for what has
/// none at all. Error `invalid_request`.
Result<std::vector<WantedGpu>> parse_wanted_gpus(const std::string& text, std::int64_t otherwise);

/// What runs have measured of a type.
struct Measured {
  double value = 0;
  std::int64_t runs = 0;
};
using MeasuredTypes = std::map<std::string, Measured, std::less<>>;  ///< by name, lower case

/// Indices of those that fit, the best first. Types whose machines are there, or whose pool
/// launches some, come before those whose machines are away, and those before what nothing serves;
/// then MachineQuery::prefer decides, then the price of an hour of the machine, then what is least
/// too much, then the name. How fast a type is for the run: by the share of its GPUs that it gets.
/// Error `invalid_request`.
Result<std::vector<std::size_t>> order(const std::vector<MachineTypeInfo>&, const MachineQuery&,
                                       const MeasuredTypes& = {});

/// Never none. Error `no_machine_type`: what excludes each of them, and which wish alone excludes
/// some.
Result<std::vector<RankedMachineType>> rank(const std::vector<MachineTypeInfo>&,
                                            const MachineQuery&, const MeasuredTypes& = {});

/// The same with those that do not fit, by name; it may hold none that fit.
Result<MachineSelection> explain(const std::vector<MachineTypeInfo>&, const MachineQuery&,
                                 const MeasuredTypes& = {});

/// Error `unknown_gpu` for the first name of MachineQuery::gpu that neither a type nor the
/// catalogue knows, with the nearest that are known. `catalogue` is asked only where no type knows.
Result<> check_gpu_names(const std::vector<MachineTypeInfo>&, const MachineQuery&,
                         const std::function<Result<std::vector<CatalogueEntry>>()>& catalogue);

/// Error `no_machine_type` of a selection in which nothing fits.
Error nothing_fits(const std::vector<MachineTypeInfo>&, const MachineQuery&);

}  // namespace spell::detail
