// A team's house whose machine type V100 has a price, and machines that keep what runs may cost.
#pragma once
#include "model/cost.hpp"
#include "sched/cost.hpp"
#include "team_house.hpp"

namespace spell::service {

using model::Units;
using model::units;

struct Priced : Team {
  Priced() { declare(2 * nano); }

  void declare(std::optional<std::int64_t> price, std::optional<std::int64_t> spot_price = {},
               const std::string& name = "v100") {
    store::MachineTypeRecord type;
    type.owner = "ada";
    type.name = name;
    type.cpus = 2;
    type.price = price;
    type.spot_price = spot_price;
    type.spot = spot_price.has_value();
    REQUIRE(change([&] { return state->put_machine_type(type, true); }));
  }
  void pass(std::int64_t seconds) {
    now += seconds * second;
    REQUIRE(change([] { return ok(); }));
  }
  std::vector<model::CostEntry> entries() {
    std::vector<model::CostEntry> out;
    REQUIRE(writer->costs("ada", 0, [&](std::string_view bytes) {
      model::CostEntry entry;
      while (model::take(bytes, entry)) out.push_back(entry);
      CHECK(bytes.empty());
      return ok();
    }));
    return out;
  }
  sched::CostReport report(sched::CostBy by = sched::CostBy::run) {
    sched::CostReport report(by, 0, INT64_MAX / 1000, 10'000);
    REQUIRE(writer->costs("ada", 0, [&](std::string_view bytes) { return report.add(bytes); }));
    return report;
  }
  Units total() { return report().total().amount; }
  std::map<std::string, Units> by(sched::CostBy by) {
    std::map<std::string, Units> out;
    for (auto& line : report(by).lines())
      out[writer->cost_name(line.key).value()] += line.sum.amount;
    return out;
  }
  /// What a run's row says that it has cost.
  Units of(std::int64_t number) {
    auto record = run(number);
    if (record.cost.billed_ms < 0 || !record.cost.price) return 0;
    return units(*record.cost.price, record.cost.billed_ms);
  }
  std::vector<std::string> unpriced() {
    return writer->unpriced_types("ada", 0, INT64_MAX).value();
  }
};

inline model::WorkerHello able_hello() {
  auto hello = hello_of(8);
  hello.capabilities = {{"exclusive", "1"}, {"restore", "1"}, {"allowance", "1"}};
  return hello;
}

struct Capped : Priced {
  std::string box = machine("box", {"v100"}, able_hello());

  Result<Submitted> submit_for(Dollars most, const std::string& type = "v100") {
    Submission s{"ada", "ada", "", "", {}};
    s.request.command = "train";
    s.request.machine_type = type;
    s.request.max_cost = most;
    s.request.auto_resume = true;
    return change([&] { return state->submit(s, now); });
  }
  std::int64_t allowance(std::int64_t number) {
    auto id = run(number).id;
    for (auto& command : state->machine_by_id(box)->commands)
      if (command.type == "start" && command.run == id) return command.start->allowance_ms;
    return -1;
  }
};

}  // namespace spell::service
