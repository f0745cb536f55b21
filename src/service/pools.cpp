#include "service/pools.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/pipe.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "model/run.hpp"
#include "proc/run.hpp"
#include "service/caller.hpp"

extern char** environ;

namespace spell::service {

namespace {

constexpr std::int64_t second_ns = 1'000'000'000;
constexpr std::chrono::seconds usual_launch{600}, terminate_limit{300}, list_limit{120};
constexpr int try_later = 75, wrong_configuration = 78;  // EX_TEMPFAIL, EX_CONFIG of sysexits.h
constexpr std::size_t longest_problem = 500;

std::string real_path(const std::string& path) {
  std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), ::free);
  return real ? real.get() : "";
}

/// What others could change is not called.
Result<> check_safe(const std::string& path, bool folder) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return base::errno_error("look at " + path);
  bool sticky = folder && (st.st_mode & S_ISVTX) != 0;
  if (st.st_uid != 0 && st.st_uid != ::geteuid())
    return base::error("invalid_request",
                       "'pool': " + path + " belongs to another user than root and the service's");
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !sticky)
    return base::error("invalid_request", "'pool': others may write to " + path +
                                              "; `chmod go-w` makes it the service's alone");
  return ok();
}

std::string last_line(const std::string& text) {
  auto trimmed = base::trim(text);
  auto line = base::trim(trimmed.substr(trimmed.rfind('\n') + 1));
  return model::one_line(base::to_utf8(line), longest_problem);
}

/// When the last of the type's machines went that are away; 0: all are there.
std::int64_t went(const State& state, const store::MachineTypeRecord& type,
                  const std::set<std::string>& busy) {
  std::int64_t went_us = 0;
  for (auto& [name, machine] : state.machines()) {
    auto& record = machine.record;
    if (record.pool == type.name && record.owner == type.owner && record.phase == "up" &&
        !machine.connected && !busy.contains(record.id))
      went_us = std::max({went_us, record.seen_us, record.phase_us});
  }
  return went_us;
}

/// What machines of this type carry.
std::string tag_of(const std::string& service, const store::MachineTypeRecord& type) {
  return service + "-" + base::hex(base::sha256(type.owner + "/" + type.name)).substr(0, 8);
}

}  // namespace

std::vector<std::string> PoolPrograms::names() const {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(folder_.c_str()), ::closedir);
  while (dirent* entry = list ? ::readdir(list.get()) : nullptr)
    if (std::string name = entry->d_name; name.find('.') == name.npos) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::string> PoolPrograms::find(const std::string& pool) const {
  if (!pool.starts_with('/')) {
    auto there = names();
    if (std::find(there.begin(), there.end(), pool) != there.end()) return folder_ + "/" + pool;
    return base::error(
        "invalid_request",
        "'pool': there is no pool '" + model::one_line(pool, 100) + "'; " +
            (there.empty() ? "give" : "there are " + base::join(there, ", ") + ", or") +
            " the absolute path of a program on the service's computer");
  }
  std::string path = real_path(pool);
  struct stat st {};
  if (path.empty() || ::stat(path.c_str(), &st) != 0)
    return base::error("invalid_request",
                       "'pool': there is no file " + pool + " on the service's computer");
  if (!S_ISREG(st.st_mode) || ::access(path.c_str(), X_OK) != 0)
    return base::error("invalid_request", "'pool': " + pool + " is no program");
  SPELL_TRY(check_safe(path, false));
  SPELL_TRY(check_safe(path.substr(0, std::max<std::size_t>(1, path.rfind('/'))), true));
  return path;
}

Pools::Pools(Options options, Reactor& reactor, Timer& timer)
    : options_(std::move(options)), programs_(options_.programs), reactor_(reactor), timer_(timer) {
  auto made = base::make_pipe();
  if (!made) return;  // then calls last until their limits
  stop_ = std::move(made->read);
  stopped_ = std::move(made->write);
}

