// Machines as people see and change them.
#include <algorithm>

#include "base/error.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "model/machine_request.hpp"
#include "service/api.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

MachineInfo machine_info(const MachineView& view) {
  auto& machine = view.machine;
  MachineInfo info;
  info.name = machine.name;
  info.id = view.record.id;
  info.connected = machine.connected;
  info.joined = machine.joined || view.record.joined_us != 0;  // one that ends serves nobody
  info.drained = view.record.drained;
  info.cores = view.hello.cores;
  if (machine.by_place) {
    info.places = static_cast<int>(machine.offers.cpus);
    info.busy = static_cast<int>(std::min(machine.used.cpus, machine.offers.cpus));
  }
  info.memory = view.hello.memory;
  info.disk_free = view.hello.disk_free;
  for (auto& type : machine.serves) info.serves.push_back(type == "cpu" ? "CPU" : type);
  info.allow = machine.allow;
  info.capabilities = view.hello.capabilities;
  info.gpus = view.hello.gpus;
  info.offered = machine.offers;
  info.used = machine.used;
  info.runs = view.runs;
  info.version = view.hello.version;
  info.created_at = time_of(view.record.created_us);
  info.joined_at = time_of(view.record.joined_us);
  info.seen_at = time_of(view.record.seen_us);
  info.lost_after = std::chrono::seconds(view.lost_after);
  info.notes = view.hello.notes;
  info.pool = view.record.pool;
  info.phase = view.record.phase;
  info.going_at = time_of(view.record.going_us);
  info.going = view.record.going;
  return info;
}

bool visible(const MachineView& view, const std::string& owner) {
  return view.record.owner.empty() || view.record.owner == owner;
}

/// With a mistyped name nobody could use it.
Result<> check_allowed(State& state, const store::MachineRecord& machine) {
  for (auto& name : machine.allow) {
    auto user = state.writer().find_user(name);
    if (!user) return user.error();
    auto project = state.writer().find_project(machine.owner, name);
    if (!project) return project.error();
    if (!*user && !*project)
      return base::error("invalid_request", "'allow': there is no user and no project '" + name +
                                                "'; `spell user list` and `spell project list` "
                                                "show them");
  }
  return ok();
}

void answer_machine(Context& context, const Call& call, const std::string& name) {
  auto view = context.machines.machine(base::lower(name));
  if (!view || !visible(*view, call->owner())) return refuse(call, no_such_machine(name));
  answer(call, {{"machine", json(machine_info(*view))}});
}

}  // namespace

std::vector<MachineInfo> machine_infos(Context& context, const std::string& owner) {
  std::vector<MachineInfo> out;
  for (auto& view : context.machines.machines())
    if (visible(view, owner)) out.push_back(machine_info(view));
  return out;
}

void list_machines(Context& context, Call call) {
  json list = json::array();
  for (auto& info : machine_infos(context, call->owner())) list.push_back(info);
  answer(call, {{"machines", std::move(list)}});
}

void get_machine(Context& context, Call call) {
  context.machines.when_settled(
      [&context, call] { answer_machine(context, call, call->path.at("name")); });
}

void create_machine(Context& context, Call call) {
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto asked = model::parse_machine_request(*body);
  if (!asked) return refuse(call, asked.error());
  store::MachineRecord record;
  record.id = base::Id::make().text();
  record.owner = call->owner();
  record.name = asked->name;
  record.serves = asked->serves;
  std::erase(record.serves, "cpu");
  // On the personal service CPU means this computer.
  bool team = context.options.kind == ServiceOptions::Kind::team;
  if (asked->serves_cpu && team) record.serves.insert(record.serves.begin(), "cpu");
  record.allow = asked->allow;
  record.cpus = asked->cpus;
  record.memory = asked->memory;
  record.gpus = asked->gpus;
  record.lost_after = asked->lost_after;
  answer_join_token(context, call, "machine.add", record.name,
                    [record, team](State& state, std::int64_t now) mutable -> Result<std::string> {
                      record.created_us = now;
                      if (team) SPELL_TRY(check_allowed(state, record));
                      if (auto made = state.create_machine(record); !made) return made.error();
                      return record.id;
                    });
}

void machine_token(Context& context, Call call) {
  std::string name = call->path.at("name");
  answer_join_token(context, call, "machine.get-token", base::lower(name),
                    [call, name](State& state, std::int64_t) -> Result<std::string> {
                      auto found = state.machines().find(base::lower(name));
                      if (found == state.machines().end() || found->second.embedded ||
                          found->second.record.owner != call->owner())
                        return no_such_machine(name);
                      if (!found->second.record.pool.empty())
                        return base::error("not_permitted", "machine " + name +
                                                                " is the pool's of " +
                                                                found->second.record.pool +
                                                                ", which alone lets it join");
                      return found->second.record.id;
                    });
}

void edit_machine(Context& context, Call call) {
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto edit = model::parse_machine_edit(*body);
  if (!edit) return refuse(call, edit.error());
  std::string name = call->path.at("name");
  context.reactor.post([&context, call, name, edit = *edit](State& state,
                                                            std::int64_t now) -> Reactor::Answer {
    auto changed = state.change_machine(call->owner(), name, {edit.name, edit.drained});
    if (changed && edit.drained)
      changed = audit(state, now, call, *edit.drained ? "machine.drain" : "machine.resume",
                      base::lower(name));
    if (changed && edit.name)
      changed = audit(state, now, call, "machine.rename", base::lower(name), *edit.name);
    return [&context, call, changed, name = edit.name.value_or(name)](const Result<>& committed) {
      if (!changed) return refuse(call, changed.error());
      if (!committed) return refuse(call, committed.error());
      answer_machine(context, call, name);
    };
  });
}

void interrupt_machine(Context& context, Call call) {
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto asked = model::parse_machine_interrupt(*body);
  if (!asked) return refuse(call, asked.error());
  std::string name = call->path.at("name");
  context.reactor.post(
      [&context, call, name, in = asked->in](State& state, std::int64_t now) -> Reactor::Answer {
        auto done =
            state.interrupt_machine(call->owner(), name, in * 1'000'000, call->caller.name, now);
        if (done)
          done = audit(state, now, call, "machine.interrupt", base::lower(name),
                       "in " + std::to_string(in) + " s");
        return [&context, call, done, name](const Result<>& committed) {
          if (!done) return refuse(call, done.error());
          if (!committed) return refuse(call, committed.error());
          answer_machine(context, call, name);
        };
      });
}

void delete_machine(Context& context, Call call) {
  std::string name = call->path.at("name");
  context.reactor.post([call, name](State& state, std::int64_t now) -> Reactor::Answer {
    auto removed = state.remove_machine(call->owner(), name, call->flag("with_runs"), now);
    if (removed) removed = audit(state, now, call, "machine.remove", base::lower(name));
    return [call, removed, name](const Result<>& committed) {
      if (!removed) return refuse(call, removed.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, {{"removed", base::lower(name)}});
    };
  });
}

}  // namespace spell::service
