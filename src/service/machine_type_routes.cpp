// Machine types: those that were declared, and those that machines serve without.
#include <algorithm>
#include <map>
#include <tuple>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/catalogue.hpp"
#include "model/machine_request.hpp"
#include "model/money.hpp"
#include "service/api.hpp"
#include "service/prices.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

std::string shown(const std::string& type) { return type == "cpu" ? "CPU" : type; }

MachineTypeInfo type_info(const store::MachineTypeRecord& type, const PriceList& prices) {
  MachineTypeInfo info;
  info.name = shown(type.name);
  info.spot = type.spot;
  info.default_auto_resume = type.auto_resume;
  info.gives = {type.cpus, type.memory, type.gpus};
  if (type.lost_after > 0) info.lost_after = std::chrono::seconds(type.lost_after);
  info.declared = true;
  info.pool = type.pool;
  if (auto options = model::parse_json(type.pool_options); options && options->is_object())
    info.pool_options = options->get<std::map<std::string, std::string>>();
  info.min_machines = type.min_machines;
  info.max_machines = type.max_machines;
  info.idle_timeout = std::chrono::seconds(type.idle_timeout);
  info.launch_timeout = std::chrono::seconds(type.launch_timeout);
  show_price(info, price_of(type, prices));
  return info;
}

/// What is wrong with its pool.
void look_at_pool(Context& context, const std::string& owner, const std::string& type,
                  MachineTypeInfo& info) {
  if (auto pool = context.machines.pool(owner, type)) info.pool_problem = pool->problem;
}

/// What one of its machines adds to what is known of a type. Type CPU shows no GPU to its runs.
void count_machine(MachineTypeInfo& info, const MachineView& view) {
  auto& machine = view.machine;
  bool embedded = view.record.owner.empty();  // it is there as soon as it is needed
  if (!machine.joined) return;
  ++info.machines;
  info.connected += machine.connected || embedded;
  Amounts offers = machine.offers;
  bool cpu = info.name == "CPU";
  if (cpu) offers.gpus = 0;
  auto order = [](const Amounts& a) { return std::tuple(a.gpus, a.cpus, a.memory); };
  if (info.largest != Amounts() && order(offers) <= order(info.largest)) return;
  info.largest = offers;
  if (cpu || view.hello.gpus.empty()) return;
  info.gpu = view.hello.gpus.front().name;
  info.gpu_memory = view.hello.gpus.front().memory;
}

Error wrong(const std::string& what) { return base::error("invalid_request", what); }

/// Errors `invalid_request`: what makes no pool.
Result<> change_pool(Context& context, store::MachineTypeRecord& type,
                     const model::MachineTypeRequest& asked) {
  bool had_none = type.pool.empty();
  if (asked.pool) type.pool = *asked.pool;
  if (type.pool.empty()) {
    for (auto& [name, given] : {std::pair("pool_options", asked.pool_options.has_value()),
                                std::pair("min_machines", asked.min_machines.has_value()),
                                std::pair("max_machines", asked.max_machines.has_value()),
                                std::pair("idle_timeout", asked.idle_timeout.has_value()),
                                std::pair("launch_timeout", asked.launch_timeout.has_value()),
                                std::pair("max_unused", asked.max_unused.has_value())})
      if (given) return wrong("'" + std::string(name) + "' is a pool's: give 'pool' too");
    type.pool_options.clear();
    type.min_machines = type.max_machines = type.idle_timeout = type.launch_timeout = 0;
    return ok();
  }
  if (asked.pool)
    if (auto program = context.pools.programs().find(type.pool); !program) return program.error();
  if (asked.pool_options)
    type.pool_options = asked.pool_options->empty() ? "" : json(*asked.pool_options).dump();
  type.min_machines = asked.min_machines.value_or(type.min_machines);
  if (had_none) type.max_machines = std::max<std::int64_t>(1, type.min_machines);
  type.max_machines = asked.max_machines.value_or(type.max_machines);
  type.idle_timeout = asked.idle_timeout.value_or(type.idle_timeout);
  type.launch_timeout = asked.launch_timeout.value_or(type.launch_timeout);
  if (type.min_machines > type.max_machines)
    return wrong("'min_machines' (" + std::to_string(type.min_machines) +
                 ") must not be more than 'max_machines' (" + std::to_string(type.max_machines) +
                 ")");
  return ok();
}

