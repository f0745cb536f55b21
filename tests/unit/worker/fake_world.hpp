// A worker's surroundings without sockets, processes or a clock: a service that keeps the protocol,
// a disk and supervisors that outlive a crash, and a driver that carries out one step after the
// other, any of which can be made to fail.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "catch.hpp"
#include "worker/agent.hpp"

namespace spell::worker::testing {

/// What the service knows of a run.
struct ServedRun {
  model::StartCommand start;
  std::int64_t taken = 0;
  std::vector<model::RunEvent> events;
  std::optional<model::RunResult> result;
  std::int64_t log_bytes = 0, metric_bytes = 0;
  std::set<std::string> outputs;
  std::string wanted;  ///< stop or kill
  bool started = false;

  std::vector<std::string> statuses() const {
    std::vector<std::string> out;
    for (auto& event : events)
      if (!event.status.empty()) out.push_back(event.status);
    return out;
  }
  int count(const std::string& text) const {
    int n = 0;
    for (auto& event : events) n += event.text.find(text) != std::string::npos;
    return n;
  }
};

class FakeService {
 public:
  std::string incarnation = "first";
  std::map<std::string, ServedRun> runs;
  std::optional<model::Command> going;  ///< the machine goes; said with each hello
  bool knows_notices = true;            ///< else it is older, and refuses to hear of them
  std::vector<std::string> refuses;     ///< runs whose reports it refuses
  bool knows_backlogs = true;
  std::int64_t lost_after = 0;
  std::string why = "user";  ///< it wants a stop or kill
  std::string chokes_on;     ///< a run whose report makes it refuse the whole request
  int loses_outputs =
      -1;  ///< so often what a result names was freed before it came; -1: never asked
  std::vector<model::SyncRequest> heard;

  void assign(const model::StartCommand& start) {
    runs[start.run].start = start;
    order(start_of(start));
  }
  void want(const std::string& run, const std::string& type) {
    runs[run].wanted = type;
    order(wish(runs[run]));
  }
  void take_away(std::int64_t remaining_ms) {
    going.emplace();
    going->type = "notice";
    going->reason = "asked for by ada";
    going->remaining_ms = remaining_ms;
    order(*going);
  }
  void keep() {
    going.reset();
    model::Command command;
    command.type = "notice";
    command.reason_code = "withdrawn";
    order(command);
  }
  /// Another process of the same service: commands are computed anew when a worker says hello.
  void restart() { commands_.clear(), last_ = 0; }

  Result<model::SyncAnswer> sync(const model::SyncRequest& request) {
    if (request.notice && !knows_notices)
      return base::error("invalid_request", "'notice' is not known").with_http_status(400);
    heard.push_back(request);
    if (!request.incarnation.empty() && request.incarnation != incarnation)
      return base::error("incarnation_changed", "restored").with_http_status(409);
    for (auto& report : request.reports)
      if (report.backlog && !knows_backlogs)
        return base::error("invalid_request", "'reports[0].backlog' is not known")
            .with_http_status(400);
    for (auto& report : request.reports)
      if (report.run == chokes_on)
        return base::error("invalid_request", "no").with_http_status(400);
    for (auto& report : request.reports)
      if (report.result && !report.result->outputs.empty() && loses_outputs >= 0) {
        auto& stored = runs[report.run].outputs;
        if (loses_outputs > 0 && loses_outputs-- > 0) stored.clear();
        if (!stored.contains(report.result->outputs))
          return base::error("incomplete_pack", "collected").with_http_status(409);
      }
    if (request.hello) hello(request);
    while (!commands_.empty() && commands_.front().number <= request.seen) commands_.pop_front();
    model::SyncAnswer answer;
    answer.incarnation = incarnation;
    answer.lost_after = lost_after;
    for (auto& report : request.reports) take(report, answer);
    answer.commands.assign(commands_.begin(), commands_.end());
    return answer;
  }

  static model::Command start_of(const model::StartCommand& start) {
    auto out = command("start", start);
    out.start = start;
    return out;
  }
  static model::Command command(const std::string& type, const model::StartCommand& start) {
    model::Command out;
    out.type = type;
    out.run = start.run;
    out.epoch = start.epoch;
    out.reason_code = "user";
    return out;
  }

