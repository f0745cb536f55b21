#include "model/machine_request.hpp"

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/members.hpp"
#include "model/money.hpp"

namespace spell::model {

template <>
struct Table<MachineRequest> {
  static constexpr Field<MachineRequest> fields[] = {
      SPELL_REQUIRED(MachineRequest, name), SPELL_MEMBER(MachineRequest, serves),
      SPELL_MEMBER(MachineRequest, allow),  SPELL_MEMBER(MachineRequest, serves_cpu),
      SPELL_MEMBER(MachineRequest, cpus),   SPELL_MEMBER(MachineRequest, memory),
      SPELL_MEMBER(MachineRequest, gpus),   SPELL_MEMBER(MachineRequest, lost_after),
  };
};

template <>
struct Table<MachineEdit> {
  static constexpr Field<MachineEdit> fields[] = {
      SPELL_MEMBER(MachineEdit, name),
      SPELL_MEMBER(MachineEdit, drained),
  };
};

template <>
struct Codec<PriceChange> {
  static Problem read(const json& j, PriceChange& out) {
    if (j.is_string() && j.get_ref<const std::string&>().empty()) return out.to.reset(), Problem{};
    return read_price(j, out.to.emplace());
  }
  static json write(const PriceChange& change) {
    return change.to ? Codec<Dollars>::write(*change.to) : json("");
  }
};

template <>
struct Codec<CapChange> {
  static Problem read(const json& j, CapChange& out) {
    if (j.is_string() && j.get_ref<const std::string&>().empty()) return out.to.reset(), Problem{};
    if (auto problem = Codec<Dollars>::read(j, out.to.emplace())) return problem;
    if (out.to->nano == 0) return {"", "must be more than 0 dollars"};
    return {};
  }
  static json write(const CapChange& change) {
    return change.to ? Codec<Dollars>::write(*change.to) : json("");
  }
};

template <>
struct Table<MachineTypeRequest> {
  static constexpr Field<MachineTypeRequest> fields[] = {
      SPELL_MEMBER(MachineTypeRequest, name),
      SPELL_MEMBER(MachineTypeRequest, spot),
      SPELL_MEMBER(MachineTypeRequest, default_auto_resume),
      SPELL_MEMBER(MachineTypeRequest, cpus),
      SPELL_MEMBER(MachineTypeRequest, memory),
      SPELL_MEMBER(MachineTypeRequest, gpus),
      SPELL_MEMBER(MachineTypeRequest, lost_after),
      SPELL_MEMBER(MachineTypeRequest, pool),
      SPELL_MEMBER(MachineTypeRequest, pool_options),
      SPELL_MEMBER(MachineTypeRequest, min_machines),
      SPELL_MEMBER(MachineTypeRequest, max_machines),
      SPELL_MEMBER(MachineTypeRequest, idle_timeout),
      SPELL_MEMBER(MachineTypeRequest, launch_timeout),
      SPELL_MEMBER(MachineTypeRequest, price),
      SPELL_MEMBER(MachineTypeRequest, spot_price),
      SPELL_MEMBER(MachineTypeRequest, max_unused),
  };
};

template <>
struct Table<MachineInterrupt> {
  static constexpr Field<MachineInterrupt> fields[] = {
      SPELL_MEMBER(MachineInterrupt, in),
  };
};

namespace {

struct PriceListRequest {
  std::string csv{};
};

}  // namespace

template <>
struct Table<PriceListRequest> {
  static constexpr Field<PriceListRequest> fields[] = {
      SPELL_REQUIRED(PriceListRequest, csv),
  };
};

namespace {

constexpr std::int64_t most_machines = 10'000;  // of a pool

Error wrong_field(const std::string& field, const std::string& what) {
  return base::error("invalid_request", "'" + field + "' " + what);
}

Result<> check_name(const std::string& field, std::string& name) {
  if (!base::valid_name(name))
    return wrong_field(field, "must be 1 to 64 letters, digits, '.', '_' and '-'");
  name = base::lower(name);
  return ok();
}

Result<> check_range(const std::string& field, std::int64_t value, std::int64_t most) {
  if (value < 0 || value > most)
    return wrong_field(field, "must be a whole number from 0 to " + std::to_string(most));
  return ok();
}

Result<> check_amounts(std::int64_t cpus, std::int64_t memory, std::int64_t gpus,
                       std::int64_t lost_after) {
  SPELL_TRY(check_range("cpus", cpus, 1 << 20));
  SPELL_TRY(check_range("memory", memory, integer_limit));
  SPELL_TRY(check_range("gpus", gpus, 1 << 20));
  return check_range("lost_after", lost_after, year);
}

/// They become variables of a program's environment.
Result<> check_pool_options(const std::map<std::string, std::string>& options) {
  if (options.size() > 100) return wrong_field("pool_options", "has more than 100 names");
  std::set<std::string> names;
  for (auto& [name, value] : options) {
    bool fine =
        !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '_';
        });
    if (!fine)
      return wrong_field("pool_options", "has a name that is not 1 to 64 letters, digits and '_'");
    if (!names.insert(base::lower(name)).second)
      return wrong_field("pool_options", "has '" + name + "' twice: case does not matter");
    if (value.size() > 4096 || !base::valid_text(value) || value.find('\n') != value.npos)
      return wrong_field("pool_options",
                         "has a value of '" + name + "' that is not a line of text");
  }
  return ok();
}

