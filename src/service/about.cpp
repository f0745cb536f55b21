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

namespace {
std::vector<MachineInfo> machine_infos(Context& context) {
  std::vector<MachineInfo> out;
  for (auto& view : context.machines.machines()) {
    MachineInfo info;
    info.name = view.machine.name;
    info.connected = view.machine.connected;
    info.cores = view.hello.cores;
    info.places = view.machine.places;
    info.busy = std::min(view.machine.busy, view.machine.places);
    info.memory = view.hello.memory;
    info.disk_free = view.hello.disk_free;
    for (auto& type : view.machine.serves) info.serves.push_back(type == "cpu" ? "CPU" : type);
    info.capabilities = view.hello.capabilities;
    out.push_back(std::move(info));
  }
  return out;
}
}  // namespace

void get_openapi(Context&, Call call) {
  net::Response response = new_response();
  response.body.assign(spell_openapi, spell_openapi_size);
  call->reply.send(std::move(response));
}

void get_health(Context&, Call call) { answer(call, {{"status", "ok"}}); }

namespace {
void answer_status(Context& context, const Call& call) {
  ServiceInfo info;
  info.version = version();
  info.owner = context.options.owner;
  info.user = call->caller.name;
  info.location = context.url();
  info.spell_dir = context.options.spell_dir;
  info.pid = ::getpid();
  info.protocol = api_protocol();
  info.started_at = Time(std::chrono::microseconds(context.started_us));
  auto counts = context.readers.with(
      [&](store::Reader& reader) { return reader.count_by_status(context.options.owner); });
  if (!counts) return refuse(call, counts.error());
  info.runs_by_status = *counts;
  info.machines = machine_infos(context);
  info.storage_bytes = context.objects.stored_bytes();
  info.log_bytes = context.logs.stored_bytes();
  info.disk_free = base::free_bytes(context.options.state_folder);
  info.notes = context.options.notes;
  for (auto& view : context.machines.machines())
    for (auto& note : view.hello.notes) info.notes.push_back(view.machine.name + ": " + note);
  answer(call, {{"service", json(info)}});
}
}  // namespace

void get_status(Context& context, Call call) {
  context.machines.when_settled([&context, call] { answer_status(context, call); });
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
  answer(call, {{"pid", ::getpid()}}, 202);
  context.request_stop(handover ? "hand-over to a newer version" : "asked to stop");
}

void list_machines(Context& context, Call call) {
  json list = json::array();
  for (auto& info : machine_infos(context)) list.push_back(info);
  answer(call, {{"machines", std::move(list)}});
}

}  // namespace spell::service
