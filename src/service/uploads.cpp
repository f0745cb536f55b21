// Uploads: what is missing of one, its objects, its name.
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"
#include "service/api.hpp"
#include "service/resource_path.hpp"
#include "spellfs/node.hpp"

namespace spell::service {

namespace {

using model::Problem;
using model::Unknown;

struct UploadRequest {
  std::string type, node;
  std::int64_t size = 0, files = -1, mode = 0, modified_us = 0, modified_ns = 0;
};

constexpr model::Field<UploadRequest> upload_fields[] = {
    {"type",
     [](const json& j, UploadRequest& u, Unknown) {
       if (auto problem = model::read_text(j, u.type, 64)) return problem;
       return u.type == "file" || u.type == "folder" ? Problem{}
                                                     : Problem{"", "must be file or folder"};
     },
     true},
    {"node",
     [](const json& j, UploadRequest& u, Unknown) {
       if (auto problem = model::read_text(j, u.node, 128)) return problem;
       return u.node.empty() || spellfs::Name::parse(u.node)
                  ? Problem{}
                  : Problem{"", "must be the name of a SpellFS object"};
     },
     true},
    {"size", [](const json& j, UploadRequest& u, Unknown) { return model::read_int(j, u.size); },
     true},
    {"files", [](const json& j, UploadRequest& u, Unknown) { return model::read_int(j, u.files); }},
    {"mode",
     [](const json& j, UploadRequest& u, Unknown) { return model::read_int(j, u.mode, 0, 07777); }},
    {"modified_at",
     [](const json& j, UploadRequest& u, Unknown) {
       return j.is_null() ? Problem{} : model::read_time(j, u.modified_us);
     }},
    {"modified_ns", [](const json& j, UploadRequest& u,
                       Unknown) { return model::read_int(j, u.modified_ns, 0, 999); }},
};

Result<UploadRequest> parse_upload(const json& body) {
  UploadRequest request;
  request.mode = -1;
  if (auto problem =
          model::read_object<UploadRequest>(body, request, upload_fields, Unknown::refuse))
    return problem.error("invalid_request");
  if (request.mode < 0) request.mode = request.type == "folder" ? 0755 : 0644;
  if (request.node.empty() != (request.type == "file" && request.size == 0))
    return base::error("invalid_request", "node must be \"\" for an empty file, and only for that");
  return request;
}

Result<std::string> upload_name(const Call& call) {
  auto& name = call->path.at("path");
  if (!valid_upload_name(name))
    return base::error("invalid_request",
                       "an upload's name is one component of a path: at most 255 bytes of UTF-8 "
                       "without ':' and control characters");
  if (auto workflow = call->caller.workflow;
      workflow != 0 && !name.starts_with(workflow_upload(workflow, "")))
    return base::error("not_permitted", "the credentials of workflow " + std::to_string(workflow) +
                                            " are for its own uploads: uploads/" +
                                            workflow_upload(workflow, "NAME"));
  return name;
}

/// That what is named was sent by this owner, and is what the request says. Fills in the number of
/// files.
Result<> check_node(const spellfs::ChunkStore& objects, const std::string& owner,
                    UploadRequest& request) {
  bool folder = request.type == "folder";
  std::int64_t files = folder ? request.files : 1;
  if (!request.node.empty()) {
    spellfs::Kind kind = folder                                ? spellfs::Kind::folder
                         : request.size <= spellfs::small_file ? spellfs::Kind::chunk
                                                               : spellfs::Kind::file;
    spellfs::Name node = *spellfs::Name::parse(request.node);
    auto owns = objects.owns(owner, node);
    if (!owns) return owns.error();
    if (!*owns)
      return base::error("incomplete_pack", "object " + request.node + " has not been sent");
    auto bytes = objects.get(kind, node);
    if (!bytes && bytes.error().code() == "object_not_found")
      return base::error("invalid_request",
                         "node " + request.node + " is no " + request.type + " of this size");
    if (!bytes) return bytes.error();
    auto found = spellfs::describe(kind, *bytes);
    if (!found) return base::error("damaged", request.node + ": " + found.error().message());
    auto& totals = found->facts.totals;
    if (totals.size != request.size)
      return base::error("invalid_request", "size is " + std::to_string(request.size) + ", but " +
                                                request.node + " has " +
                                                std::to_string(totals.size) + " bytes");
    if (folder) files = totals.files;
  }
  if (request.files >= 0 && request.files != files && (folder || request.files > 1))
    return base::error("invalid_request", "files is " + std::to_string(request.files) +
                                              ", but there are " + std::to_string(files));
  request.files = files;
  return ok();
}

json upload_json(const store::UploadRecord& upload) {
  return {{"name", upload.name},
          {"type", upload.type},
          {"size", upload.size},
          {"files", upload.files},
          {"created_at", base::rfc3339(upload.created_us)},
          {"creator", upload.creator},
          {"node", upload.node}};
}

}  // namespace

void objects_missing(Context& context, Call call) {
  auto body = model::parse_json(call->request.body, 8 << 20);
  if (!body) return refuse(call, body.error());
  auto names = object_names(*body, "names");
  if (!names) return refuse(call, names.error());
  if (body->size() != 1)
    return refuse(call, base::error("invalid_request", "the body must be {\"names\": […]}"));
  context.jobs.post([&context, call = std::move(call), names = std::move(*names)] {
    auto missing = context.objects.missing(call->owner(), names);
    if (!missing) return refuse(call, missing.error());
    json out = json::array();
    for (auto& name : *missing) out.push_back(name.text());
    answer(call, {{"names", std::move(out)}});
  });
}

namespace {
void take_objects(Context& context, Call call) {
  context.jobs.post([&context, call = std::move(call)] {
    auto taken = context.objects.add_pack(call->owner(), call->request.body_file.get(),
                                          call->request.body_size);
    if (!taken) {
      context.space.failed(taken.error());
      return refuse(call, taken.error());
    }
    answer(call, {{"bytes", call->request.body_size}});
  });
}
}  // namespace

void send_objects(Context& context, Call call) {
  if (context.collector.arrival_noted()) return take_objects(context, std::move(call));
  context.reactor.post(
      [&context, call = std::move(call)](State& state, std::int64_t now) -> Reactor::Answer {
        auto noted = Collector::note_arrival(state, now);
        return [&context, call, noted](const Result<>& committed) {
          if (!noted) return refuse(call, noted.error());
          if (!committed) return refuse(call, committed.error());
          context.collector.arrival_is_noted(true);
          take_objects(context, call);
        };
      });
}

namespace {
/// As users know it.
std::string path_of(const Call& call, const std::string& name) {
  return (call->owner() == public_owner ? "public/" : "uploads/") + name;
}
}  // namespace

Result<> check_upload_form(const json& body) {
  if (auto request = parse_upload(body); !request) return request.error();
  return ok();
}

Result<CheckedUpload> check_upload(Context& context, const Call& call, const std::string& name,
                                   const json& body) {
  auto request = parse_upload(body);
  if (!request) return request.error();
  CheckedUpload out;
  // From here to the commit no collection takes what is being named.
  out.pin = std::make_shared<spellfs::PackStore::Pin>();
  if (auto node = spellfs::Name::parse(request->node)) *out.pin = context.objects.pin({*node});
  SPELL_TRY(check_node(context.objects, call->owner(), *request));
  out.record = {call->owner(),
                name,
                request->type,
                request->node,
                request->size,
                request->files,
                request->mode,
                request->modified_us,
                0,
                call->caller.name,
                request->modified_ns};
  return out;
}

void put_upload(Context& context, Call call) {
  if (auto room = check_bytes(context, call); !room) return refuse(call, room.error());
  auto name = upload_name(call);
  if (!name) return refuse(call, name.error());
  auto body = model::parse_json(call->request.body);
  if (!body) return refuse(call, body.error());
  context.jobs.post(
      [&context, call = std::move(call), name = *name, body = std::move(*body)]() mutable {
        auto checked = check_upload(context, call, name, body);
        if (!checked) return refuse(call, checked.error());
        auto& [upload, pin] = *checked;
        context.reactor.post([&context, call, upload = upload, pin = pin](
                                 State& state, std::int64_t now) mutable -> Reactor::Answer {
          upload.created_us = now;
          auto before = state.writer().find_upload(upload.owner, upload.name);
          Result<> put = before ? ok() : Result<>(before.error());
          if (put && *before)
            put = may_change(call, (*before)->creator, "the upload " + upload.name);
          if (put) put = state.writer().put_upload(upload);
          if (put) put = audit(state, now, call, "upload.put", path_of(call, upload.name));
          if (put) put = Collector::note_named(state);
          bool replaced = before && *before && (*before)->node != upload.node;
          if (put && replaced) put = Collector::note_removal(state, now);
          return [&context, call, upload, pin, put, replaced](const Result<>& committed) {
            if (!put) return refuse(call, put.error());
            if (!committed) return refuse(call, committed.error());
            context.collector.arrival_is_noted(false);
            if (replaced) context.collector.removed();
            answer(call, {{"upload", upload_json(upload)}});
          };
        });
      });
}

void delete_upload(Context& context, Call call) {
  auto name = upload_name(call);
  if (!name) return refuse(call, name.error());
  context.reactor.post([&context, call = std::move(call), name = *name](
                           State& state, std::int64_t now) -> Reactor::Answer {
    auto found = state.writer().find_upload(call->owner(), name);
    Result<> done = found ? ok() : Result<>(found.error());
    if (found && !*found) done = resource_not_found(path_of(call, name));
    if (done) done = may_change(call, (*found)->creator, "the upload " + name);
    if (done)
      done =
          audit(state, now, call, "upload.delete", path_of(call, name), "by " + (*found)->creator);
    if (done) done = state.writer().delete_upload(call->owner(), name);
    if (done) done = Collector::note_removal(state, now);
    return [&context, call, found, done](const Result<>& committed) {
      if (!done) return refuse(call, done.error());
      if (!committed) return refuse(call, committed.error());
      context.collector.removed();
      answer(call, {{"upload", upload_json(**found)}});
    };
  });
}

}  // namespace spell::service