 private:
  model::Command wish(const ServedRun& run) const {
    auto out = command(run.wanted, run.start);
    out.reason_code = why;
    return out;
  }
  void order(model::Command command) {
    command.number = ++last_;
    commands_.push_back(std::move(command));
  }
  void hello(const model::SyncRequest& request) {
    commands_.clear();
    if (going) order(*going);
    for (auto& [id, epoch] : request.holds)
      if (!runs.contains(id) || runs[id].result) {
        model::StartCommand held;
        held.run = id;
        held.epoch = epoch;
        order(command("forget", held));
      }
    for (auto& [id, run] : runs) {
      if (run.result) continue;
      if (!request.holds.contains(id)) order(start_of(run.start));
      if (!run.wanted.empty()) order(wish(run));
    }
  }
  void take(const model::RunReport& report, model::SyncAnswer& answer) {
    auto found = runs.find(report.run);
    bool refused = std::find(refuses.begin(), refuses.end(), report.run) != refuses.end();
    if (found == runs.end() || found->second.start.epoch != report.epoch || refused) {
      answer.refused[report.run] = "stale_epoch";
      return;
    }
    auto& run = found->second;
    if (run.result) return;
    for (auto& event : report.events) {
      if (event.number <= run.taken) continue;
      run.taken = event.number;
      run.events.push_back(event);
    }
    if (report.result) {
      run.result = report.result;
      order(command("forget", run.start));
    }
  }

  std::deque<model::Command> commands_;
  std::int64_t last_ = 0;
};

/// A command under its supervisor; a step of the world brings it one on.
struct FakeCommand {
  exec::State state;
  std::vector<std::int64_t> writes{40, 60};  ///< bytes it puts out, a step each
  bool never_ends = false;
  std::string told;
  std::int64_t metric_bytes = 0;
};

class World {
 public:
  FakeService service;
  std::map<std::string, std::string> journals;  ///< run -> journal: the disk
  std::map<std::string, FakeCommand> commands;  ///< run -> supervised command
  std::map<std::string, int> launches, backups, notices, halts, saves;
  std::map<std::string, std::vector<std::int64_t>> leases;  ///< as supervisors were told
  std::int64_t needs_us = 0;                                ///< what files need to become safe
  Flushed flush_gives{true, "tree of the backup", 5, 50, {}, {}};
  std::set<std::string> parked;
  std::vector<std::string> logged;
  FakeCommand next_command;  ///< what the next launch runs
  std::map<std::string, Error>
      fails;  ///< action ("save", "build", …) -> its error, while it is in here
  bool mounting_takes_long = false;   ///< it ends only when it is given up
  bool compiling_takes_long = false;  ///< likewise
  bool preparing_takes_long = false;  ///< likewise
  std::string boot = "boot-1";
  std::vector<GpuInfo> gpus{};
  std::int64_t now = 1'000'000;

  std::unique_ptr<Agent> agent;
  int steps = 0, requests = 0;
  int crash_at = -1;           ///< step before which the worker is killed and started again
  int unreachable_at = -1;     ///< number of the request that fails
  bool lost_answer = false;    ///< …after the service has carried it out
  std::int64_t cut_until = 0;  ///< no request arrives before this time

  World() { start_worker(); }

  void start_worker() {
    model::WorkerHello hello;
    hello.boot_id = boot;
    hello.gpus = gpus;
    agent = std::make_unique<Agent>(hello, boot);
    for (auto& [run, text] : journals) {
      auto journal = read_journal(text);
      if (!journal) throw journal.error();
      Actions actions;
      agent->resume(std::move(*journal), commands.contains(run), now, actions);
      add(actions);
    }
    for (auto& [run, command] : commands) {
      Actions actions;
      agent->measured(run, command.metric_bytes, now, actions);
      agent->observed(run, command.state, now, actions);
      add(actions);
    }
  }
  void crash() {
    agent.reset();
    pending_.clear();
    outcomes_.clear();
    start_worker();
  }
  void reboot() {
    boot = "boot-2";
    now = 5'000;
    for (auto& [run, command] : commands) command.state.phase = exec::State::Phase::host_rebooted;
    crash();
  }

