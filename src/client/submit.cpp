// Submitting a run: its code is looked at, what the service lacks is sent, then the run is made
// under a key.
#include <stdlib.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "client/code_cache.hpp"
#include "client/connection.hpp"
#include "client/submission.hpp"
#include "git/work_tree.hpp"
#include "model/mount.hpp"
#include "model/run.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

Result<git::Snapshot> snapshot_of(Connection& connection, const Code& code) {
  if (code.kind() == Code::Kind::url) {
    auto cache = make_cache(connection, "url");
    if (!cache) return cache.error();
    return git::fetch_url(code.location(), code.ref(), *cache);
  }
  git::SnapshotOptions options;
  options.path = code.location();
  options.ref = code.ref();
  options.include_untracked = code.includes_untracked();
  options.require_clean = code.requires_clean();
  // Without the cache it is only slower.
  options.stat_cache = make_cache(connection, "stat").value_or("");
  return git::snapshot(options);
}

/// Sends what the service lacks of the snapshot, or, `anew`, all of it.
Result<> send_code(Connection& connection, const git::Snapshot& snapshot,
                   const SubmitProgress& progress, const Limit& limit, bool anew = false) {
  auto& info = snapshot.info();
  auto missing =
      connection.call({.route = Route::code_missing,
                       .names = {info.workspace},
                       .body = {{"commit", snapshot.commit()}, {"trees", snapshot.recent_trees()}}},
                      limit);
  if (!missing) return missing.error();
  auto has_commit = member<bool>(*missing, "has_commit");
  if (!has_commit) return has_commit.error();
  if (*has_commit) return ok();
  auto trees = member<std::vector<std::string>>(*missing, "trees");
  if (!trees) return trees.error();

  auto pack = make_unnamed_file(connection);
  if (!pack) return pack.error();
  if (anew) trees->clear();
  auto size = snapshot.write_pack(pack->get(), *trees, [&](std::int64_t done, std::int64_t total) {
    if (progress) progress("packing", done, total);
  });
  if (!size) return size.error();
  Call call{.route = Route::send_code,
            .names = {info.workspace},
            .query = {{"commit", snapshot.commit()}, {"repository", info.name}},
            .headers = {{"Content-Type", "application/vnd.git.pack"}},
            .body_fd = pack->get(),
            .body_size = *size};
  if (progress) call.progress = [&](std::int64_t sent) { progress("sending", sent, *size); };
  auto sent = connection.call(call, limit);
  // What was there when it was asked may have been collected since, with a run that was removed.
  if (!sent && sent.error().code() == "incomplete_pack" && !anew)
    return send_code(connection, snapshot, progress, limit, true);
  return sent ? ok() : Result<>(sent.error());
}

Result<model::RunRequest> run_request(const RunSpec& spec) {
  SPELL_TRY(check_available(spec));
  model::RunRequest request;
  request.command = spec.command;
  request.machine_type = spec.machine_type;
  request.description = spec.description;
  request.project = spec.project;
  request.folder = spec.folder;
  request.virtual_env = spec.virtual_env;
  request.env = spec.env;
  request.labels = spec.labels;
  request.after = spec.after;
  if (spec.timeout) request.timeout = spec.timeout->count();
  request.stop_grace = spec.stop_grace.count();
  request.log_limit = spec.log_limit;
  request.split_output = spec.split_output;
  request.save_all = spec.save_all;
  request.idempotent = spec.idempotent;
  request.mounts = spec.mounts;
  request.secrets = spec.secrets;
  request.cpus = spec.cpus;
  request.memory = spec.memory;
  request.params = spec.params;
  request.auto_resume = spec.auto_resume;
  request.exclusive = spec.exclusive;
  request.notice_signal = spec.notice_signal;
  request.append = spec.append;
  request.max_cost = spec.max_cost;
  request.pip = spec.pip;
  request.requirements = spec.requirements;
  request.setup = spec.setup;
  request.apt = spec.apt;
  request.refresh_environment = spec.refresh_environment;
  request.priority = spec.priority;
  request.image = spec.image;
  request.conda_file = spec.conda_file;
  if (!spec.gpu.empty()) {
    auto colon = spec.gpu.rfind(':');
    if (colon != spec.gpu.npos) request.gpu_name = spec.gpu.substr(0, colon);
    auto number = base::parse_int(spec.gpu.substr(colon == spec.gpu.npos ? 0 : colon + 1));
    if (!number || *number < 0 || (colon != spec.gpu.npos && request.gpu_name.empty()))
      return base::error("invalid_request",
                         "gpu '" + spec.gpu + "': give a number, or NAME:NUMBER such as A100:2");
    request.gpus = *number;
  }
  return request;
}

}  // namespace

Result<> detail::check_available(const RunSpec& spec) {
  if (spec.checkpoints != RunSpec().checkpoints)
    return base::error("not_available", "checkpoints is not available in this version");
  return ok();
}

