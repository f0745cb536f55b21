#include "client/machine_ranking.hpp"

#include <algorithm>
#include <tuple>

#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::detail {

namespace {

/// As people write it: "16 GB", "1.5 GB".
std::string bytes_text(std::int64_t bytes) {
  std::int64_t tenths = (bytes * 10 + (1 << 29)) >> 30;
  std::string text = std::to_string(tenths / 10);
  if (tenths % 10 != 0) text += "." + std::to_string(tenths % 10);
  return text + " GB";
}

std::string dollars_text(const Dollars& amount) {
  auto cents = (amount.nano + 5'000'000) / 10'000'000;
  return "$" + std::to_string(cents / 100) + "." + std::to_string(100 + cents % 100).substr(1);
}

/// The most that a run of the type can have.
Amounts most_of(const MachineTypeInfo& type) {
  return type.machines > 0 ? type.largest : type.gives;
}

/// What of the query the type does not meet; "" if it fits.
std::string lacks(const MachineTypeInfo& type, const MachineQuery& query) {
  auto most = most_of(type);
  std::int64_t gpus =
      std::max<std::int64_t>(query.gpus, query.gpu_memory > 0 || !query.gpu.empty() ? 1 : 0);
  if (most.gpus < gpus)
    return most.gpus == 0
               ? "no GPU"
               : "at most " + std::to_string(most.gpus) + " of " + std::to_string(gpus) + " GPUs";
  if (!query.gpu.empty() && base::lower(type.gpu).find(base::lower(query.gpu)) == std::string::npos)
    return type.gpu.empty() ? "its GPUs are not known" : "its GPUs are " + type.gpu;
  if (query.gpu_memory > type.gpu_memory)
    return type.gpu_memory == 0 ? "the memory of its GPUs is not known"
                                : bytes_text(type.gpu_memory) + " a GPU";
  if (query.cpus > most.cpus) return std::to_string(most.cpus) + " cores";
  if (query.memory > most.memory) return bytes_text(most.memory) + " of memory";
  if (query.spot == Spot::only && !type.spot) return "not spot";
  if (query.spot == Spot::never && type.spot) return "spot";
  if (query.max_price && !type.price) return "its price is not known";
  if (query.max_price && *type.price > *query.max_price)
    return dollars_text(*type.price) + " an hour";
  return "";
}

std::string reason_of(const MachineTypeInfo& type) {
  auto most = most_of(type);
  std::string text;
  if (most.gpus > 0) {
    text = std::to_string(most.gpus) + " x " + (type.gpu.empty() ? "GPU" : type.gpu);
    if (type.gpu_memory > 0) text += " of " + bytes_text(type.gpu_memory);
    text += ", ";
  }
  text += std::to_string(most.cpus) + (most.cpus == 1 ? " core, " : " cores, ");
  if (most.memory > 0) text += bytes_text(most.memory) + ", ";
  if (type.machines == 0)
    text += "no machine serves it yet";
  else
    text += std::to_string(type.connected) + " of " + std::to_string(type.machines) +
            (type.machines == 1 ? " machine connected" : " machines connected");
  if (type.spot) text += ", spot";
  return text + (type.price ? ", " + dollars_text(*type.price) + " an hour" : ", price not known");
}

/// The lower the better.
auto order_of(const RankedMachineType& type, const MachineQuery& query) {
  auto most = most_of(type);
  std::tuple least{most.gpus, type.gpu_memory, most.cpus, most.memory};
  std::tuple greatest{-most.gpus * type.gpu_memory, -most.gpus, -most.cpus, -most.memory};
  bool absent = type.connected == 0;
  bool unknown = !type.price;
  std::int64_t price = type.price ? type.price->nano : 0;
  using Prefer = MachineQuery::Prefer;
  std::int64_t machines = query.prefer == Prefer::availability ? -type.connected : 0;
  if (query.prefer != Prefer::power) greatest = {};
  return std::tuple(absent, machines, greatest, unknown, price, least, type.spot, type.name);
}

}  // namespace

Result<std::vector<RankedMachineType>> rank(const std::vector<MachineTypeInfo>& types,
                                            const MachineQuery& query) {
  std::vector<RankedMachineType> out;
  std::vector<std::string> excluded;
  for (auto& type : types) {
    if (auto what = lacks(type, query); !what.empty())
      excluded.push_back(type.name + ": " + what);
    else
      out.push_back({type, reason_of(type)});
  }
  if (out.empty())
    return base::error("no_machine_type",
                       excluded.empty() ? "there is no machine type; spell machine add makes one"
                                        : "no machine type fits: " + base::join(excluded, "; "));
  std::sort(out.begin(), out.end(),
            [&](auto& a, auto& b) { return order_of(a, query) < order_of(b, query); });
  return out;
}

}  // namespace spell::detail