void Pools::stop() {
  stopped_.reset();
  launches_.stop();
  others_.stop();
}

void Pools::log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

void Pools::wake_at(std::int64_t at_ns) {
  if (!wakes_.insert(at_ns).second) return;
  auto left = std::chrono::nanoseconds(std::max<std::int64_t>(0, at_ns - base::boot_ns()));
  timer_.after(std::chrono::ceil<std::chrono::milliseconds>(left), [this, at_ns] {
    reactor_.post([this, at_ns](State&, std::int64_t) -> Reactor::Answer {
      wakes_.erase(at_ns);
      return {};
    });
  });
}

/// Until the next try.
std::int64_t Pools::pause(Delay& delay) {
  std::int64_t seconds =
      std::min<std::int64_t>(300, std::int64_t{1} << std::min(delay.failures, 20));
  ++delay.failures;
  return delay.until_ns = base::boot_ns() + seconds * second_ns;
}

void Pools::refresh(State& state) {
  std::int64_t now = base::boot_ns();
  bool idle = busy_.empty();
  std::set<TypeKey> pooled;
  for (auto& [key, type] : state.machine_types()) {
    if (type.pool.empty()) continue;
    pooled.insert(key);
    auto& listing = listings_[key];
    idle = idle && !listing.running;
    if (listing.running) continue;
    // One that went is looked for at once.
    std::int64_t due = listing.due_ns;
    if (listing.began_us != 0 && went(state, type, busy_) > listing.began_us) due = 0;
    due = std::max(due, listing.delay.until_ns);
    if (now >= due)
      list(type);
    else
      wake_at(due);
  }
  std::erase_if(listings_, [&](auto& entry) {
    return !entry.second.running && !pooled.contains(entry.first);
  });
  for (auto& task : state.pool_tasks()) {
    idle = false;
    auto type = state.machine_types().find({task.owner, task.type});
    if (type == state.machine_types().end() || busy_.contains(task.id)) continue;
    // One that goes later has that long to bring its runs to their ends.
    auto& machine = *state.machine_by_id(task.id);
    if (machine.record.going_us > base::unix_us() && !machine.assigned.empty()) continue;
    if (task.kind == PoolTask::Kind::launch)
      launch(type->second, task);
    else
      terminate(type->second, task.id, task.name);
  }
  idle_ = idle && std::none_of(state.machines().begin(), state.machines().end(),
                               [](auto& entry) { return !entry.second.record.pool.empty(); });
}

void Pools::launch(const store::MachineTypeRecord& type, const PoolTask& task) {
  busy_.insert(task.id);
  auto limit = type.launch_timeout > 0 ? std::chrono::seconds(type.launch_timeout) : usual_launch;
  auto made = make_token("spj_", base::unix_us());
  auto token = made.record;
  token.kind = "join";
  token.name = task.name;
  token.machine = task.id;
  token.expires_us =
      token.created_us + std::chrono::microseconds(limit + std::chrono::seconds(60)).count();
  Call what{type, "launch", task.name, made.text, limit};
  if (auto fingerprint = options_.fingerprint(); !fingerprint.empty())
    what.token += "." + fingerprint;
  reactor_.post([this, id = task.id, token, what](State& state, std::int64_t) -> Reactor::Answer {
    auto wanted = state.pool_launches(id, token);
    return [this, id, what, wanted](const Result<>& committed) {
      if (!committed || !wanted || !*wanted) {
        busy_.erase(id);
        // Tried again after a while; what keeps it from being stored has been said.
        return wake_at(base::boot_ns() + (committed && wanted ? 0 : second_ns));
      }
      log("pool " + what.type.name + ": launches " + what.name);
      launches_.post([this, id, what] {
        auto outcome = call(what);
        reactor_.post([this, id, what, outcome](State& s, std::int64_t now) -> Reactor::Answer {
          Result<> failed = ok();
          if (outcome.done)
            s.pool_launched(id, now);
          else
            failed = s.pool_launch_failed(id, outcome.problem, outcome.configuration, now);
          return [this, id, what, outcome, failed](const Result<>& stored) {
            if (!outcome.done) log("pool " + what.type.name + ": " + outcome.problem);
            busy_.erase(id);
            wake_at(base::boot_ns() + (stored && failed ? 0 : second_ns));
          };
        });
      });
    };
  });
}