Result<base::Fd> detail::make_unnamed_file(Connection& connection) {
  std::string path = make_cache(connection, "").value_or("/tmp") + "/pack-XXXXXX";
  base::Fd file(::mkstemp(path.data()));
  if (!file) return base::errno_error("make a temporary file " + path);
  ::unlink(path.c_str());
  return file;
}

Result<std::string> detail::make_cache(Connection& connection, const std::string& name) {
  if (connection.cache().empty()) return base::error("not_found", "this client has no cache");
  std::string folder = connection.cache() + (name.empty() ? "" : "/" + name);
  SPELL_TRY(base::make_folders(folder));
  return folder;
}

Result<model::CodeRef> detail::send_repository(Connection& connection, const Code& code,
                                               const SubmitProgress& progress,
                                               const SubmitNotice& notice, const Limit& limit,
                                               std::string& folder) {
  auto snapshot = snapshot_of(connection, code);
  if (!snapshot) return snapshot.error();
  if (notice)
    for (auto& line : snapshot->notices()) notice(line);
  auto& info = snapshot->info();
  SPELL_TRY(send_code(connection, *snapshot, progress, limit));
  folder = info.folder;
  return model::CodeRef{.workspace = info.workspace,
                        .commit = snapshot->commit(),
                        .base_commit = snapshot->base_commit(),
                        .repository = info.name,
                        .message = info.message,
                        .github_url = code.kind() == Code::Kind::url ? code.location() : ""};
}

Result<model::RunRequest> detail::prepare(Connection& connection, const RunSpec& spec,
                                          std::int64_t workflow, const SubmitProgress& progress,
                                          const SubmitNotice& notice, const Limit& limit) {
  auto asked = run_request(spec);
  if (!asked) return asked;
  auto& request = *asked;
  request.workflow = workflow;
  if (spec.code.kind() == Code::Kind::label)
    request.code = model::CodeRef{.label = spec.code.location()};
  // What the service would refuse is refused before anything is sent.
  auto valid = model::parse_run_request(model::to_json(request));
  if (!valid) return valid.error();
  SPELL_TRY(model::fill_params(*valid));
  // Relative mounts are looked at when the folder is known.
  bool sends = spec.code.kind() != Code::Kind::none && spec.code.kind() != Code::Kind::label;
  if (sends) {
    std::string folder;
    auto code = send_repository(connection, spec.code, progress, notice, limit, folder);
    if (!code) return code.error();
    request.code = std::move(*code);
    if (request.folder.empty()) request.folder = folder;
  }
  if (request.folder == ".") request.folder.clear();
  if (auto targets = model::mount_targets(request); !targets) return targets.error();
  return asked;
}

namespace {

/// Of who has given none: of what is the same in a workflow, the same; else good for the call's own
/// retries.
std::string key_for(const model::RunRequest& request) {
  if (request.workflow == 0 || !request.idempotent) return base::Id::make().text();
  return "spec-" + model::request_hash(request).substr(0, 32);
}

Result<RunInfo> create_run(Connection& connection, const model::RunRequest& request,
                           const std::string& key, const Limit& limit) {
  auto answer =
      connection.call({.route = Route::create_run,
                       .body = model::to_json(request),
                       .headers = {{"Idempotency-Key", key.empty() ? key_for(request) : key}}},
                      limit);
  if (!answer) return answer.error();
  return member<RunInfo>(*answer, "run");
}

}  // namespace

Result<RunInfo> detail::submit(Connection& connection, const RunSpec& spec, std::int64_t workflow,
                               const std::string& key, const SubmitProgress& progress,
                               const SubmitNotice& notice, const Limit& limit) {
  // A random key would make the run twice when the program is started again.
  if (workflow != 0 && key.empty() && !spec.idempotent)
    return base::error("invalid_request",
                       "a run of a workflow has a key: its name, by which a program that was "
                       "started again finds it; one that is idempotent needs none");
  auto request = prepare(connection, spec, workflow, progress, notice, limit);
  if (!request) return request.error();
  auto made = create_run(connection, *request, key, limit);
  // What was sent may have been collected since, as above.
  if (made || made.error().code() != "commit_not_found") return made;
  request = prepare(connection, spec, workflow, progress, {}, limit);
  if (!request) return request.error();
  return create_run(connection, *request, key, limit);
}

Result<RunInfo> Runs::submit(const RunSpec& spec, const std::string& key,
                             const SubmitProgress& progress, CallOptions options,
                             const SubmitNotice& notice) const {
  Limit limit(options, connection_->waiter());
  return detail::submit(*connection_, spec, connection_->workflow(), key, progress, notice, limit);
}

Result<Run> Runs::create(const RunSpec& spec, const std::string& key, CallOptions options) const {
  auto info = submit(spec, key, {}, options);
  if (!info) return info.error();
  return Run(connection_, info->id);
}

}  // namespace spell
