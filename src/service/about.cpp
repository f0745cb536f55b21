// What the service says of itself and its machines.
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "service/api.hpp"
#include "spell/json.hpp"
#include "spell/version.hpp"

extern const char spell_openapi[];
extern const unsigned long spell_openapi_size;

namespace spell::service {

void get_openapi(Context&, Call call) {
  net::Response response = new_response();
  response.body.assign(spell_openapi, spell_openapi_size);
  call->reply.send(std::move(response));
}

void get_health(Context&, Call call) {
  answer(call, {{"status", "ok"}, {"protocol", api_protocol()}});
}

namespace {
void answer_status(Context& context, const Call& call, const std::string& owner) {
  ServiceInfo info;
  info.version = version();
  info.owner = owner;
  info.user = call->caller.name;
  info.location = context.url();
  info.spell_dir = context.options.spell_dir;
  info.pid = ::getpid();
  info.protocol = api_protocol();
  info.started_at = Time(std::chrono::microseconds(context.started_us));
  auto counts =
      context.readers.with([&](store::Reader& reader) { return reader.count_by_status(owner); });
  if (!counts) return refuse(call, counts.error());
  info.runs_by_status = *counts;
  info.machines = machine_infos(context, owner);
  info.storage_bytes = context.objects.stored_bytes();
  info.log_bytes = context.logs.stored_bytes();
  info.disk_free = base::free_bytes(context.options.state_folder);
  info.notes = context.options.notes;
  if (auto room = context.space.check_runs(); !room) info.notes.push_back(room.error().message());
  for (auto& machine : info.machines)
    for (auto& note : machine.notes) info.notes.push_back(machine.name + ": " + note);
  answer(call, {{"service", json(info)}});
}
}  // namespace

void get_status(Context& context, Call call) {
  std::string owner = call->query("owner");
  if (owner.empty()) owner = call->caller.usual_owner();
  if (!call->caller.belongs_to(owner)) return refuse(call, no_such_owner(call->caller, owner));
  context.machines.when_settled([&context, call, owner] { answer_status(context, call, owner); });
}

void stop_service(Context& context, Call call) {
  bool handover = false;
  if (!call->request.body.empty()) {
    auto body = body_object(call);
    if (!body) return refuse(call, body.error());
    for (auto& [name, value] : body->items()) {
      if (name != "handover" || !value.is_boolean())
        return refuse(call,
                      base::error("invalid_request",
                                  "the body may hold \"handover\": true or false, nothing else"));
      handover = value;
    }
  }
  if (context.options.kind == ServiceOptions::Kind::team && !call->caller.token.empty())
    return refuse(call, base::error("not_permitted",
                                    "a team's service is ended on its own computer: systemctl stop "
                                    "spelld"));
  answer(call, {{"pid", ::getpid()}}, 202);
  context.request_stop(handover ? "hand-over to a newer version" : "asked to stop");
}

}  // namespace spell::service
