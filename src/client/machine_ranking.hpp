// Which machine types fit a query, and in which order. Pure.
#pragma once
#include <vector>

#include "spell/machine.hpp"

namespace spell::detail {

/// Those that fit, the best first: never none. Types whose machines are there come before those
/// where a run would wait; then MachineQuery::prefer decides, then what is least too much, then the
/// name. Error `no_machine_type`: what excludes each of them.
Result<std::vector<RankedMachineType>> rank(const std::vector<MachineTypeInfo>&,
                                            const MachineQuery&);

}  // namespace spell::detail
