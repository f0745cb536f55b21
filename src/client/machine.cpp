#include "spell/machine.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/text.hpp"
#include "client/connection.hpp"
#include "client/machine_ranking.hpp"
#include "model/machine_request.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

Result<MachineInfo> edit_machine(Connection& connection, const std::string& name,
                                 const model::MachineEdit& change, const CallOptions& options) {
  return member<MachineInfo>(
      connection.call(
          {.route = Route::edit_machine, .names = {name}, .body = model::to_json(change)}, options),
      "machine");
}

model::MachineTypeRequest type_request(const MachineTypeChange& change) {
  model::MachineTypeRequest request;
  request.spot = change.spot;
  request.default_auto_resume = change.default_auto_resume;
  request.cpus = change.cpus;
  request.memory = change.memory;
  request.gpus = change.gpus;
  if (change.lost_after) request.lost_after = change.lost_after->count();
  request.pool = change.pool;
  request.pool_options = change.pool_options;
  request.min_machines = change.min_machines;
  request.max_machines = change.max_machines;
  if (change.idle_timeout) request.idle_timeout = change.idle_timeout->count();
  if (change.launch_timeout) request.launch_timeout = change.launch_timeout->count();
  if (change.forget_prices) request.price.emplace(), request.spot_price.emplace();
  if (change.price) request.price.emplace(change.price);
  if (change.spot_price) request.spot_price.emplace(change.spot_price);
  if (change.forget_max_unused) request.max_unused.emplace();
  if (change.max_unused) request.max_unused.emplace(change.max_unused);
  return request;
}

}  // namespace

Result<JoinToken> Machines::add(const MachineSpec& spec, CallOptions options) const {
  model::MachineRequest request;
  request.name = spec.name;
  request.serves = spec.serves;
  request.serves_cpu = spec.serves_cpu;
  request.cpus = spec.offers.cpus;
  request.memory = spec.offers.memory;
  request.gpus = spec.offers.gpus;
  request.allow = spec.allow;
  if (spec.lost_after) request.lost_after = spec.lost_after->count();
  return member<JoinToken>(
      connection_->call({.route = Route::create_machine, .body = model::to_json(request)}, options),
      "join");
}

Result<std::vector<MachineInfo>> Machines::list(CallOptions options) const {
  return member<std::vector<MachineInfo>>(
      connection_->call({.route = Route::list_machines}, options), "machines");
}

Result<MachineInfo> Machines::get(const std::string& name, CallOptions options) const {
  return member<MachineInfo>(
      connection_->call({.route = Route::get_machine, .names = {name}}, options), "machine");
}

Result<JoinToken> Machines::get_token(const std::string& name, CallOptions options) const {
  return member<JoinToken>(
      connection_->call({.route = Route::machine_token, .names = {name}}, options), "join");
}

Result<MachineInfo> Machines::drain(const std::string& name, CallOptions options) const {
  return edit_machine(*connection_, name, {.drained = true}, options);
}

Result<MachineInfo> Machines::resume(const std::string& name, CallOptions options) const {
  return edit_machine(*connection_, name, {.drained = false}, options);
}

Result<MachineInfo> Machines::interrupt(const std::string& name, std::chrono::seconds in,
                                        CallOptions options) const {
  return member<MachineInfo>(
      connection_->call({.route = Route::interrupt_machine,
                         .names = {name},
                         .body = model::to_json(model::MachineInterrupt{in.count()})},
                        options),
      "machine");
}

Result<MachineInfo> Machines::rename(const std::string& name, const std::string& to,
                                     CallOptions options) const {
  return edit_machine(*connection_, name, {.name = to}, options);
}

Result<> Machines::remove(const std::string& name, CallOptions options) const {
  return done(connection_->call({.route = Route::delete_machine, .names = {name}}, options));
}

Result<> Machines::remove_with_runs(const std::string& name, CallOptions options) const {
  return done(connection_->call(
      {.route = Route::delete_machine, .names = {name}, .query = {{"with_runs", "1"}}}, options));
}

Result<MachineTypeInfo> MachineTypes::add(const std::string& name, const MachineTypeChange& change,
                                          CallOptions options) const {
  auto request = type_request(change);
  request.name = name;
  return member<MachineTypeInfo>(
      connection_->call({.route = Route::create_machine_type, .body = model::to_json(request)},
                        options),
      "machine_type");
}

Result<std::vector<MachineTypeInfo>> MachineTypes::list(CallOptions options) const {
  return member<std::vector<MachineTypeInfo>>(
      connection_->call({.route = Route::list_machine_types}, options), "machine_types");
}

