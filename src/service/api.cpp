#include "service/api.hpp"

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/cost.hpp"
#include "model/environment.hpp"
#include "model/error_code.hpp"
#include "model/status.hpp"
#include "spell/version.hpp"

namespace spell::service {

std::string CallData::query(const std::string& name) const {
  auto found = request.target.query.find(name);
  return found == request.target.query.end() ? std::string() : found->second;
}

bool CallData::flag(const std::string& name) const {
  auto value = query(name);
  return value == "1" || value == "true";
}

Result<std::int64_t> CallData::number(const std::string& name, std::int64_t other,
                                      std::int64_t least, std::int64_t most) const {
  auto found = request.target.query.find(name);
  if (found == request.target.query.end()) return other;
  auto value = base::parse_int(found->second);
  if (!value || *value < least || *value > most)
    return base::error("invalid_request",
                       "query parameter '" + name + "' must be a whole number from " +
                           std::to_string(least) + " to " + std::to_string(most));
  return *value;
}

net::Response new_response() {
  net::Response response;
  response.headers.emplace_back("X-Spell-Version", version());
  return response;
}

void answer(const Call& call, const json& body, int status) {
  net::Response response = new_response();
  response.status = status;
  response.body = body.dump(-1, ' ', false, json::error_handler_t::replace);
  call->reply.send(std::move(response));
}

net::Response error_response(const Error& error, const std::string& request_id) {
  net::Response response = new_response();
  response.status = model::http_status(error.code());
  response.body = json{{"error",
                        {{"code", error.code()},
                         {"message", model::one_line(error.message())},
                         {"request_id", request_id}}}}
                      .dump(-1, ' ', false, json::error_handler_t::replace);
  return response;
}

void refuse(const Call& call, const Error& error) {
  call->reply.send(error_response(error, call->request.id));
}

Result<std::int64_t> run_number(const Call& call) {
  auto number = base::parse_int(call->path.at("run"));
  if (!number || *number < 1)
    return base::error("run_not_found",
                       "there is no run '" + call->path.at("run") + "'; runs are numbers: 1, 2, 3");
  return *number;
}

Result<store::RunRecord> find_run(Context& context, const Call& call) {
  auto number = run_number(call);
  if (!number) return number.error();
  auto found = context.readers.with(
      [&](store::Reader& reader) { return reader.find_run(call->owner(), *number); });
  if (!found) return found.error();
  if (!*found)
    return base::error("run_not_found", "there is no run " + std::to_string(*number) + " of " +
                                            call->owner() + "; `spell ps` lists them");
  SPELL_TRY(may_reach(call, **found));
  return std::move(**found);
}

Result<std::string> key_of(const Call& call) {
  std::string key(net::find_header(call->request.headers, "Idempotency-Key"));
  if (key.size() > 200 || !base::valid_text(key))
    return base::error("invalid_request", "an Idempotency-Key has 1 to 200 characters of UTF-8");
  return key;
}

Result<> may_reach(const Call& call, const store::RunRecord& run) {
  auto workflow = call->caller.workflow;
  if (workflow == 0 || run.workflow == workflow) return ok();
  return base::error("not_permitted", "run " + std::to_string(run.number) +
                                          " is none of workflow " + std::to_string(workflow) +
                                          ", which is all that its credentials are for");
}

std::optional<Time> time_of(std::int64_t us) {
  if (us == 0) return std::nullopt;
  return Time(std::chrono::microseconds(us));
}

namespace {

/// A waiting run's reason is a function of the cluster as it is now.
std::pair<std::string, std::string> why_waiting(Context& context, const store::RunRecord& run) {
  if (run.not_before_us != 0 || run.reason_code == "waiting_for_budget")
    return {run.reason_code, run.reason};
  for (auto number : waits_for(run)) {
    auto active = context.readers.with(
        [&](store::Reader& reader) { return reader.active_of_chain(run.owner, number); });
    if (active && *active)
      return {"waiting_for_run", "waiting for run " + std::to_string(**active)};
  }
  auto wants = waiting_of(run);
  auto limit = context.readers.with([&](store::Reader& reader) -> Result<std::string> {
    auto records = reader.quotas();
    if (records && (records->empty() || wants.manages)) return std::string();
    if (!records) return records.error();
    auto quota = quota_of(to_quotas(*records), run.owner, run.creator);
    if (quota.runs) {
      auto running = reader.runs_of(run.owner, run.creator);
      if (!running) return running.error();
      if (!may_start(quota, *running)) return waits_for_quota(run.creator, quota, "");
    }
    if (quota.runs_of.contains(wants.machine_type)) {
      auto running = reader.runs_of(run.owner, run.creator, wants.machine_type);
      if (!running) return running.error();
      if (!may_start(quota, wants.machine_type, *running))
        return waits_for_quota(run.creator, quota, wants.machine_type);
    }
    return std::string();
  });
  if (limit && !limit->empty()) return {"waiting_for_quota", *limit};
  return {"waiting_for_machine", context.machines.why_waiting(wants)};
}

}  // namespace

RunInfo to_info(Context& context, const store::RunRecord& run) {
  RunInfo info;
  info.id = run.number;
  info.status = RunStatus(run.status);
  info.reason_code = run.reason_code;
  info.reason = run.reason;
  if (run.status == "machine_requested")
    std::tie(info.reason_code, info.reason) = why_waiting(context, run);
  info.user_exit_code = run.exit_code;
  info.user_signal = run.signal;
  info.command = run.request.command;
  info.description = run.request.description;
  if (info.description.empty() && run.request.code) info.description = run.request.code->message;
  info.creator = run.creator;
  info.project = run.project;
  info.machine_type = run.request.machine_type;
  if (info.machine_type.empty() || info.machine_type == "cpu" || info.machine_type == "Cpu")
    info.machine_type = "CPU";
  if (run.placed_us != 0) info.machine = run.machine;
  info.labels = store::split_labels(run.labels);
  info.env = run.request.env;
  info.secrets = run.request.secrets;
  info.params = run.request.params;
  info.auto_resume = run.request.auto_resume;
  info.exclusive = run.request.exclusive;
  info.notice_signal = run.request.notice_signal;
  info.append = run.request.append;
  info.max_cost = run.request.max_cost;
  info.priority = run.request.priority.empty() ? "normal" : run.request.priority;
  if (run.request.has_environment()) {
    info.pip = run.request.pip;
    info.requirements = run.request.requirements;
    info.setup = run.request.setup;
    info.apt = run.request.apt;
    info.image = run.request.image;
    info.conda_file = run.request.conda_file;
    auto layers =
        context.readers.with([&](store::Reader& reader) { return reader.layers_of_run(run.id); });
    if (layers)
      for (auto method : model::layer_methods)  // from the lowest up
        for (auto& layer : *layers)
          if (layer.method == method)
            info.environment.push_back({layer.layer, layer.method, layer.packages});
  }
  if (run.resumed_from != 0) info.resumed_from_run = run.resumed_from;
  if (run.resumed_as != 0) info.resumed_as_run = run.resumed_as;
  if (run.request.code) {
    info.git_commit = run.request.code->commit;
    info.git_base_commit = run.request.code->base_commit;
    info.workspace = run.request.code->workspace;
    info.repository = run.request.code->repository;
    info.github_url = run.request.code->github_url;
  }
  info.folder = run.request.folder;
  info.after = run.request.after;
  if (run.request.timeout) info.timeout = std::chrono::seconds(*run.request.timeout);
  info.created_at = time_of(run.created_us);
  info.started_at = time_of(run.started_us);
  info.ended_at = time_of(run.ended_us);
  info.log_bytes = run.log_bytes;
  if (!model::is_final(run.status)) info.backlog = context.machines.backlog(run.id);
  if (!model::is_final(run.status) && run.started_us > 0)
    if (auto size = context.logs.size(run.id)) info.log_bytes = *size;
  info.output_files = run.output_files;
  info.output_bytes = run.output_bytes;
  info.outputs = run.outputs;
  info.archived = run.archived;
  info.version = run.version;
  if (run.workflow != 0) info.workflow = run.workflow;
  if (auto price = run.cost.price; price && run.cost.leased_us != 0) {
    auto ms = model::is_final(run.status) ? run.cost.billed_ms
                                          : model::ms_between(run.cost.leased_us, base::unix_us());
    info.price = Dollars::nanos(*price);
    if (ms >= 0) info.cost = model::rounded(model::units(*price, ms));
  }
  info.key = run.name;
  info.manages = run.manages;
  if (auto mounts = model::read_mounts(run.mounts))
    for (std::size_t i = 0; i < mounts->size() && i < run.request.mounts.size(); ++i)
      info.mounts.push_back({run.request.mounts[i].resource, (*mounts)[i].at});
  return info;
}

json run_json(Context& context, const store::RunRecord& run, bool existed) {
  RunInfo info = to_info(context, run);
  info.already_existed = existed;
  return model::to_json(info);
}

Result<json> body_object(const Call& call) {
  auto body = model::parse_json(call->request.body);
  if (!body) return body.error();
  if (!body->is_object()) return base::error("invalid_request", "the body must be a JSON object");
  return body;
}

Result<> may_change(const Call& call, const std::string& creator, const std::string& what) {
  if (call->caller.may_change(creator)) return ok();
  return base::error("not_permitted",
                     what + " belongs to " + (creator.empty() ? "an administrator" : creator) +
                         ", who may change it, and administrators; you are " + call->caller.name);
}

Result<std::vector<spellfs::Name>> object_names(const json& body, const char* field) {
  auto list = body.is_object() ? body.find(field) : body.end();
  if (list == body.end() || !list->is_array())
    return base::error("invalid_request", std::string("'") + field + "' must be a list of names");
  std::vector<spellfs::Name> names;
  for (auto& text : *list) {
    auto name =
        text.is_string() ? spellfs::Name::parse(text.get_ref<const std::string&>()) : std::nullopt;
    if (!name)
      return base::error("invalid_request",
                         std::string("'") + field + "' must hold names of SpellFS objects");
    names.push_back(*name);
  }
  return names;
}

}  // namespace spell::service