  /// What comes from this machine itself.
  template <class What>
  void befall(What what) {
    Actions actions;
    what(*agent, actions);
    add(actions);
  }

  /// Does one thing. False: there is nothing to do but wait for time to pass, and no time that
  /// would help.
  bool step() {
    if (steps++ == crash_at) crash();
    now += 100;
    if (!pending_.empty()) {
      auto action = std::move(pending_.front());
      pending_.pop_front();
      perform(action);
      return true;
    }
    if (!outcomes_.empty()) {
      auto outcome = std::move(outcomes_.front());
      outcomes_.pop_front();
      Actions actions;
      outcome(actions);
      add(actions);
      return true;
    }
    if (auto report = agent->next_report(now)) {
      auto answer = request<model::SyncAnswer>([&] { return service.sync(*report); });
      Actions actions;
      agent->report_answered(answer, now, actions);
      add(actions);
      return true;
    }
    if (poll()) return true;
    for (auto& [run, command] : commands)
      if (go_on(run, command)) return true;
    auto at = agent->wake_at();
    if (!at) return false;
    now = std::max(now, *at);
    Actions actions;
    agent->advance(now, actions);
    add(actions);
    return true;
  }
  /// Until nothing happens any more.
  void run(int limit = 2000) {
    while (step())
      if (--limit == 0) throw std::runtime_error("the world does not come to rest");
  }
  template <class Condition>
  bool run_until(Condition condition, int limit = 2000) {
    while (!condition())
      if (!step() || --limit == 0) return false;
    return true;
  }

 private:
  void add(const Actions& actions) {
    pending_.insert(pending_.end(), actions.begin(), actions.end());
  }

  template <class T, class F>
  Result<T> request(F carry_out) {
    bool fails_now = requests++ == unreachable_at;
    if (now < cut_until) return base::error("service_unreachable", "no answer");
    if (fails_now && !lost_answer) return base::error("service_unreachable", "no answer");
    Result<T> answer = carry_out();
    if (fails_now) return base::error("connection_lost", "cut");
    return answer;
  }

  /// A poll whenever it would tell something: a hello, or commands that were not seen.
  bool poll() {
    if (now < agent->poll_not_before()) {
      now = agent->poll_not_before();
    }
    auto poll = agent->next_poll(1 << 30);
    auto answer = request_poll(poll.request);
    if (!answer) return false;
    Actions actions;
    if (*answer) agent->renewed(poll.session, **answer, now);
    agent->poll_answered(poll.session, *answer, now, actions);
    add(actions);
    return true;
  }
  std::optional<Result<model::SyncAnswer>> request_poll(const model::SyncRequest& poll) {
    if (!poll.hello && now >= cut_until) {
      auto answer = service.sync(poll);
      if (answer && answer->commands.empty()) return std::nullopt;
    }
    return request<model::SyncAnswer>([&] { return service.sync(poll); });
  }

  bool go_on(const std::string& run, FakeCommand& command) {
    using Phase = exec::State::Phase;
    auto& state = command.state;
    if (state.phase != Phase::starting && state.phase != Phase::running) return false;
    if (state.started_us == 0 && command.told.empty()) {
      state.phase = Phase::running;
      state.started_us = now;
    } else if (!command.told.empty() || (command.writes.empty() && !command.never_ends)) {
      state.phase = Phase::ended;
      exec::Exit exit;
      exit.ended_by = command.told;
      exit.code = command.told.empty() ? 0 : 128 + (command.told == "stop" ? 15 : 9);
      exit.time_us = now;
      state.exit = exit;
    } else if (!command.writes.empty()) {
      state.output_bytes += command.writes.front();
      state.spool_end += command.writes.front() + 24;
      command.metric_bytes += 40;
      command.writes.erase(command.writes.begin());
    } else {
      return false;
    }
    Actions actions;
    agent->measured(run, command.metric_bytes, now, actions);
    agent->observed(run, state, now, actions);
    add(actions);
    return true;
  }

