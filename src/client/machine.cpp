#include "spell/machine.hpp"

#include "client/connection.hpp"
#include "client/machine_ranking.hpp"
#include "model/machine_request.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

template <class T>
Result<T> member_of(const Result<json>& answer, const char* name) {
  if (!answer) return answer.error();
  return member<T>(*answer, name);
}

Result<MachineInfo> edit(Connection& connection, const std::string& name,
                         const model::MachineEdit& change, const CallOptions& options) {
  return member_of<MachineInfo>(
      connection.call(
          {.route = Route::edit_machine, .names = {name}, .body = model::to_json(change)}, options),
      "machine");
}

Result<> done(const Result<json>& answer) {
  if (!answer) return answer.error();
  return ok();
}

model::MachineTypeRequest request_of(const MachineTypeChange& change) {
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
  return member_of<JoinToken>(
      connection_->call({.route = Route::create_machine, .body = model::to_json(request)}, options),
      "join");
}

Result<std::vector<MachineInfo>> Machines::list(CallOptions options) const {
  return member_of<std::vector<MachineInfo>>(
      connection_->call({.route = Route::list_machines}, options), "machines");
}

Result<MachineInfo> Machines::get(const std::string& name, CallOptions options) const {
  return member_of<MachineInfo>(
      connection_->call({.route = Route::get_machine, .names = {name}}, options), "machine");
}

Result<JoinToken> Machines::get_token(const std::string& name, CallOptions options) const {
  return member_of<JoinToken>(
      connection_->call({.route = Route::machine_token, .names = {name}}, options), "join");
}

Result<MachineInfo> Machines::drain(const std::string& name, CallOptions options) const {
  return edit(*connection_, name, {.drained = true}, options);
}

Result<MachineInfo> Machines::resume(const std::string& name, CallOptions options) const {
  return edit(*connection_, name, {.drained = false}, options);
}

Result<MachineInfo> Machines::interrupt(const std::string& name, std::chrono::seconds in,
                                        CallOptions options) const {
  return member_of<MachineInfo>(
      connection_->call({.route = Route::interrupt_machine,
                         .names = {name},
                         .body = model::to_json(model::MachineInterrupt{in.count()})},
                        options),
      "machine");
}

Result<MachineInfo> Machines::rename(const std::string& name, const std::string& to,
                                     CallOptions options) const {
  return edit(*connection_, name, {.name = to}, options);
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
  auto request = request_of(change);
  request.name = name;
  return member_of<MachineTypeInfo>(
      connection_->call({.route = Route::create_machine_type, .body = model::to_json(request)},
                        options),
      "machine_type");
}

Result<std::vector<MachineTypeInfo>> MachineTypes::list(CallOptions options) const {
  return member_of<std::vector<MachineTypeInfo>>(
      connection_->call({.route = Route::list_machine_types}, options), "machine_types");
}

Result<std::vector<RankedMachineType>> MachineTypes::select(const MachineQuery& query,
                                                            CallOptions options) const {
  auto types = list(options);
  if (!types) return types.error();
  return rank(*types, query);
}

Result<MachineTypeInfo> MachineTypes::scale(const std::string& name,
                                            const MachineTypeChange& change,
                                            CallOptions options) const {
  return member_of<MachineTypeInfo>(connection_->call({.route = Route::edit_machine_type,
                                                       .names = {name},
                                                       .body = model::to_json(request_of(change))},
                                                      options),
                                    "machine_type");
}

Result<> MachineTypes::remove(const std::string& name, CallOptions options) const {
  return done(connection_->call({.route = Route::delete_machine_type, .names = {name}}, options));
}

Result<JoinToken> MachineTypes::get_token(const std::string& name, CallOptions options) const {
  return member_of<JoinToken>(
      connection_->call({.route = Route::machine_type_token, .names = {name}}, options), "join");
}

}  // namespace spell
