// A team with a machine type whose pool does what the test says.
#pragma once
#include "team_house.hpp"

namespace spell::service {

/// With the type `spot`.
struct Pooled : Team {
  std::optional<std::int64_t> price{};  ///< of the type, when it is declared next

  explicit Pooled(std::int64_t least = 0, std::int64_t most = 2) { declare(least, most); }

  store::MachineTypeRecord type(std::int64_t least, std::int64_t most) {
    store::MachineTypeRecord record;
    record.owner = "ada";
    record.name = "spot";
    record.cpus = 4;
    record.pool = "fake";
    record.min_machines = least;
    record.max_machines = most;
    record.idle_timeout = 100;
    record.launch_timeout = 60;
    record.price = price;
    return record;
  }
  void declare(std::int64_t least, std::int64_t most) {
    REQUIRE(change([&] { return state->put_machine_type(type(least, most), true); }));
  }
  void pass(std::int64_t seconds) {
    now += seconds * second;
    look();
  }
  void look() {
    REQUIRE(change([] { return ok(); }));
  }
  std::vector<PoolTask> tasks(PoolTask::Kind kind) {
    auto all = state->pool_tasks();
    std::erase_if(all, [&](auto& task) { return task.kind != kind; });
    return all;
  }
  std::vector<PoolTask> launches() { return tasks(PoolTask::Kind::launch); }
  std::vector<PoolTask> ends() { return tasks(PoolTask::Kind::terminate); }

  /// The driver's part of a launch: the id of the token that it gives.
  std::string begin_launch(const PoolTask& task) {
    store::TokenRecord token;
    token.id = token.hash = base::hex(base::random_bytes(16));
    token.kind = "join";
    token.machine = task.id;
    token.created_us = now;
    token.expires_us = now + 3'600 * second;
    auto begun = change([&] { return state->pool_launches(task.id, token); });
    REQUIRE(begun);
    return *begun ? token.id : "";
  }
  void launched(const PoolTask& task) {
    REQUIRE(change([&] { return state->pool_launched(task.id, now), ok(); }));
  }
  /// It is launched, joins and is connected.
  PoolTask up(int cores = 4) {
    auto task = launches().at(0);
    auto token = begin_launch(task);
    launched(task);
    REQUIRE(join(token, hello_of(cores)));
    greet(task.id, hello_of(cores));
    return task;
  }
  void ended(const PoolTask& task) {
    REQUIRE(change([&] { return state->pool_ended(task.id, now); }));
  }
  Words listed(std::set<std::string> names) {
    auto strangers = change([&] { return state->pool_listed("ada", "spot", names, now, now); });
    REQUIRE(strangers);
    return *strangers;
  }
  std::string phase(const PoolTask& task) {
    auto* machine = state->machine_by_id(task.id);
    return machine ? machine->record.phase : "gone";
  }
  std::string why(std::int64_t number) {
    return state->cluster().why_waiting(waiting_of(run(number)));
  }
};

}  // namespace spell::service