Result<> apply_change(Context& context, store::MachineTypeRecord& type,
                      const model::MachineTypeRequest& asked) {
  type.spot = asked.spot.value_or(type.spot);
  type.auto_resume = asked.default_auto_resume.value_or(type.auto_resume);
  type.cpus = asked.cpus.value_or(type.cpus);
  type.memory = asked.memory.value_or(type.memory);
  type.gpus = asked.gpus.value_or(type.gpus);
  type.lost_after = asked.lost_after.value_or(type.lost_after);
  for (auto [change, price] :
       {std::pair(&asked.price, &type.price), std::pair(&asked.spot_price, &type.spot_price)})
    if (*change) *price = (*change)->to ? std::optional((*change)->to->nano) : std::nullopt;
  return change_pool(context, type, asked);
}

/// What it serves; and its own name, where its GPUs are to be had by no type.
std::vector<std::string> names_of(const MachineView& view) {
  auto& machine = view.machine;
  auto names = machine.serves;
  bool only_cpu = std::all_of(names.begin(), names.end(), [](auto& type) { return type == "cpu"; });
  if (machine.joined && machine.offers.gpus > 0 && only_cpu) names.push_back(machine.name);
  return names;
}

PriceList prices_of(const PriceLists& lists, const std::string& owner) {
  auto found = lists.find(owner);
  return found == lists.end() ? no_prices : found->second;
}

Result<PriceList> price_list(Context& context, const std::string& owner) {
  auto records = context.readers.with([](store::Reader& reader) { return reader.prices(); });
  if (!records) return records.error();
  return prices_of(to_price_lists(*records), owner);
}

/// Of a type that machines only serve: what it takes to change it.
Error not_declared(const State& state, const std::string& owner, const std::string& as_given) {
  std::string name = base::lower(as_given);
  bool served = false, is_machine = false;
  for (auto& [key, machine] : state.machines()) {
    auto& record = machine.record;
    if (!record.owner.empty() && record.owner != owner) continue;
    served |= std::find(record.serves.begin(), record.serves.end(), name) != record.serves.end();
    is_machine |= record.name == name;
  }
  auto not_found = [](const std::string& text) {
    return base::error("machine_type_not_found", text);
  };
  if (name == "cpu")
    return not_found(
        "what runs of type CPU get is fixed: a price list says what it costs, see `spell "
        "machine-type prices --help`");
  if (served)
    return not_found("machines serve '" + shown(name) +
                     "', but it is not declared: `spell machine-type add " + shown(name) +
                     "` declares it, with the same options");
  if (is_machine)
    return not_found("'" + name +
                     "' is a machine, no machine type: a price list says what it costs, see "
                     "`spell machine-type prices --help`");
  return no_such_machine_type(as_given);
}

using Change = std::function<Result<store::MachineTypeRecord>(State&, std::int64_t now)>;

/// "price 3.06, max_unused none": for the record of who did what.
std::string prices_in(const model::MachineTypeRequest& asked) {
  std::vector<std::string> parts;
  for (auto [name, change] :
       {std::pair("price ", &asked.price), std::pair("spot_price ", &asked.spot_price)})
    if (*change)
      parts.push_back(name + ((*change)->to ? model::dollars_text(*(*change)->to) : "none"));
  if (auto& cap = asked.max_unused)
    parts.push_back("max_unused " + (cap->to ? model::dollars_text(*cap->to) : "none"));
  return base::join(parts, ", ");
}