  template <class T>
  Result<T> outcome(const std::string& action, Result<T> fine) {
    auto failure = fails.find(action);
    return failure == fails.end() ? fine : Result<T>(failure->second);
  }

  void perform(const Action& action) {
    using Type = Action::Type;
    auto& run = action.run;
    auto then = [&](auto f) { outcomes_.push_back(f); };
    switch (action.type) {
      case Type::create:
        if (fails.contains("create")) {
          std::erase_if(pending_, [&](auto& a) { return a.run == run; });
          return then([this, run, e = fails.at("create")](Actions& out) {
            agent->not_created(run, e, now, out);
          });
        }
        journals[run] = action.text;
        return;
      case Type::append:
        if (journals.contains(run)) journals[run] += action.text;
        return;
      case Type::log:
        logged.push_back(action.text);
        return;
      case Type::build: {
        auto built = outcome<std::vector<std::string>>(
            "build", std::vector<std::string>{"submodule left out"});
        return then([this, run, built](Actions& out) { agent->built(run, built, now, out); });
      }
      case Type::prepare: {
        auto prepared = outcome<std::vector<std::string>>(
            "prepare", std::vector<std::string>{"environment is there"});
        if (preparing_takes_long) return;
        return then(
            [this, run, prepared](Actions& out) { agent->prepared(run, prepared, now, out); });
      }
      case Type::mount: {
        auto mounted = outcome<std::vector<std::string>>(
            "mount", std::vector<std::string>{"Mounted uploads/x to /spell/x"});
        if (mounting_takes_long) return;
        return then([this, run, mounted](Actions& out) { agent->mounted(run, mounted, now, out); });
      }
      case Type::compile: {
        auto compiled = outcome<std::vector<std::string>>(
            "compile", std::vector<std::string>{"Program built with c++"});
        if (compiling_takes_long) return;
        return then(
            [this, run, compiled](Actions& out) { agent->compiled(run, compiled, now, out); });
      }
      case Type::give_up:
        return then([this, run](Actions& out) {
          auto given_up = base::error("canceled", "given up");
          if (preparing_takes_long)
            agent->prepared(run, given_up, now, out);
          else if (compiling_takes_long)
            agent->compiled(run, given_up, now, out);
          else
            agent->mounted(run, given_up, now, out);
        });
      case Type::launch: {
        auto launched = outcome<std::vector<std::string>>("launch", std::vector<std::string>{});
        if (launched) {
          ++launches[run];
          commands[run] = next_command;
        }
        return then([this, run, launched](Actions& out) {
          agent->launched(run, launched, now, out);
          if (launched) agent->observed(run, commands.at(run).state, now, out);
        });
      }
      case Type::stop:
      case Type::kill:
        if (auto command = commands.find(run);
            command != commands.end() && command->second.told != "kill")
          command->second.told = action.type == Type::stop ? "stop"
                                 : action.text.empty()     ? "kill"
                                                           : action.text;
        return;
      case Type::lease:
        leases[run].push_back(std::stoll(action.text));
        return;
      case Type::allow:
        return;
      case Type::notice:
        ++notices[run];
        return;
      case Type::look:
        return then([this, run](Actions& out) { agent->backup_needs(run, needs_us, now, out); });
      case Type::halt: {
        ++halts[run];
        auto flushed = outcome<Flushed>("halt", flush_gives);
        return then([this, run, flushed](Actions& out) { agent->halted(run, flushed, now, out); });
      }
      case Type::ship: {
        std::int64_t bytes = commands.at(run).state.output_bytes;
        auto durable = request<std::int64_t>([&]() -> Result<std::int64_t> {
          auto& stored = service.runs[run].log_bytes;
          return stored = std::min(bytes, stored + 50);
        });
        return then([this, run, durable](Actions& out) { agent->shipped(run, durable, now, out); });
      }
      case Type::ship_metrics: {
        std::int64_t bytes = commands.at(run).metric_bytes;
        auto durable = outcome<std::int64_t>("ship_metrics",
                                             request<std::int64_t>([&]() -> Result<std::int64_t> {
                                               auto& stored = service.runs[run].metric_bytes;
                                               return stored = std::min(bytes, stored + 30);
                                             }));
        return then(
            [this, run, durable](Actions& out) { agent->metrics_shipped(run, durable, now, out); });
      }
      case Type::back_up:
        ++backups[run];
        return;
      case Type::save: {
        ++saves[run];
        auto saved = outcome<Saved>("save", request<Saved>([&]() -> Result<Saved> {
                                      Saved found;
                                      found.tree = "tree of " + run;
                                      found.files = 12;
                                      found.bytes = 3'565'158;
                                      found.fresh_bytes = found.bytes - (1 << 20);
                                      found.new_bytes = 1'258'291;
                                      found.took_us = 800'000;
                                      found.push = !service.runs[run].outputs.contains(found.tree);
                                      return found;
                                    }));
        return then([this, run, saved](Actions& out) { agent->saved(run, saved, now, out); });
      }
      case Type::push: {
        auto pushed = outcome<void>("push", request<void>([&]() -> Result<> {
                                      service.runs[run].outputs.insert("tree of " + run);
                                      return ok();
                                    }));
        return then([this, run, pushed](Actions& out) { agent->pushed(run, pushed, now, out); });
      }
      case Type::remove:
      case Type::park: {
        if (action.type == Type::park) parked.insert(run);
        auto gone = outcome<void>("remove", ok());
        if (gone) {
          journals.erase(run);
          commands.erase(run);
        }
        return then([this, run, gone](Actions& out) { agent->gone(run, gone, now, out); });
      }
      case Type::open_stream:
        return;  // nobody waits at its other end
    }
  }

