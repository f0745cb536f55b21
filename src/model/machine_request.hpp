// What is asked of machines and their types, as it is on the wire.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "spell/result.hpp"
#include "spell/units.hpp"

namespace spell::model {

using nlohmann::json;

/// Body of POST …/machines.
struct MachineRequest {
  std::string name{};
  std::vector<std::string> serves{}, allow{};
  bool serves_cpu = true;
  std::int64_t cpus = 0, memory = 0, gpus = 0;  ///< 0: all there is
  std::int64_t lost_after = 0;                  ///< seconds; 0: the default
};

/// Body of PATCH …/machines/{name}.
struct MachineEdit {
  std::optional<std::string> name{};
  std::optional<bool> drained{};
};

/// Body of POST …/machines/{name}/interrupt.
struct MachineInterrupt {
  std::int64_t in = 30;  ///< seconds
};

/// An hour's price that is set: "3.06"; "": it is not known any more, and the price list's and the
/// catalogue's count.
struct PriceChange {
  std::optional<Dollars> to{};
};

/// An amount that is set as a cap; "": there is none any more.
struct CapChange {
  std::optional<Dollars> to{};
};

/// Body of POST …/machine-types and of PATCH …/machine-types/{name}, which takes no name.
struct MachineTypeRequest {
  std::optional<std::string> name{};
  std::optional<bool> spot{}, default_auto_resume{};
  std::optional<std::int64_t> cpus{}, memory{}, gpus{}, lost_after{};
  std::optional<std::string> pool{};  ///< "": none
  std::optional<std::map<std::string, std::string>> pool_options{};
  std::optional<std::int64_t> min_machines{}, max_machines{};
  std::optional<std::int64_t> idle_timeout{}, launch_timeout{};  ///< seconds; 0: the default
  std::optional<PriceChange> price{}, spot_price{};
  std::optional<CapChange> max_unused{};  ///< of its pool's machines without a run, a month
};

/// The highest price of an hour that is taken for one.
inline constexpr Dollars most_an_hour{10'000};

json to_json(const MachineRequest&);
json to_json(const MachineEdit&);
json to_json(const MachineTypeRequest&);
json to_json(const MachineInterrupt&);
/// Names in lower case, each once. Errors `invalid_request`, naming the field.
Result<MachineRequest> parse_machine_request(const json&);
Result<MachineEdit> parse_machine_edit(const json&);
Result<MachineInterrupt> parse_machine_interrupt(const json&);
Result<MachineTypeRequest> parse_machine_type_request(const json&);
/// {"csv": text}: the text.
Result<std::string> parse_price_list_request(const json&);

}  // namespace spell::model