template <class T>
Result<T> read_request(const json& j) {
  T request;
  if (auto problem = read_value(j, request, Unknown::refuse))
    return problem.error("invalid_request");
  return request;
}

/// What was not given stays away.
json without_nulls(json object) {
  for (auto at = object.begin(); at != object.end();)
    at = at->is_null() ? object.erase(at) : std::next(at);
  return object;
}

}  // namespace

json to_json(const MachineRequest& request) { return write_object(request); }
json to_json(const MachineEdit& edit) { return without_nulls(write_object(edit)); }
json to_json(const MachineInterrupt& asked) { return write_object(asked); }
json to_json(const MachineTypeRequest& request) { return without_nulls(write_object(request)); }

Result<MachineRequest> parse_machine_request(const json& j) {
  auto request = read_request<MachineRequest>(j);
  if (!request) return request;
  SPELL_TRY(check_name("name", request->name));
  for (auto* list : {&request->serves, &request->allow}) {
    std::string field = list == &request->serves ? "serves" : "allow";
    if (list->size() > 100) return wrong_field(field, "has more than 100 names");
    for (auto& name : *list) {
      std::string as_given = name;
      SPELL_TRY(check_name(field, name));
      if (list == &request->allow) name = as_given;  // users and projects have their case
    }
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  SPELL_TRY(check_amounts(request->cpus, request->memory, request->gpus, request->lost_after));
  return request;
}

Result<MachineEdit> parse_machine_edit(const json& j) {
  auto edit = read_request<MachineEdit>(j);
  if (edit && edit->name) SPELL_TRY(check_name("name", *edit->name));
  return edit;
}

Result<MachineInterrupt> parse_machine_interrupt(const json& j) {
  auto asked = read_request<MachineInterrupt>(j);
  if (asked) SPELL_TRY(check_range("in", asked->in, day));
  return asked;
}

Result<MachineTypeRequest> parse_machine_type_request(const json& j) {
  auto request = read_request<MachineTypeRequest>(j);
  if (!request) return request;
  if (request->name) SPELL_TRY(check_name("name", *request->name));
  SPELL_TRY(check_amounts(request->cpus.value_or(0), request->memory.value_or(0),
                          request->gpus.value_or(0), request->lost_after.value_or(0)));
  SPELL_TRY(check_range("min_machines", request->min_machines.value_or(0), most_machines));
  SPELL_TRY(check_range("max_machines", request->max_machines.value_or(0), most_machines));
  SPELL_TRY(check_range("idle_timeout", request->idle_timeout.value_or(0), year));
  SPELL_TRY(check_range("launch_timeout", request->launch_timeout.value_or(0), year));
  if (request->pool && (request->pool->size() > 4096 || !base::valid_text(*request->pool)))
    return wrong_field("pool", "must be the name of a pool or the path of a program");
  if (request->pool_options) SPELL_TRY(check_pool_options(*request->pool_options));
  return request;
}

Result<std::string> parse_price_list_request(const json& j) {
  auto request = read_request<PriceListRequest>(j);
  if (!request) return request.error();
  return std::move(request->csv);
}

}  // namespace spell::model
