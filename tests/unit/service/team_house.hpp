// A team's house: machines join it, take its runs, are lost and come back.
#pragma once
#include "house.hpp"

namespace spell::service {

inline constexpr std::int64_t GB = 1'000'000'000;

inline model::WorkerHello hello_of(int cores, std::size_t gpus = 0) {
  model::WorkerHello hello;
  hello.cores = cores;
  hello.memory = 64 * GB;
  for (std::size_t i = 0; i < gpus; ++i)
    hello.gpus.push_back({static_cast<int>(i), "GPU-" + std::to_string(i), "V100", 16 * GB});
  return hello;
}

struct Team : House {
  Team() : House(2) {}

  store::MachineRecord record(const std::string& name, std::vector<std::string> serves = {}) {
    store::MachineRecord machine;
    machine.owner = "ada";
    machine.name = name;
    machine.id = base::hex(base::random_bytes(16));
    machine.serves = std::move(serves);
    machine.created_us = now;
    return machine;
  }
  std::string token(const std::string& machine, const std::string& user = "ada") {
    store::TokenRecord token;
    token.id = base::hex(base::random_bytes(16));
    token.hash = token.id;
    token.kind = "join";
    token.user = user;
    token.machine = machine;
    token.created_us = now;
    token.expires_us = now + 3'600'000'000;
    REQUIRE(change([&] { return state->put_join_token(token); }));
    return token.id;
  }
  Result<store::MachineRecord> join(const std::string& token, model::WorkerHello hello = {}) {
    model::JoinRequest request;
    request.name = "host";
    request.hello = std::move(hello);
    return change([&] { return state->join(token, request, "", "hash-of-" + token, now); });
  }
  /// A machine that has joined and is connected; its id.
  std::string machine(const std::string& name, std::vector<std::string> serves = {},
                      model::WorkerHello hello = hello_of(8)) {
    auto made = record(name, std::move(serves));
    REQUIRE(change([&] { return state->create_machine(made); }));
    REQUIRE(join(token(made.id), hello));
    greet(made.id, hello);
    return made.id;
  }
  void greet(const std::string& id, model::WorkerHello hello = hello_of(8),
             std::map<std::string, std::int64_t> holds = {}) {
    REQUIRE(change([&] { return state->hello(id, hello, holds, now); }));
  }
  Result<Submitted> submit_to(const std::string& type, std::optional<std::int64_t> gpus = {}) {
    Submission s{"ada", "ada", "", "", {}};
    s.request.command = "train";
    s.request.machine_type = type;
    s.request.gpus = gpus;
    return change([&] { return state->submit(s, now); });
  }
  model::RunReport report_of(std::int64_t number) {
    model::RunReport report;
    report.run = run(number).id;
    report.epoch = run(number).epoch;
    return report;
  }
  model::RunReport end_of(std::int64_t number, const std::string& status = "complete") {
    auto report = report_of(number);
    report.result.emplace();
    report.result->status = status;
    report.result->exit_code = status == "complete" ? 0 : 1;
    return report;
  }
  Result<> say(const std::string& id, const model::RunReport& report) {
    return change([&] { return state->report(id, report, now); });
  }
  Words commands_of(const std::string& id) {
    Words out;
    for (auto& c : state->machine_by_id(id)->commands)
      out.push_back(c.type + " " + std::to_string(run_number(c.run)));
    return out;
  }
  void open() {
    House::open();
    REQUIRE(change([] { return ok(); }));
  }
};

}  // namespace spell::service
