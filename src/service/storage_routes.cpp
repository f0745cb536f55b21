// Storage as a whole: collect, check, measure.
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"
#include "service/api.hpp"
#include "service/resource_path.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

json room_json(const Room& room) {
  return {{"name", room.name},
          {"bytes", room.bytes},
          {"stored_bytes", room.stored},
          {"files", room.files}};
}

json rooms_json(const std::vector<Room>& rooms) {
  json list = json::array();
  for (auto& room : rooms) list.push_back(room_json(room));
  return list;
}

}  // namespace

void collect_storage(Context& context, Call call) {
  std::optional<std::chrono::seconds> spare;
  if (!call->request.body.empty()) {
    auto body = body_object(call);
    if (!body) return refuse(call, body.error());
    for (auto& [name, value] : body->items()) {
      std::int64_t seconds = 0;
      if (name != "spare")
        return refuse(call, base::error("invalid_request", "'" + name + "' is not a known field"));
      if (auto problem = model::read_int(value, seconds, 0, 1'000'000'000))
        return refuse(call, base::error("invalid_request", "spare " + problem.text));
      spare = std::chrono::seconds(seconds);
    }
  }
  context.collector.collect(spare, [call = std::move(call)](Result<Collected> done) {
    if (!done) return refuse(call, done.error());
    answer(call, {{"collected",
                   {{"objects", done->objects},
                    {"bytes", done->bytes},
                    {"log_bytes", done->log_bytes},
                    {"code_bytes", done->code_bytes},
                    {"problems", done->problems}}}});
  });
}

void check_storage(Context& context, Call call) {
  context.collector.check([&context, call = std::move(call)](Result<StorageCheck> done) {
    if (!done) return refuse(call, done.error());
    if (auto& caches = context.options.check_caches)
      for (auto& line : caches()) done->damaged.push_back(line);
    answer(call, {{"check", *done}});
  });
}

void back_up_service(Context& context, Call call) {
  // The service would write wherever it may, so this is for those who are at its computer.
  if (call->request.peer_uid == UINT32_MAX)
    return refuse(call, base::error("not_permitted",
                                    "a backup is made on the service's own computer: spelld backup "
                                    "DIR"));
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  if (body->size() != 1 || !body->contains("folder") || !(*body)["folder"].is_string())
    return refuse(call,
                  base::error("invalid_request", "the body must be {\"folder\": absolute path}"));
  std::string folder = (*body)["folder"];
  if (!base::valid_text(folder))
    return refuse(call, base::error("invalid_request", "'folder' must be UTF-8 without NUL"));
  context.collector.back_up(
      context.options.state_folder, folder, context.options.owner,
      [&context, call = std::move(call), folder](Result<BackupDone> done) {
        if (!done) return refuse(call, done.error());
        context.reactor.post(
            [call, folder, done](State& state, std::int64_t now) -> Reactor::Answer {
              auto noted = audit(state, now, call, "service.backup", folder);
              return [call, done, noted](const Result<>& committed) {
                if (!noted) return refuse(call, noted.error());
                if (!committed) return refuse(call, committed.error());
                answer(call, {{"backup", backup_json(*done)}});
              };
            });
      });
}

void get_usage(Context& context, Call call) {
  std::string by = call->query("by"), path = call->query("path");
  auto limit = call->number("limit", 100, 1, 1000);
  if (!limit) return refuse(call, limit.error());
  auto after = call->number("after", 0, 0, INT64_MAX);
  if (!after) return refuse(call, after.error());
  if (by != "" && by != "run" && by != "kind")
    return refuse(call,
                  base::error("invalid_request", "query parameter 'by' must be 'run' or 'kind'"));
  while (path.ends_with('/')) path.pop_back();
  context.jobs.post([&context, call = std::move(call), by, path, after = *after,
                     limit = static_cast<int>(*limit)] {
    if (by.empty()) {
      auto room = context.storage.usage(call->owner(), path);
      if (!room) return refuse(call, room.error());
      return answer(call, {{"usage",
                            {{"path", path},
                             {"bytes", room->bytes},
                             {"stored_bytes", room->stored},
                             {"files", room->files}}}});
    }
    auto rooms = by == "kind" ? context.storage.usage_by_kind(call->owner())
                              : context.storage.usage_by_run(call->owner(), after, limit + 1);
    if (!rooms) return refuse(call, rooms.error());
    json next;
    if (by == "run" && rooms->size() > static_cast<std::size_t>(limit)) {
      rooms->pop_back();
      next = rooms->back().name.substr(std::string_view("runs/").size());
    }
    answer(call, {{"usage", rooms_json(*rooms)}, {"next", next}});
  });
}

}  // namespace spell::service