/// Stores a type that is made or changed, with the cap on what its pool's machines cost.
Result<store::MachineTypeRecord> put_type(State& state, const store::MachineTypeRecord& type,
                                          const model::MachineTypeRequest& asked, bool replace,
                                          std::int64_t now) {
  auto amount = asked.max_unused ? asked.max_unused->to : std::nullopt;
  bool dropped = type.pool.empty() || (asked.max_unused && !amount);
  if (!dropped && (amount || (replace && state.has_max_unused(type.owner, type.name))))
    SPELL_TRY(state.check_max_unused(type, amount));
  SPELL_TRY(state.put_machine_type(type, replace));
  if (amount || dropped) SPELL_TRY(state.set_max_unused(type.owner, type.name, amount, now));
  return type;
}

void show_unused(MachineTypeInfo& info, const std::map<std::string, BudgetUse>& uses,
                 const std::string& type) {
  auto found = uses.find(type);
  if (found == uses.end()) return;
  info.max_unused = Dollars::nanos(found->second.record.amount);
  info.unused_spent = model::rounded(found->second.spent);
  info.unused_reserved = model::rounded(found->second.reserved);
}

void post(Context& context, Call call, int status, const std::string& action,
          const std::string& detail, Change what) {
  context.reactor.post([&context, call, status, action, detail, what = std::move(what)](
                           State& state, std::int64_t now) -> Reactor::Answer {
    auto type = what(state, now);
    if (type)
      if (auto noted = audit(state, now, call, action, type->name, detail); !noted)
        type = noted.error();
    PriceList prices = type ? prices_of(state.price_lists(), type->owner) : no_prices;
    auto uses = state.unused_uses(call->owner(), now);
    if (type && !uses) type = uses.error();
    return [&context, call, status, type, prices, uses](const Result<>& committed) {
      if (!type) return refuse(call, type.error());
      if (!committed) return refuse(call, committed.error());
      auto info = type_info(*type, prices);
      show_unused(info, *uses, type->name);
      look_at_pool(context, type->owner, type->name, info);
      for (auto& view : context.machines.machines())
        if (sched::serves(view.machine, type->name)) count_machine(info, view);
      show_catalogue(info, *type);
      answer(call, {{"machine_type", json(info)}}, status);
    };
  });
}

Result<model::MachineTypeRequest> request_of(const Call& call) {
  auto body = body_object(call);
  if (!body) return body.error();
  return model::parse_machine_type_request(*body);
}

}  // namespace

namespace {

/// What is known of an owner's types at one moment.
struct Known {
  std::map<std::string, store::MachineTypeRecord> declared{};
  PriceList prices{};
  std::map<std::string, BudgetUse> unused{};
};

json types_json(Context& context, const std::string& owner, Known known) {
  std::map<std::string, MachineTypeInfo> infos;
  auto& records = known.declared;
  for (auto& [name, type] : records) {
    auto& info = infos[name] = type_info(type, known.prices);
    look_at_pool(context, owner, name, info);
    show_unused(info, known.unused, name);
  }
  for (auto& view : context.machines.machines()) {
    if (!view.record.owner.empty() && view.record.owner != owner) continue;
    for (auto& type : names_of(view)) {
      auto [at, is_new] = infos.try_emplace(type);
      if (is_new) {
        auto& record = records[type];
        record.name = type;
        at->second.name = shown(type);
        show_price(at->second, price_of(record, known.prices));
      }
      count_machine(at->second, view);
    }
  }
  for (auto& [name, info] : infos) show_catalogue(info, records[name]);
  json list = json::array();
  for (auto& [name, info] : infos) list.push_back(info);
  return list;
}

}  // namespace

void list_machine_types(Context& context, Call call) {
  context.reactor.post([&context, call](State& state, std::int64_t now) -> Reactor::Answer {
    auto owner = call->owner();
    Known known;
    for (auto& [key, type] : state.machine_types())
      if (key.first == owner) known.declared[key.second] = type;
    known.prices = prices_of(state.price_lists(), owner);
    auto uses = state.unused_uses(owner, now);
    if (uses) known.unused = *uses;
    return [&context, call, known, uses](const Result<>& committed) {
      if (!uses) return refuse(call, uses.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, {{"machine_types", types_json(context, call->owner(), known)}});
    };
  });
}