  std::deque<Action> pending_;
  std::deque<std::function<void(Actions&)>> outcomes_;
};

inline model::StartCommand start_command(
    const std::string& run = "0190a0b0c0d07000800000000000000a", std::int64_t epoch = 1) {
  model::StartCommand start;
  start.run = run;
  start.epoch = epoch;
  start.number = 7;
  start.owner = "ada";
  start.machine = "here";
  start.request.command = "python3 train.py";
  start.request.machine_type = "CPU";
  return start;
}
inline model::StartCommand start_with_mount() {
  auto start = start_command();
  start.request.mounts = {{"uploads/x", ""}};
  start.mounts.emplace_back();
  start.mounts[0].resource = "uploads/x";
  start.mounts[0].at = "/spell/x";
  return start;
}
/// One whose program is built first.
inline model::StartCommand start_with_build() {
  auto start = start_with_mount();
  start.request.build = "pipeline";
  return start;
}
inline model::StartCommand start_with_code() {
  auto start = start_command();
  start.request.code = model::CodeRef{};
  start.request.code->workspace = std::string(40, 'a');
  start.request.code->commit = std::string(40, 'b');
  start.code_url = "file:///code.git";
  return start;
}

/// The id of start_command(), and what is seen of a run that comes to its end.
inline const std::string id = start_command().run;
inline const std::vector<std::string> whole_life{"building", "running", "saving", "pushing"};

/// A step before the start that takes long is given up when the run is not wanted any more.
inline void check_given_up(const model::StartCommand& start, bool World::*takes_long) {
  for (auto* how : {"kill", "stop"}) {
    World world;
    world.*takes_long = true;
    world.service.assign(start);
    world.run();
    CHECK_FALSE(world.service.runs[id].result);
    world.service.want(id, how);
    world.run();
    auto& run = world.service.runs[id];
    REQUIRE(run.result);
    CHECK(run.result->status == "killed");
    CHECK(world.launches[id] == 0);
    CHECK(world.agent->idle());
  }
}

/// Whenever the worker is killed, the run comes to its end, with `line` in its log once.
inline void check_done_anew(const model::StartCommand& start, const std::string& line) {
  for (int crash = 0; crash < 60; ++crash) {
    CAPTURE(crash);
    World world;
    world.crash_at = crash;
    world.service.assign(start);
    world.run();
    auto& run = world.service.runs[id];
    REQUIRE(run.result);
    CHECK(run.result->status == "complete");
    CHECK(run.count(line) == 1);
    CHECK(world.launches[id] == 1);
  }
}

}  // namespace spell::worker::testing
