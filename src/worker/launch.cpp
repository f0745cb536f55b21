#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "worker/building.hpp"
#include "worker/cdi.hpp"
#include "worker/environment.hpp"
#include "worker/hooks.hpp"
#include "worker/image_layer.hpp"
#include "worker/mount_record.hpp"
#include "worker/system_layer.hpp"

namespace spell::worker {

namespace {

constexpr std::int64_t stop_slack_s = 10;  ///< for what a supervisor does after the command's end

Result<> link_python(const std::string& programs, const std::string& python) {
  SPELL_TRY(base::make_folders(programs, 0755));
  std::string link = programs + "/python";
  ::unlink(link.c_str());
  if (::symlink(python.c_str(), link.c_str()) != 0) return base::errno_error("make " + link);
  return ok();
}

/// What its machine's devices need, for a run in an image. `surroundings`: its variables.
void apply(const DeviceEdits& edits, exec::Launch& what, std::vector<std::string>& surroundings) {
  what.binds.insert(what.binds.end(), edits.binds.begin(), edits.binds.end());
  what.links.insert(what.links.end(), edits.links.begin(), edits.links.end());
  surroundings.insert(surroundings.end(), edits.env.begin(), edits.env.end());
  if (edits.libraries.empty()) return;
  constexpr std::string_view variable = "LD_LIBRARY_PATH=";
  std::string before;
  for (auto& entry : surroundings)
    if (entry.starts_with(variable)) before = ":" + entry.substr(variable.size());
  surroundings.push_back(std::string(variable) + base::join(edits.libraries, ":") + before);
}

/// The way to the service, for a run that manages a workflow.
void lead_to_service(const Host& host, exec::Launch& what, model::StartCommand& start) {
  auto& url = start.env["SPELL_BASE_URL"];
  if (host.workflow_socket.empty()) {
    url = host.service_url;
    if (!host.service_fingerprint.empty())
      start.env["SPELL_CERT_SHA256"] = host.service_fingerprint;
  } else if (what.containment == exec::Containment::best_effort) {
    url = "unix:" + host.workflow_socket;
  } else {
    // The folder, not the socket: a service that was started anew has made another one.
    auto slash = host.workflow_socket.rfind('/');
    url = "unix:" + std::string(model::service_folder) + host.workflow_socket.substr(slash);
    what.binds.push_back(
        {host.workflow_socket.substr(0, slash), std::string(model::service_folder), true});
  }
}

}  // namespace

Result<Launched> launch(const Folders& folders, const Host& host, const model::StartCommand& asked,
                        std::int64_t lease_until_us, std::int64_t allowed_until_us) {
  model::StartCommand start = asked;
  for (auto& [variable, name] : start.request.secrets)
    if (!start.secrets.contains(variable))
      return base::error("secret_not_found", "secret '" + name +
                                                 "' was removed, or cannot be read, "
                                                 "since the run was submitted");
  exec::Launch what;
  what.folder = folders.run(start.run);
  bool has_code = start.request.code && !start.code_url.empty();
  if (!has_code && !finds_data(start)) SPELL_TRY(folders.clear(start.run));
  auto mounts =
      start.mounts.empty() ? Result<MountRecord>(MountRecord()) : read_mount_record(what.folder);
  if (!mounts) return mounts.error();

  std::optional<EnvironmentRecord> built;
  DeviceEdits edits;
  if (start.request.has_environment()) {
    auto record = read_environment_record(what.folder);
    if (!record) return record.error();
    if (!*record ||
        ((*record)->tree.empty() && (*record)->system.empty() && (*record)->image.empty()))
      return base::error("internal", "the run's environment is not there");
    built = std::move(**record);
    if (!built->tree.empty())
      mounts->mounts.insert(
          mounts->mounts.begin(),
          exec::MountSpec{built->tree, "", "", std::string(model::environment_folder)});
    if (!built->image.empty()) {
      auto root = make_image_root(built->image, built->system, what.folder + "/root");
      if (!root) return root.error();
      what.root = std::move(*root);
      auto gpus = start.env.find(gpu_variable);
      if (gpus != start.env.end() && !gpus->second.empty()) {
        auto found = gpu_edits(host.cdi, base::split(gpus->second, ','));
        if (!found) return found.error();
        edits = std::move(*found);
      }
    } else if (!built->system.empty()) {
      what.system.layer = built->system + "/" + system_root;
    }
  }

  if (host.users) {
    auto user = host.users->take(start.run, what.folder);
    if (!user) return user.error();
    what.user = *user;
  }
  what.containment = host.capabilities.containment;
  what.binds = std::move(mounts->binds);
  if (start.manages) lead_to_service(host, what, start);
  if (start.request.build) start.env["SPELL_PROGRAM"] = model::built_program;
  auto paths = run_paths(host.capabilities.containment, what.folder);
  auto surroundings = surroundings_of(host.base_environment, host.users != nullptr, paths,
                                      built ? built->image : "");
  apply(edits, what, surroundings);
  auto environment =
      environment_of(start, surroundings, paths, host.machine, built ? &*built : nullptr);
  environment.notices.insert(environment.notices.end(), edits.notices.begin(), edits.notices.end());
  if (!environment.python.empty()) {
    if (host.capabilities.containment == exec::Containment::best_effort)
      SPELL_TRY(link_python(paths.programs, environment.python));
    else
      what.links.emplace_back(environment.python, paths.programs + "/python");
  }
  if (host.capabilities.containment == exec::Containment::best_effort)
    environment.notices.insert(environment.notices.begin(),
                               "containment: best effort (" + host.capabilities.remedy + ")");

  what.run_id = start.run;
  what.supervisor = host.supervisor;
  what.command = start.request.command;
  what.env = std::move(environment.variables);
  for (auto& [variable, value] : start.secrets) what.masks.push_back(value);
  what.working_folder = start.request.folder;
  what.hidden = host.hidden;
  what.mounts = std::move(mounts->mounts);
  what.log_limit = start.request.log_limit;
  what.stop_grace_s = start.request.stop_grace;
  what.timeout_s = start.request.timeout.value_or(0);
  what.lease_until_us = lease_until_us;
  what.allowed_until_us = allowed_until_us;
  what.split_output = start.request.split_output;
  what.revive = host.revive;
  what.service_lock = host.service_lock;
  if (host.scopes)
    what.scope = {"spell-run-" + start.run,
                  "Run " + std::to_string(start.number) + " of " + start.owner,
                  start.request.stop_grace + stop_slack_s};
  what.limits = exec::limits_that_bind({start.memory, start.cpus});
  auto supervised = exec::Supervised::start(what);
  // A worker that was killed just here has started one already.
  if (!supervised && supervised.error().code() == "in_use")
    supervised = exec::Supervised::attach(what.folder);
  if (!supervised) return supervised.error();
  if (host.scopes && !supervised->in_scope())
    environment.notices.push_back(
        "systemd gave this run no scope of its own: it belongs to the worker's unit");
  if (!supervised->not_limited().empty()) environment.notices.push_back(supervised->not_limited());
  return Launched{std::move(*supervised), std::move(environment.notices)};
}

}  // namespace spell::worker