void create_machine_type(Context& context, Call call) {
  auto asked = request_of(call);
  if (!asked) return refuse(call, asked.error());
  if (!asked->name) return refuse(call, base::error("invalid_request", "'name' is missing"));
  post(context, call, 201, "machine-type.add", prices_in(*asked),
       [&context, call, asked = *asked](State& state,
                                        std::int64_t now) -> Result<store::MachineTypeRecord> {
         store::MachineTypeRecord type;
         type.owner = call->owner();
         type.name = *asked.name;
         type.created_us = now;
         if (auto changed = apply_change(context, type, asked); !changed) return changed.error();
         return put_type(state, type, asked, false, now);
       });
}

void edit_machine_type(Context& context, Call call) {
  auto asked = request_of(call);
  if (!asked) return refuse(call, asked.error());
  if (asked->name)
    return refuse(call, base::error("invalid_request", "'name' of a machine type cannot change"));
  post(context, call, 200, "machine-type.scale", prices_in(*asked),
       [&context, call, asked = *asked](State& state,
                                        std::int64_t now) -> Result<store::MachineTypeRecord> {
         std::string name = call->path.at("name");
         auto found = state.machine_types().find({call->owner(), base::lower(name)});
         if (found == state.machine_types().end()) return not_declared(state, call->owner(), name);
         auto type = found->second;
         if (auto changed = apply_change(context, type, asked); !changed) return changed.error();
         return put_type(state, type, asked, true, now);
       });
}

void delete_machine_type(Context& context, Call call) {
  std::string name = base::lower(call->path.at("name"));
  context.reactor.post([call, name](State& state, std::int64_t now) -> Reactor::Answer {
    auto removed = state.remove_machine_type(call->owner(), name);
    if (removed) removed = audit(state, now, call, "machine-type.delete", name);
    return [call, removed, name](const Result<>& committed) {
      if (!removed) return refuse(call, removed.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, {{"removed", name}});
    };
  });
}

void machine_type_token(Context& context, Call call) {
  std::string name = base::lower(call->path.at("name"));
  answer_join_token(context, call, "machine-type.get-token", name,
                    [call, name](State& state, std::int64_t) -> Result<std::string> {
                      auto& types = state.machine_types();
                      bool declared = types.contains({call->owner(), name}) || name == "cpu";
                      bool served = std::any_of(
                          state.machines().begin(), state.machines().end(), [&](auto& entry) {
                            auto& serves = entry.second.record.serves;
                            return entry.second.record.owner == call->owner() &&
                                   std::find(serves.begin(), serves.end(), name) != serves.end();
                          });
                      if (!declared && !served) return no_such_machine_type(call->path.at("name"));
                      return "type:" + call->owner() + "/" + name;
                    });
}

void list_catalogue(Context& context, Call call) {
  auto prices = price_list(context, call->owner());
  if (!prices) return refuse(call, prices.error());
  answer(call, {{"catalogue", priced_catalogue(*prices)}});
}

void put_price_list(Context& context, Call call) {
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto csv = model::parse_price_list_request(*body);
  if (!csv) return refuse(call, csv.error());
  auto list = model::parse_price_list(*csv);
  if (!list) return refuse(call, list.error());
  if (list->empty() && !csv->empty())
    return refuse(call, wrong("the price list has no price; an empty text takes the list back"));
  context.reactor.post(
      [call, list = std::move(*list)](State& state, std::int64_t now) -> Reactor::Answer {
        auto done = state.put_prices(call->owner(), list);
        if (done)
          done = audit(state, now, call, list.empty() ? "prices.rm" : "prices.set", "prices",
                       base::count(static_cast<std::int64_t>(list.size()), "price"));
        return [call, done, count = list.size()](const Result<>& committed) {
          if (!done) return refuse(call, done.error());
          if (!committed) return refuse(call, committed.error());
          answer(call, {{"prices", count}});
        };
      });
}

}  // namespace spell::service
