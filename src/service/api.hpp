// What the handlers of the API share: what they may use, a call, and the forms of answers. One file
// of handlers a noun.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/pool.hpp"
#include "git/store.hpp"
#include "model/routes.hpp"
#include "model/run.hpp"
#include "net/server.hpp"
#include "service/caller.hpp"
#include "service/collector.hpp"
#include "service/ends.hpp"
#include "service/guesses.hpp"
#include "service/hub.hpp"
#include "service/log_store.hpp"
#include "service/machine_link.hpp"
#include "service/metrics.hpp"
#include "service/packages.hpp"
#include "service/pools.hpp"
#include "service/quota.hpp"
#include "service/reactor.hpp"
#include "service/readers.hpp"
#include "service/secrets.hpp"
#include "service/service.hpp"
#include "service/space.hpp"
#include "service/streams.hpp"
#include "service/timer.hpp"
#include "spellfs/pack_store.hpp"

namespace spell::service {

using model::json;

class Sdk;

struct Context {
  const ServiceOptions& options;
  Readers& readers;
  Reactor& reactor;
  Hub& hub;
  Ends& ends;
  Timer& timer;
  base::Pool& jobs;      ///< Git and packs
  base::Pool& log_jobs;  ///< log files
  LogStore& logs;
  spellfs::PackStore& objects;
  MachineLink& machines;
  Space& space;
  Storage& storage;
  Streams& streams;
  Collector& collector;
  Packages& packages;
  Pools& pools;
  Sdk& sdk;
  SecretBox& secrets;
  Metrics& metrics;
  std::int64_t started_us;
  std::function<void(const std::string& reason)> request_stop;
  std::function<std::string(const std::string& owner, const std::string& workspace)> code_path;
  std::function<std::string()> url;  ///< as others reach it: https://HOST:PORT or unix:PATH
  std::function<std::string()>
      fingerprint;  ///< of the authority to be trusted at that URL; "": none
  std::function<std::string()> certificate;  ///< shown there now; "": none
  Guesses& guesses;
  base::Pool& passwords;  ///< hashes them, one after the other
};

/// One request and how to answer it; shared by the steps that carry it out.
struct CallData {
  net::Request request;
  net::Reply reply;
  std::map<std::string, std::string>
      path;  ///< {owner}, {run}, …; of {path...} the decoded segments joined with '/'
  Caller caller;