Result<MachineTypeInfo> MachineTypes::get(const std::string& name, CallOptions options) const {
  auto types = list(options);
  if (!types) return types.error();
  for (auto& type : *types)
    if (base::lower(type.name) == base::lower(name)) return std::move(type);
  return base::error("machine_type_not_found",
                     "there is no machine type '" + name + "'; spell machine-type list shows them");
}

namespace {

constexpr int runs_looked_at = 200;
constexpr std::size_t values_of_a_type = 5;

/// The median, over the newest runs of each type that have it, of the last value of a metric.
Result<MeasuredTypes> measured_by_runs(const std::shared_ptr<Connection>& connection,
                                       const std::string& metric, const CallOptions& options) {
  std::map<std::string, std::vector<double>, std::less<>> values;
  RunFilter newest;
  newest.limit = runs_looked_at;
  newest.with_archived = true;
  for (auto& run : Runs(connection).list(newest, options)) {
    if (!run) return run.error();
    auto& of_type = values[base::lower(run->machine_type)];
    if (!run->started_at || of_type.size() == values_of_a_type) continue;
    auto answer = connection->call(
        {.route = Route::list_metrics, .names = {std::to_string(run->id)}}, options);
    auto names = member<std::vector<MetricInfo>>(answer, "metrics");
    if (!names && names.error().code() == "run_not_found") continue;  // removed meanwhile
    if (!names) return names.error();
    for (auto& info : *names)
      if (info.name == metric && info.last.is_number() && info.last.number() > 0 &&
          std::isfinite(info.last.number()))
        of_type.push_back(info.last.number());
  }
  MeasuredTypes out;
  for (auto& [type, of_type] : values) {
    if (of_type.empty()) continue;
    std::sort(of_type.begin(), of_type.end());
    std::size_t half = of_type.size() / 2;
    double median =
        of_type.size() % 2 == 1 ? of_type[half] : (of_type[half - 1] + of_type[half]) / 2;
    out[type] = {median, static_cast<std::int64_t>(of_type.size())};
  }
  return out;
}

/// What a query is answered from.
struct Known {
  std::vector<MachineTypeInfo> types{};
  MeasuredTypes measured{};
};

Result<Known> known_for(const std::shared_ptr<Connection>& connection, const MachineQuery& query,
                        const CallOptions& options) {
  MachineTypes machine_types(connection);
  Known known;
  auto types = machine_types.list(options);
  if (!types) return types.error();
  known.types = std::move(*types);
  auto catalogue = [&] { return machine_types.catalogue(options); };
  if (auto fine = check_gpu_names(known.types, query, catalogue); !fine) return fine.error();
  if (!query.measured.empty()) {
    auto measured = measured_by_runs(connection, query.measured, options);
    if (!measured) return measured.error();
    known.measured = std::move(*measured);
  }
  return known;
}

}  // namespace

Result<std::vector<RankedMachineType>> MachineTypes::select(const MachineQuery& query,
                                                            CallOptions options) const {
  auto known = known_for(connection_, query, options);
  if (!known) return known.error();
  return rank(known->types, query, known->measured);
}

Result<MachineSelection> MachineTypes::explain(const MachineQuery& query,
                                               CallOptions options) const {
  auto known = known_for(connection_, query, options);
  if (!known) return known.error();
  return detail::explain(known->types, query, known->measured);
}

Result<std::vector<CatalogueEntry>> MachineTypes::catalogue(CallOptions options) const {
  return member<std::vector<CatalogueEntry>>(
      connection_->call({.route = Route::list_catalogue}, options), "catalogue");
}

Result<std::int64_t> MachineTypes::set_prices(const std::string& csv, CallOptions options) const {
  return member<std::int64_t>(
      connection_->call({.route = Route::put_price_list, .body = {{"csv", csv}}}, options),
      "prices");
}

Result<MachineTypeInfo> MachineTypes::scale(const std::string& name,
                                            const MachineTypeChange& change,
                                            CallOptions options) const {
  return member<MachineTypeInfo>(connection_->call({.route = Route::edit_machine_type,
                                                    .names = {name},
                                                    .body = model::to_json(type_request(change))},
                                                   options),
                                 "machine_type");
}

Result<> MachineTypes::remove(const std::string& name, CallOptions options) const {
  return done(connection_->call({.route = Route::delete_machine_type, .names = {name}}, options));
}

Result<JoinToken> MachineTypes::get_token(const std::string& name, CallOptions options) const {
  return member<JoinToken>(
      connection_->call({.route = Route::machine_type_token, .names = {name}}, options), "join");
}

}  // namespace spell