void Pools::terminate(const store::MachineTypeRecord& type, const std::string& id,
                      const std::string& name) {
  std::string key = id.empty() ? name : id;
  if (auto delayed = ends_.find(key);
      delayed != ends_.end() && base::boot_ns() < delayed->second.until_ns)
    return wake_at(delayed->second.until_ns);
  if (!busy_.insert(key).second) return;
  log("pool " + type.name + ": ends " + name);
  others_.post([this, key, id, what = Call{type, "terminate", name, "", terminate_limit}] {
    auto outcome = call(what);
    reactor_.post([this, key, id, what, outcome](State& state,
                                                 std::int64_t now) -> Reactor::Answer {
      Result<> gone = ok();
      const std::string &owner = what.type.owner, &of = what.type.name;
      if (!outcome.done) {
        std::string problem = "machine " + what.name + " could not be ended: " + outcome.problem;
        log("pool " + of + ": " + problem);
        state.set_pool_problem(owner, of, problem);
      } else {
        if (ends_.contains(key)) state.set_pool_problem(owner, of, "");
        if (!id.empty()) gone = state.pool_ended(id, now);
      }
      return [this, key, outcome, gone](const Result<>& committed) {
        busy_.erase(key);
        bool done = outcome.done && committed && gone;
        if (done) ends_.erase(key);
        wake_at(done ? base::boot_ns() : pause(ends_[key]));
      };
    });
  });
}

void Pools::list(const store::MachineTypeRecord& type) {
  auto& listing = listings_[{type.owner, type.name}];
  listing.running = true;
  listing.began_us = base::unix_us();
  others_.post([this, what = Call{type, "list", "", "", list_limit}] {
    auto outcome = call(what);
    reactor_.post([this, what, outcome](State& state, std::int64_t now) -> Reactor::Answer {
      take_list(state, what.type, outcome, now);
      return {};
    });
  });
}

void Pools::take_list(State& state, const store::MachineTypeRecord& type, const Outcome& outcome,
                      std::int64_t now_us) {
  auto& listing = listings_[{type.owner, type.name}];
  listing.running = false;
  listing.due_ns = base::boot_ns() + options_.check.count() * second_ns;
  std::set<std::string> names;
  std::string problem = outcome.problem;
  if (outcome.done) {
    auto parsed = model::parse_json(outcome.output, 4 << 20);
    bool fine = parsed && parsed->is_object() && parsed->contains("machines") &&
                (*parsed)["machines"].is_array();
    if (fine)
      for (auto& machine : (*parsed)["machines"]) {
        bool named = machine.is_object() && machine.contains("name") &&
                     machine["name"].is_string() && base::valid_name(std::string(machine["name"]));
        fine = fine && named;
        if (named) names.insert(std::string(machine["name"]));
      }
    if (!fine) problem = "its list is not {\"machines\": [{\"name\": …}, …]}";
  }
  if (!problem.empty()) {
    problem = "what is there could not be listed: " + problem;
    log("pool " + type.name + ": " + problem);
    state.set_pool_problem(type.owner, type.name, problem);
    listing.failed = true;
    pause(listing.delay);
    listing.due_ns = 0;
    return;
  }
  if (std::exchange(listing.failed, false)) state.set_pool_problem(type.owner, type.name, "");
  listing.delay = {};
  // Of a pool that has another program now nothing is known.
  auto declared = state.machine_types().find({type.owner, type.name});
  if (declared == state.machine_types().end() || declared->second.pool != type.pool ||
      declared->second.pool_options != type.pool_options) {
    listing.due_ns = 0;
    return;
  }
  // Those of which a call is about have their own word.
  for (auto& [name, machine] : state.machines())
    if (machine.record.pool == type.name && machine.record.owner == type.owner &&
        busy_.contains(machine.record.id))
      names.insert(name);
  auto strangers = state.pool_listed(type.owner, type.name, names, listing.began_us, now_us);
  if (!strangers) return log("pool " + type.name + ": " + strangers.error().message());
  for (auto& name : *strangers) terminate(type, "", name);
  // What is away, but listed, is looked for again and again, ever less often: its connection may
  // have closed before it was gone.
  if (auto went_us = went(state, type, busy_); went_us != 0)
    listing.due_ns = std::min(
        listing.due_ns, base::boot_ns() + std::max(second_ns, (base::unix_us() - went_us) * 1000));
}