  const std::string& owner() const { return path.at("owner"); }
  /// A query parameter, "" if absent.
  std::string query(const std::string& name) const;
  bool flag(const std::string& name) const;
  /// A whole number within bounds; `other` if absent. Error `invalid_request` naming the parameter.
  Result<std::int64_t> number(const std::string& name, std::int64_t other, std::int64_t least,
                              std::int64_t most) const;
};
using Call = std::shared_ptr<CallData>;

/// The start of every answer: names the service's version, so that a client notices an upgrade.
net::Response new_response();
void answer(const Call&, const json&, int status = 200);
void refuse(const Call&, const Error&);
net::Response error_response(const Error&, const std::string& request_id);

/// None of 0.
std::optional<Time> time_of(std::int64_t us);
/// The run's number in the path; error `run_not_found` for what is no number.
Result<std::int64_t> run_number(const Call&);
/// The key of a submission, "" without one.
Result<std::string> key_of(const Call&);
/// The run of the path. Errors `run_not_found`, `not_permitted`.
Result<store::RunRecord> find_run(Context&, const Call&);
/// As the API shows it.
RunInfo to_info(Context&, const store::RunRecord&);
json run_json(Context&, const store::RunRecord&, bool existed = false);
/// The caller's body as an object; error `invalid_json`, `invalid_request`.
Result<json> body_object(const Call&);

/// Notes who does what, in the transaction of the change itself. `action`: "noun.verb"
/// ("machine.add"); `thing`: the name of what is changed; `detail`: for people, holds no secret.
Result<> audit(State&, std::int64_t now_us, const Caller&, const std::string& action,
               const std::string& thing, const std::string& detail, const std::string& request_id);
Result<> audit(State&, std::int64_t now_us, const Call&, const std::string& action,
               const std::string& thing, const std::string& detail = {});

/// The run of a worker's request, if it is this worker's now; `run` and `epoch` stand in the query,
/// or in the body. Errors: `run_not_found`, `stale_epoch`, `invalid_request`.
Result<Assignment> assigned(Context&, const Call&);
Result<Assignment> assigned_in_body(Context&, const Call&, const json& body);

/// Whether the caller's credentials reach this run: those of a workflow reach its own.
Result<> may_reach(const Call&, const store::RunRecord&);
/// Whether what `creator` made is the caller's to change; `what` names it ("run 7"). Error
/// `not_permitted`.
Result<> may_change(const Call&, const std::string& creator, const std::string& what);

/// A list of SpellFS names in a body; error `invalid_request`.
Result<std::vector<spellfs::Name>> object_names(const json& body, const char* field);

using HandlerFunction = void (*)(Context&, Call);
HandlerFunction handler_of(model::Route);

// about.cpp
void get_openapi(Context&, Call);
void get_health(Context&, Call);
// metrics.cpp
void get_metrics(Context&, Call);
// budgets.cpp
void list_budgets(Context&, Call);
void put_budget(Context&, Call);
void delete_budget(Context&, Call);

// runs.cpp
/// Error `not_permitted`: its priority is for administrators.
Result<> check_priority(const Call&, const model::RunRequest&);

// quotas.cpp
void list_quotas(Context&, Call);
void put_quota(Context&, Call);
/// Error `quota_exceeded`.
Result<> check_bytes(Context&, const Call&);
// costs.cpp
void get_costs(Context&, Call);
void get_status(Context&, Call);
void stop_service(Context&, Call);
// install.cpp
void get_install(Context&, Call);
// runs.cpp
void list_runs(Context&, Call);
void create_run(Context&, Call);
void get_run(Context&, Call);
void delete_run(Context&, Call);
void stop_run(Context&, Call);
void kill_run(Context&, Call);
void archive_run(Context&, Call);
void label_run(Context&, Call);
void rerun(Context&, Call);
/// That a commit is here, and that it stays as long as what is returned. Error `commit_not_found`.
/// Blocks.
Result<std::shared_ptr<void>> hold_commit(Context&, const std::string& owner,
                                          const model::CodeRef&);
// workflows.cpp
void list_workflows(Context&, Call);
void create_workflow(Context&, Call);
void get_workflow(Context&, Call);
void delete_workflow(Context&, Call);
void stop_workflow(Context&, Call);
void kill_workflow(Context&, Call);
void finish_workflow(Context&, Call);
/// Makes a run one of its caller's workflow, or of the one that it names, and puts its commit in
/// the place of a label.
Result<> into_workflow(Context&, const Call&, model::RunRequest&, const std::string& key);
// logs.cpp
void get_log(Context&, Call);
// ends.cpp
void list_ends(Context&, Call);
// run_metrics.cpp
void list_metrics(Context&, Call);
void metric_points(Context&, Call);
// streams.cpp
void exec_in_run(Context&, Call);
void forward_to_run(Context&, Call);
void run_stats(Context&, Call);
void machine_stream(Context&, Call);
// resources.cpp
void list_resource(Context&, Call);
void read_file(Context&, Call);
void read_objects(Context&, Call);
// uploads.cpp
/// What a body says that an upload is, after a look at what this owner has sent; the pin keeps it
/// until a durable record names it. Errors: `invalid_request`, `incomplete_pack`. Blocks.
struct CheckedUpload {
  store::UploadRecord record;
  std::shared_ptr<spellfs::PackStore::Pin> pin;
};
Result<CheckedUpload> check_upload(Context&, const Call&, const std::string& name,
                                   const json& body);
/// The form alone. Error `invalid_request`.
Result<> check_upload_form(const json& body);
void objects_missing(Context&, Call);
void send_objects(Context&, Call);
void put_upload(Context&, Call);
void delete_upload(Context&, Call);
// storage_routes.cpp
void collect_storage(Context&, Call);
void check_storage(Context&, Call);
void back_up_service(Context&, Call);
void get_usage(Context&, Call);
// links.cpp
void list_links(Context&, Call);
void put_link(Context&, Call);
void delete_link(Context&, Call);
// secrets.cpp
void list_secrets(Context&, Call);
void put_secret(Context&, Call);
void delete_secret(Context&, Call);
// projects.cpp
void list_projects(Context&, Call);
void create_project(Context&, Call);
void get_project(Context&, Call);
void edit_project(Context&, Call);
void change_project_runs(Context&, Call);
// people.cpp
Error no_such_user(const std::string& name);
void log_in(Context&, Call);
void log_out(Context&, Call);
void get_user(Context&, Call);
void change_password(Context&, Call);
void list_users(Context&, Call);
void add_user(Context&, Call);
void edit_user(Context&, Call);
void reset_user(Context&, Call);
void list_tokens(Context&, Call);
void create_token(Context&, Call);
void revoke_token(Context&, Call);
void list_audit(Context&, Call);
// owners.cpp
/// The same answer for one that there is not and one that the caller does not belong to.
Error no_such_owner(const Caller&, const std::string& owner);
void list_owners(Context&, Call);
void add_owner(Context&, Call);
void change_members(Context&, Call);
// code.cpp
void list_repositories(Context&, Call);
void code_missing(Context&, Call);
void send_code(Context&, Call);
// machine_routes.cpp
std::vector<MachineInfo> machine_infos(Context&, const std::string& owner);
void list_machines(Context&, Call);
void create_machine(Context&, Call);
void get_machine(Context&, Call);
void edit_machine(Context&, Call);
void delete_machine(Context&, Call);
void interrupt_machine(Context&, Call);
void machine_token(Context&, Call);
// machine_type_routes.cpp
void list_machine_types(Context&, Call);
void create_machine_type(Context&, Call);
void edit_machine_type(Context&, Call);
void delete_machine_type(Context&, Call);
void machine_type_token(Context&, Call);
void list_catalogue(Context&, Call);
void put_price_list(Context&, Call);
// join.cpp
/// Makes a join token and answers with it. `machine_of`: what it is for (a machine's id, or
/// "type:OWNER/NAME"), and what changes in the same transaction. `action`, `thing`: see audit();
/// `thing` is also the machine that the answer names, unless it is a type.
void answer_join_token(Context&, Call, const std::string& action, const std::string& thing,
                       std::function<Result<std::string>(State&, std::int64_t now)> machine_of);
void join(Context&, Call);
// machines.cpp
/// Of a worker's message, before anything else in it is looked at: one of another version may have
/// members that this one does not know. Error `unsupported_protocol`: which side is to be upgraded.
Result<> check_protocol(const json& message);
void machine_sync(Context&, Call);
void machine_log(Context&, Call);
void machine_metrics(Context&, Call);
void machine_objects(Context&, Call);
void machine_missing(Context&, Call);
// machine_data.cpp
void machine_code(Context&, Call);
void machine_read(Context&, Call);
// layers.cpp
void machine_claim_layer(Context&, Call);
void machine_put_layer(Context&, Call);
// environments.cpp
/// Puts what stands in a requirements file of the run's commit into its request. Errors:
/// `invalid_requirements`. Blocks.
Result<> read_requirements(Context&, const std::string& owner, model::RunRequest&);
void list_environments(Context&, Call);
void get_environment(Context&, Call);
void delete_environment(Context&, Call);

}  // namespace spell::service
