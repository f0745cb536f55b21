// A state with a store of its own, and one transaction around each change, as the reactor does it.
#pragma once
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "service/state.hpp"

namespace spell::service {

inline constexpr std::int64_t second = base::second_us;
inline constexpr std::int64_t nano = 1'000'000'000;  // billionths of a dollar

struct House {
  std::string folder = "/tmp/spell-state-" + base::hex(base::random_bytes(6));
  std::optional<store::Writer> writer;
  std::unique_ptr<State> state;
  std::int64_t now = 1'000'000'000;

  explicit House(int places = 2, int ahead = 0) {
    REQUIRE(base::make_folders(folder));
    open(places, ahead);
  }
  ~House() { (void)base::remove_tree(folder); }

  /// As after a crash: what is not in the store is gone.
  /// `name`: of this computer; "": the service has no worker. `awake`: runs in memory at most.
  void open(int places = 2, int ahead = 0, const std::string& name = "here",
            std::size_t awake = StateOptions{}.awake) {
    state.reset();
    writer.reset();
    auto opened = store::Writer::open(folder + "/spell.db");
    REQUIRE(opened);
    writer.emplace(std::move(*opened));
    StateOptions options;
    options.code_folder = "/code";
    options.awake = awake;
    state = std::make_unique<State>(*writer, options);
    if (!name.empty()) state->add_machine(name, {"cpu"}, places, ahead);
    REQUIRE(state->load());
  }

  /// One transaction around a change, as the reactor does it.
  template <class Change>
  auto change(Change&& what) {
    now += 1000;
    REQUIRE(writer->begin());
    auto result = what();
    REQUIRE(state->schedule(now));
    REQUIRE(state->flush());
    REQUIRE(writer->commit());
    state->committed();
    (void)state->take_changed();
    return result;
  }
  /// The same where the store cannot take it: the disk is full.
  template <class Change>
  void lost_change(Change&& what) {
    now += 1000;
    REQUIRE(writer->begin());
    (void)what();
    REQUIRE(state->schedule(now));
    REQUIRE(state->flush());
    writer->rollback();
    REQUIRE(state->load());
    (void)state->take_changed();
  }
  Result<Submitted> submit(const std::string& command, const std::string& key = "",
                           std::vector<std::int64_t> after = {}) {
    Submission s{"ada", "ada", key, base::hex(base::sha256(command)), {}};
    s.request.command = command;
    s.request.after = std::move(after);
    return change([&] { return state->submit(s, now); });
  }
  void connect(std::map<std::string, std::int64_t> holds = {}) {
    REQUIRE(change([&] { return state->hello("here", {}, holds, now); }));
  }
  RunRecord run(std::int64_t number) { return writer->find_run("ada", number).value().value(); }
  std::vector<std::string> commands() {
    std::vector<std::string> out;
    for (auto& c : state->machines().at("here").commands)
      out.push_back(c.type + " " + std::to_string(run_number(c.run)));
    return out;
  }
  std::int64_t run_number(const std::string& id) {
    return writer->find_run(id).value().value().number;
  }
  void acknowledge() { state->acknowledge("here", INT64_MAX); }

  Result<> report(std::int64_t number, std::vector<std::string> steps,
                  std::optional<int> exit_code = {}, std::string status = "complete") {
    auto record = run(number);
    model::RunReport report;
    report.run = record.id;
    report.epoch = record.epoch;
    std::int64_t i = record.taken;
    for (auto& step : steps) {
      model::RunEvent event;
      event.number = ++i;
      event.status = step;
      event.text = "now " + step;
      report.events.push_back(event);
    }
    if (exit_code) {
      report.result.emplace();
      report.result->status = status;
      report.result->exit_code = exit_code;
    }
    return change([&] { return state->report("here", report, now); });
  }
};

using Words = std::vector<std::string>;

}  // namespace spell::service
