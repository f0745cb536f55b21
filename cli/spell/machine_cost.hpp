// What machines cost: prices, and a machine of one's own against them.
#pragma once
#include <string>
#include <vector>

#include "command.hpp"
#include "spell/catalogue.hpp"

namespace spell::cli {

struct Comparison {
  struct Row {
    std::string kind{};  ///< "on demand", "spot"
    Dollars price{};
    BreakEven even{};
  };
  std::string type{}, mine{};
  OwnMachine own{};
  double type_throughput = 0;
  std::vector<Row> rows{};
};

/// `command`: under which it was called.
Result<int> compare_machines(Context& context, const std::string& command);
std::string json_text(const Comparison& comparison);
/// spell machine-type prices
Result<int> machine_prices(Context& context);

}  // namespace spell::cli