Pools::Outcome Pools::call(const Call& what) const {
  Outcome outcome;
  auto& type = what.type;
  auto program = programs_.find(type.pool);
  std::string folder = options_.folder + "/" + type.owner + "/" + type.name;
  auto made = base::make_folders(folder);
  if (!program || !made) {
    outcome.configuration = !program;
    outcome.problem = (program ? made.error() : program.error()).message();
    return outcome;
  }
  proc::RunOptions run;
  run.spawn.arguments = {*program, what.action};
  run.spawn.folder = folder;
  run.spawn.new_session = true;
  run.limit = what.limit;
  run.output_limit = 4 << 20;
  run.stop_fd = stop_.get();
  for (char** entry = environ; entry && *entry; ++entry)
    if (!std::string_view(*entry).starts_with("SPELL_")) run.spawn.environment.emplace_back(*entry);
  auto set = [&](const std::string& name, const std::string& value) {
    run.spawn.environment.push_back("SPELL_POOL_" + name + "=" + value);
  };
  set("TYPE", type.name);
  set("OWNER", type.owner);
  set("TAG", tag_of(options_.tag, type));
  set("SPOT", type.spot ? "1" : "0");
  set("FOLDER", folder);
  set("WORKER", options_.worker);
  set("PERSONAL", options_.personal ? "1" : "0");
  if (!what.name.empty()) set("NAME", what.name);
  if (what.action == "launch") {
    set("URL", options_.url());
    set("INSTALL", options_.install());
    if (!options_.socket.empty()) set("SOCKET_URL", "unix:" + options_.socket);
    run.input = what.token + "\n";
  }
  if (auto given = model::parse_json(type.pool_options); given && given->is_object())
    for (auto& [name, value] : given->items()) {
      std::string upper = name;
      for (char& c : upper) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
      set("OPTION_" + upper, value.get<std::string>());
    }
  auto ended = proc::run(run);
  if (!ended) {
    outcome.problem = ended.error().message();
    return outcome;
  }
  using How = proc::Ended::How;
  outcome.output = std::move(ended->output);
  outcome.done = ended->how == How::exited && ended->code == 0;
  outcome.configuration = ended->how == How::exited && ended->code == wrong_configuration;
  if (outcome.done) return outcome;
  std::string how = ended->how == How::timed_out
                        ? "no end within " + std::to_string(what.limit.count()) + " s"
                    : ended->how == How::stopped         ? "the service has ended"
                    : ended->how == How::talked_too_much ? "it prints more than 4 MiB"
                    : ended->how == How::signalled       ? "signal " + std::to_string(ended->code)
                    : ended->code == try_later           ? "there is no capacity"
                                               : "exit status " + std::to_string(ended->code);
  // A token never stands in what people see, whatever a program prints.
  std::string said = last_line(ended->errors);
  if (!what.token.empty() && said.find("spj_") != said.npos) said.clear();
  outcome.problem = said;
  if (said.empty() || ended->how != How::exited)
    outcome.problem = what.action + ": " + how + (said.empty() ? "" : ": " + said);
  return outcome;
}

}  // namespace spell::service
