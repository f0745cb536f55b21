#include "spell/json.hpp"

#include "base/clock.hpp"
#include "base/text.hpp"
#include "model/machine_members.hpp"
#include "model/members.hpp"
#include "model/money.hpp"
#include "model/run.hpp"
#include "model/run_members.hpp"

namespace spell::model {

template <>
struct Codec<Time> {
  static Problem read(const json& j, Time& out) {
    std::int64_t us = 0;
    auto problem = read_time(j, us);
    out = Time(std::chrono::duration_cast<Time::duration>(std::chrono::microseconds(us)));
    return problem;
  }
  static json write(const Time& time) {
    return base::rfc3339(
        std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count());
  }
};

/// A finite number that is not negative.
template <>
struct Codec<double> {
  static Problem read(const json& j, double& out) {
    if (!j.is_number() || j.get<double>() < 0) return {"", "must be a number, 0 or more"};
    out = j.get<double>();
    return {};
  }
  static json write(double number) { return number; }
};

template <>
struct Codec<RunStatus> {
  static Problem read(const json& j, RunStatus& out) {
    std::string name;
    auto problem = read_text(j, name, 64);
    out = RunStatus(name);
    return problem;
  }
  static json write(const RunStatus& status) { return status.name(); }
};

template <>
struct Codec<EntryType> {
  static constexpr std::string_view names[] = {"file", "folder", "link"};
  static Problem read(const json& j, EntryType& out) {
    std::string name;
    if (auto problem = read_text(j, name, 64)) return problem;
    for (std::size_t type = 0; type < std::size(names); ++type)
      if (names[type] == name) return out = static_cast<EntryType>(type), Problem{};
    return {"", "must be file, folder or link"};
  }
  static json write(const EntryType& type) { return names[static_cast<std::size_t>(type)]; }
};

template <>
struct Table<Mount> {
  static constexpr Field<Mount> fields[] = {
      SPELL_REQUIRED(Mount, resource),
      SPELL_MEMBER(Mount, at),
  };
};

template <>
struct Table<EnvironmentLayer> {
  static constexpr Field<EnvironmentLayer> fields[] = {
      SPELL_REQUIRED(EnvironmentLayer, name),
      SPELL_REQUIRED(EnvironmentLayer, method),
      SPELL_MEMBER(EnvironmentLayer, packages),
  };
};

template <>
struct Table<RunInfo> {
  static constexpr Field<RunInfo> fields[] = {
      SPELL_REQUIRED(RunInfo, id),
      SPELL_REQUIRED(RunInfo, status),
      SPELL_MEMBER(RunInfo, reason_code),
      SPELL_MEMBER(RunInfo, reason),
      SPELL_MEMBER(RunInfo, user_exit_code),
      SPELL_MEMBER(RunInfo, user_signal),
      SPELL_MEMBER(RunInfo, command),
      SPELL_MEMBER(RunInfo, description),
      SPELL_MEMBER(RunInfo, creator),
      SPELL_MEMBER(RunInfo, project),
      SPELL_MEMBER(RunInfo, machine_type),
      SPELL_MEMBER(RunInfo, machine),
      SPELL_MEMBER(RunInfo, labels),
      SPELL_MEMBER(RunInfo, env),
      SPELL_MEMBER(RunInfo, secrets),
      SPELL_MEMBER(RunInfo, git_commit),
      SPELL_MEMBER(RunInfo, git_base_commit),
      SPELL_MEMBER(RunInfo, workspace),
      SPELL_MEMBER(RunInfo, repository),
      SPELL_MEMBER(RunInfo, github_url),
      SPELL_MEMBER(RunInfo, folder),
      SPELL_MEMBER(RunInfo, after),
      SPELL_MEMBER(RunInfo, timeout),
      SPELL_MEMBER(RunInfo, created_at),
      SPELL_MEMBER(RunInfo, started_at),
      SPELL_MEMBER(RunInfo, ended_at),
      SPELL_MEMBER(RunInfo, resumed_as_run),
      SPELL_MEMBER(RunInfo, resumed_from_run),
      SPELL_MEMBER(RunInfo, log_bytes),
      SPELL_MEMBER(RunInfo, output_files),
      SPELL_MEMBER(RunInfo, output_bytes),
      SPELL_MEMBER(RunInfo, outputs),
      SPELL_MEMBER(RunInfo, archived),
      SPELL_MEMBER(RunInfo, already_existed),
      SPELL_MEMBER(RunInfo, version),
      SPELL_MEMBER(RunInfo, mounts),
      SPELL_MEMBER(RunInfo, workflow),
      SPELL_MEMBER(RunInfo, key),
      SPELL_MEMBER(RunInfo, manages),
      SPELL_MEMBER(RunInfo, params),
      SPELL_MEMBER(RunInfo, auto_resume),
      SPELL_MEMBER(RunInfo, exclusive),
      SPELL_MEMBER(RunInfo, notice_signal),
      SPELL_MEMBER(RunInfo, append),
      SPELL_MEMBER(RunInfo, backlog),
      SPELL_MEMBER(RunInfo, price),
      SPELL_MEMBER(RunInfo, cost),
      SPELL_MEMBER(RunInfo, max_cost),
      SPELL_MEMBER(RunInfo, pip),
      SPELL_MEMBER(RunInfo, requirements),
      SPELL_MEMBER(RunInfo, setup),
      SPELL_MEMBER(RunInfo, environment),
      SPELL_MEMBER(RunInfo, apt),
      SPELL_MEMBER(RunInfo, priority),
      SPELL_MEMBER(RunInfo, image),
      SPELL_MEMBER(RunInfo, conda_file),
  };
};

template <>
struct Table<WorkflowCommit> {
  static constexpr Field<WorkflowCommit> fields[] = {
      SPELL_REQUIRED(WorkflowCommit, commit),   SPELL_MEMBER(WorkflowCommit, workspace),
      SPELL_MEMBER(WorkflowCommit, repository), SPELL_MEMBER(WorkflowCommit, message),
      SPELL_MEMBER(WorkflowCommit, github_url),
  };
};

template <>
struct Table<WorkflowRun> {
  static constexpr Field<WorkflowRun> fields[] = {
      SPELL_REQUIRED(WorkflowRun, id),     SPELL_MEMBER(WorkflowRun, key),
      SPELL_REQUIRED(WorkflowRun, status), SPELL_MEMBER(WorkflowRun, user_exit_code),
      SPELL_MEMBER(WorkflowRun, manages),  SPELL_MEMBER(WorkflowRun, mounts),
  };
};

template <>
struct Table<WorkflowInfo> {
  static constexpr Field<WorkflowInfo> fields[] = {
      SPELL_REQUIRED(WorkflowInfo, id),        SPELL_REQUIRED(WorkflowInfo, status),
      SPELL_MEMBER(WorkflowInfo, description), SPELL_MEMBER(WorkflowInfo, creator),
      SPELL_MEMBER(WorkflowInfo, run),         SPELL_MEMBER(WorkflowInfo, user_exit_code),
      SPELL_MEMBER(WorkflowInfo, commits),     SPELL_MEMBER(WorkflowInfo, created_at),
      SPELL_MEMBER(WorkflowInfo, ended_at),    SPELL_MEMBER(WorkflowInfo, runs_by_status),
      SPELL_MEMBER(WorkflowInfo, runs),
  };
};

template <>
struct Table<ResourceInfo> {
  static constexpr Field<ResourceInfo> fields[] = {
      SPELL_REQUIRED(ResourceInfo, path),      SPELL_REQUIRED(ResourceInfo, type),
      SPELL_MEMBER(ResourceInfo, size),        SPELL_MEMBER(ResourceInfo, mode),
      SPELL_MEMBER(ResourceInfo, modified_at), SPELL_MEMBER(ResourceInfo, link_target),
      SPELL_MEMBER(ResourceInfo, node),        SPELL_MEMBER(ResourceInfo, bytes),
      SPELL_MEMBER(ResourceInfo, files),
  };
};

template <>
struct Table<UploadInfo> {
  static constexpr Field<UploadInfo> fields[] = {
      SPELL_REQUIRED(UploadInfo, name),       SPELL_MEMBER(UploadInfo, type),
      SPELL_MEMBER(UploadInfo, size),         SPELL_MEMBER(UploadInfo, files),
      SPELL_MEMBER(UploadInfo, created_at),   SPELL_MEMBER(UploadInfo, creator),
      SPELL_MEMBER(UploadInfo, node),         SPELL_MEMBER(UploadInfo, sent),
      SPELL_MEMBER(UploadInfo, deduplicated), SPELL_MEMBER(UploadInfo, left_out),
      SPELL_MEMBER(UploadInfo, skipped),
  };
};

template <>
struct Table<LinkInfo> {
  static constexpr Field<LinkInfo> fields[] = {
      SPELL_REQUIRED(LinkInfo, alias),
      SPELL_MEMBER(LinkInfo, resource),
      SPELL_MEMBER(LinkInfo, created_at),
  };
};

template <>
struct Table<QuotaInfo> {
  static constexpr Field<QuotaInfo> fields[] = {
      SPELL_REQUIRED(QuotaInfo, user),  SPELL_MEMBER(QuotaInfo, runs),
      SPELL_MEMBER(QuotaInfo, bytes),   SPELL_MEMBER(QuotaInfo, log_bytes),
      SPELL_MEMBER(QuotaInfo, running), SPELL_MEMBER(QuotaInfo, stored_bytes),
      SPELL_MEMBER(QuotaInfo, runs_of),
  };
};

template <>
struct Table<BudgetInfo> {
  static constexpr Field<BudgetInfo> fields[] = {
      SPELL_REQUIRED(BudgetInfo, kind), SPELL_REQUIRED(BudgetInfo, name),
      SPELL_MEMBER(BudgetInfo, amount), SPELL_MEMBER(BudgetInfo, monthly),
      SPELL_MEMBER(BudgetInfo, spent),  SPELL_MEMBER(BudgetInfo, reserved),
  };
};

template <>
struct Table<CostLine> {
  static constexpr Field<CostLine> fields[] = {
      SPELL_MEMBER(CostLine, name),      SPELL_MEMBER(CostLine, runs),
      SPELL_MEMBER(CostLine, time_ms),   SPELL_MEMBER(CostLine, amount),
      SPELL_MEMBER(CostLine, on_demand), SPELL_MEMBER(CostLine, lost_ms),
      SPELL_MEMBER(CostLine, lost),
  };
};

template <>
struct Table<MachineTimeCost> {
  static constexpr Field<MachineTimeCost> fields[] = {
      SPELL_REQUIRED(MachineTimeCost, type), SPELL_MEMBER(MachineTimeCost, machines),
      SPELL_MEMBER(MachineTimeCost, start),  SPELL_MEMBER(MachineTimeCost, idle),
      SPELL_MEMBER(MachineTimeCost, ending),
  };
};

template <>
struct Table<CostReport> {
  static constexpr Field<CostReport> fields[] = {
      SPELL_REQUIRED(CostReport, by),         SPELL_MEMBER(CostReport, since),
      SPELL_MEMBER(CostReport, until),        SPELL_MEMBER(CostReport, lines),
      SPELL_MEMBER(CostReport, more),         SPELL_MEMBER(CostReport, total),
      SPELL_MEMBER(CostReport, machine_time), SPELL_MEMBER(CostReport, all),
      SPELL_MEMBER(CostReport, unpriced),
  };
};

template <>
struct Table<EnvironmentInfo> {
  static constexpr Field<EnvironmentInfo> fields[] = {
      SPELL_REQUIRED(EnvironmentInfo, name),  SPELL_REQUIRED(EnvironmentInfo, method),
      SPELL_MEMBER(EnvironmentInfo, base),    SPELL_MEMBER(EnvironmentInfo, made_of),
      SPELL_REQUIRED(EnvironmentInfo, state), SPELL_MEMBER(EnvironmentInfo, packages),
      SPELL_MEMBER(EnvironmentInfo, size),    SPELL_MEMBER(EnvironmentInfo, files),
      SPELL_MEMBER(EnvironmentInfo, runs),    SPELL_MEMBER(EnvironmentInfo, created_at),
      SPELL_MEMBER(EnvironmentInfo, used_at),
  };
};

template <>
struct Table<SecretInfo> {
  static constexpr Field<SecretInfo> fields[] = {
      SPELL_REQUIRED(SecretInfo, name),
      SPELL_MEMBER(SecretInfo, created_at),
  };
};

template <>
struct Table<UsageInfo> {
  static constexpr Field<UsageInfo> fields[] = {
      SPELL_MEMBER(UsageInfo, name),
      SPELL_MEMBER(UsageInfo, bytes),
      SPELL_MEMBER(UsageInfo, stored_bytes),
      SPELL_MEMBER(UsageInfo, files),
  };
};

template <>
struct Table<StorageCheck> {
  static constexpr Field<StorageCheck> fields[] = {
      SPELL_MEMBER(StorageCheck, packs), SPELL_MEMBER(StorageCheck, objects),
      SPELL_MEMBER(StorageCheck, bytes), SPELL_MEMBER(StorageCheck, damaged),
      SPELL_MEMBER(StorageCheck, hurt),
  };
};

template <>
struct Table<GpuStats> {
  static constexpr Field<GpuStats> fields[] = {
      SPELL_REQUIRED(GpuStats, index),          SPELL_MEMBER(GpuStats, name),
      SPELL_MEMBER(GpuStats, use_percent),      SPELL_MEMBER(GpuStats, memory),
      SPELL_MEMBER(GpuStats, memory_total),     SPELL_MEMBER(GpuStats, temperature),
      SPELL_MEMBER(GpuStats, power_milliwatts),
  };
};

template <>
struct Table<RunStats> {
  static constexpr Field<RunStats> fields[] = {
      SPELL_REQUIRED(RunStats, run),
      SPELL_MEMBER(RunStats, cpu_millis),
      SPELL_MEMBER(RunStats, cpu_time_ms),
      SPELL_MEMBER(RunStats, cores),
      SPELL_MEMBER(RunStats, memory),
      SPELL_MEMBER(RunStats, memory_total),
      SPELL_MEMBER(RunStats, processes),
      SPELL_MEMBER(RunStats, threads),
      SPELL_MEMBER(RunStats, disk_read),
      SPELL_MEMBER(RunStats, disk_written),
      SPELL_MEMBER(RunStats, disk_read_rate),
      SPELL_MEMBER(RunStats, disk_written_rate),
      SPELL_MEMBER(RunStats, network_received_rate),
      SPELL_MEMBER(RunStats, network_sent_rate),
      SPELL_MEMBER(RunStats, unsaved),
      SPELL_MEMBER(RunStats, unsaved_age_ms),
      SPELL_MEMBER(RunStats, gpus),
  };
};

template <>
struct Table<ProjectInfo> {
  static constexpr Field<ProjectInfo> fields[] = {
      SPELL_REQUIRED(ProjectInfo, name),     SPELL_MEMBER(ProjectInfo, description),
      SPELL_MEMBER(ProjectInfo, archived),   SPELL_MEMBER(ProjectInfo, runs),
      SPELL_MEMBER(ProjectInfo, created_at), SPELL_MEMBER(ProjectInfo, keep_days),
      SPELL_MEMBER(ProjectInfo, keep_runs),
  };
};

template <>
struct Table<UserInfo> {
  static constexpr Field<UserInfo> fields[] = {
      SPELL_REQUIRED(UserInfo, name),   SPELL_REQUIRED(UserInfo, role),
      SPELL_MEMBER(UserInfo, disabled), SPELL_MEMBER(UserInfo, created_at),
      SPELL_MEMBER(UserInfo, seen_at),
  };
};

template <>
struct Table<Identity> {
  static constexpr Field<Identity> fields[] = {
      SPELL_REQUIRED(Identity, user),
      SPELL_REQUIRED(Identity, owner),
      SPELL_MEMBER(Identity, owners),
  };
};

template <>
struct Table<OwnerInfo> {
  static constexpr Field<OwnerInfo> fields[] = {
      SPELL_REQUIRED(OwnerInfo, name),
      SPELL_MEMBER(OwnerInfo, own),
      SPELL_MEMBER(OwnerInfo, last_run),
      SPELL_MEMBER(OwnerInfo, members),
  };
};

template <>
struct Table<TokenInfo> {
  static constexpr Field<TokenInfo> fields[] = {
      SPELL_REQUIRED(TokenInfo, id),       SPELL_MEMBER(TokenInfo, name),
      SPELL_MEMBER(TokenInfo, user),       SPELL_MEMBER(TokenInfo, kind),
      SPELL_MEMBER(TokenInfo, created_at), SPELL_MEMBER(TokenInfo, expires_at),
      SPELL_MEMBER(TokenInfo, used_at),
  };
};

template <>
struct Table<NewToken> {
  static constexpr Field<NewToken> fields[] = {
      SPELL_REQUIRED(NewToken, token),
      SPELL_REQUIRED(NewToken, secret),
  };
};

template <>
struct Table<Login> {
  static constexpr Field<Login> fields[] = {
      SPELL_REQUIRED(Login, secret),
      SPELL_REQUIRED(Login, token),
      SPELL_REQUIRED(Login, user),
      SPELL_REQUIRED(Login, owner),
  };
};

template <>
struct Table<NewUser> {
  static constexpr Field<NewUser> fields[] = {
      SPELL_REQUIRED(NewUser, user),
      SPELL_MEMBER(NewUser, password),
  };
};

template <>
struct Table<AuditEntry> {
  static constexpr Field<AuditEntry> fields[] = {
      SPELL_REQUIRED(AuditEntry, number),   SPELL_MEMBER(AuditEntry, time),
      SPELL_MEMBER(AuditEntry, user),       SPELL_MEMBER(AuditEntry, action),
      SPELL_MEMBER(AuditEntry, thing),      SPELL_MEMBER(AuditEntry, detail),
      SPELL_MEMBER(AuditEntry, request_id),
  };
};

template <>
struct Table<RepositoryInfo> {
  static constexpr Field<RepositoryInfo> fields[] = {
      SPELL_REQUIRED(RepositoryInfo, workspace),  SPELL_MEMBER(RepositoryInfo, name),
      SPELL_MEMBER(RepositoryInfo, runs),         SPELL_MEMBER(RepositoryInfo, bytes),
      SPELL_MEMBER(RepositoryInfo, last_used_at),
  };
};

template <>
struct Table<Amounts> {
  static constexpr Field<Amounts> fields[] = {
      SPELL_MEMBER(Amounts, cpus),
      SPELL_MEMBER(Amounts, memory),
      SPELL_MEMBER(Amounts, gpus),
      SPELL_MEMBER(Amounts, managing),
  };
};

template <>
struct Table<MachineInfo> {
  static constexpr Field<MachineInfo> fields[] = {
      SPELL_REQUIRED(MachineInfo, name),       SPELL_MEMBER(MachineInfo, connected),
      SPELL_MEMBER(MachineInfo, cores),        SPELL_MEMBER(MachineInfo, places),
      SPELL_MEMBER(MachineInfo, busy),         SPELL_MEMBER(MachineInfo, memory),
      SPELL_MEMBER(MachineInfo, disk_free),    SPELL_MEMBER(MachineInfo, serves),
      SPELL_MEMBER(MachineInfo, capabilities), SPELL_MEMBER(MachineInfo, id),
      SPELL_MEMBER(MachineInfo, joined),       SPELL_MEMBER(MachineInfo, drained),
      SPELL_MEMBER(MachineInfo, allow),        SPELL_MEMBER(MachineInfo, gpus),
      SPELL_MEMBER(MachineInfo, offered),      SPELL_MEMBER(MachineInfo, used),
      SPELL_MEMBER(MachineInfo, runs),         SPELL_MEMBER(MachineInfo, version),
      SPELL_MEMBER(MachineInfo, created_at),   SPELL_MEMBER(MachineInfo, joined_at),
      SPELL_MEMBER(MachineInfo, seen_at),      SPELL_MEMBER(MachineInfo, lost_after),
      SPELL_MEMBER(MachineInfo, notes),        SPELL_MEMBER(MachineInfo, pool),
      SPELL_MEMBER(MachineInfo, phase),        SPELL_MEMBER(MachineInfo, going_at),
      SPELL_MEMBER(MachineInfo, going),
  };
};

template <>
struct Table<JoinToken> {
  static constexpr Field<JoinToken> fields[] = {
      SPELL_REQUIRED(JoinToken, url),   SPELL_REQUIRED(JoinToken, token),
      SPELL_MEMBER(JoinToken, machine), SPELL_MEMBER(JoinToken, expires_at),
      SPELL_MEMBER(JoinToken, install),
  };
};

template <>
struct Table<MachineTypeInfo> {
  static constexpr Field<MachineTypeInfo> fields[] = {
      SPELL_REQUIRED(MachineTypeInfo, name),
      SPELL_MEMBER(MachineTypeInfo, spot),
      SPELL_MEMBER(MachineTypeInfo, default_auto_resume),
      SPELL_MEMBER(MachineTypeInfo, gives),
      SPELL_MEMBER(MachineTypeInfo, lost_after),
      SPELL_MEMBER(MachineTypeInfo, declared),
      SPELL_MEMBER(MachineTypeInfo, machines),
      SPELL_MEMBER(MachineTypeInfo, connected),
      SPELL_MEMBER(MachineTypeInfo, largest),
      SPELL_MEMBER(MachineTypeInfo, gpu),
      SPELL_MEMBER(MachineTypeInfo, gpu_memory),
      SPELL_MEMBER(MachineTypeInfo, price),
      SPELL_MEMBER(MachineTypeInfo, pool),
      SPELL_MEMBER(MachineTypeInfo, pool_options),
      SPELL_MEMBER(MachineTypeInfo, min_machines),
      SPELL_MEMBER(MachineTypeInfo, max_machines),
      SPELL_MEMBER(MachineTypeInfo, idle_timeout),
      SPELL_MEMBER(MachineTypeInfo, launch_timeout),
      SPELL_MEMBER(MachineTypeInfo, pool_problem),
      SPELL_MEMBER(MachineTypeInfo, spot_price),
      SPELL_MEMBER(MachineTypeInfo, hourly),
      SPELL_MEMBER(MachineTypeInfo, price_from),
      SPELL_MEMBER(MachineTypeInfo, catalogue),
      SPELL_MEMBER(MachineTypeInfo, throughput),
      SPELL_MEMBER(MachineTypeInfo, max_unused),
      SPELL_MEMBER(MachineTypeInfo, unused_spent),
      SPELL_MEMBER(MachineTypeInfo, unused_reserved),
  };
};

template <>
struct Table<CatalogueEntry> {
  static constexpr Field<CatalogueEntry> fields[] = {
      SPELL_REQUIRED(CatalogueEntry, name),     SPELL_MEMBER(CatalogueEntry, gpu),
      SPELL_MEMBER(CatalogueEntry, gpus),       SPELL_MEMBER(CatalogueEntry, gpu_memory),
      SPELL_MEMBER(CatalogueEntry, cpus),       SPELL_MEMBER(CatalogueEntry, memory),
      SPELL_MEMBER(CatalogueEntry, disk),       SPELL_MEMBER(CatalogueEntry, throughput),
      SPELL_MEMBER(CatalogueEntry, cloud),      SPELL_MEMBER(CatalogueEntry, instance),
      SPELL_MEMBER(CatalogueEntry, price),      SPELL_MEMBER(CatalogueEntry, spot_price),
      SPELL_MEMBER(CatalogueEntry, price_from), SPELL_MEMBER(CatalogueEntry, sources),
  };
};

template <>
struct Table<ServiceInfo> {
  static constexpr Field<ServiceInfo> fields[] = {
      SPELL_REQUIRED(ServiceInfo, version),      SPELL_MEMBER(ServiceInfo, owner),
      SPELL_MEMBER(ServiceInfo, user),           SPELL_MEMBER(ServiceInfo, location),
      SPELL_MEMBER(ServiceInfo, spell_dir),      SPELL_MEMBER(ServiceInfo, pid),
      SPELL_MEMBER(ServiceInfo, protocol),       SPELL_MEMBER(ServiceInfo, started_at),
      SPELL_MEMBER(ServiceInfo, runs_by_status), SPELL_MEMBER(ServiceInfo, machines),
      SPELL_MEMBER(ServiceInfo, storage_bytes),  SPELL_MEMBER(ServiceInfo, log_bytes),
      SPELL_MEMBER(ServiceInfo, disk_free),      SPELL_MEMBER(ServiceInfo, notes),
  };
};

json to_json(const RunInfo& run) { return write_object(run); }

Result<RunInfo> parse_run_info(const json& j) {
  RunInfo run;
  if (auto problem = read_value(j, run, Unknown::ignore)) return problem.error("invalid_answer");
  return run;
}

}  // namespace spell::model

namespace spell {

namespace {

/// nlohmann's way: what cannot be read is thrown.
template <class T>
void read_or_throw(const nlohmann::json& j, T& out) {
  T value;
  if (auto problem = model::read_value(j, value, model::Unknown::ignore))
    throw problem.error("invalid_answer");
  out = std::move(value);
}

}  // namespace

using nlohmann::json;

void to_json(json& j, const RunInfo& run) { j = model::write_object(run); }
void from_json(const json& j, RunInfo& run) { read_or_throw(j, run); }
void to_json(json& j, const ResourceInfo& resource) { j = model::write_object(resource); }
void from_json(const json& j, ResourceInfo& resource) { read_or_throw(j, resource); }
void to_json(json& j, const UploadInfo& upload) { j = model::write_object(upload); }
void from_json(const json& j, UploadInfo& upload) { read_or_throw(j, upload); }
void to_json(json& j, const LinkInfo& link) { j = model::write_object(link); }
void from_json(const json& j, LinkInfo& link) { read_or_throw(j, link); }
void to_json(json& j, const UsageInfo& usage) { j = model::write_object(usage); }
void from_json(const json& j, UsageInfo& usage) { read_or_throw(j, usage); }
void to_json(json& j, const StorageCheck& check) { j = model::write_object(check); }
void from_json(const json& j, StorageCheck& check) { read_or_throw(j, check); }
void to_json(json& j, const ProjectInfo& project) { j = model::write_object(project); }
void from_json(const json& j, ProjectInfo& project) { read_or_throw(j, project); }
void to_json(json& j, const UserInfo& value) { j = model::write_object(value); }
void from_json(const json& j, UserInfo& value) { read_or_throw(j, value); }
void to_json(json& j, const Identity& value) { j = model::write_object(value); }
void from_json(const json& j, Identity& value) { read_or_throw(j, value); }
void to_json(json& j, const OwnerInfo& value) { j = model::write_object(value); }
void from_json(const json& j, OwnerInfo& value) { read_or_throw(j, value); }
void to_json(json& j, const TokenInfo& value) { j = model::write_object(value); }
void from_json(const json& j, TokenInfo& value) { read_or_throw(j, value); }
void to_json(json& j, const NewToken& value) { j = model::write_object(value); }
void from_json(const json& j, NewToken& value) { read_or_throw(j, value); }
void to_json(json& j, const Login& value) { j = model::write_object(value); }
void from_json(const json& j, Login& value) { read_or_throw(j, value); }
void to_json(json& j, const NewUser& value) { j = model::write_object(value); }
void from_json(const json& j, NewUser& value) { read_or_throw(j, value); }
void to_json(json& j, const AuditEntry& value) { j = model::write_object(value); }
void from_json(const json& j, AuditEntry& value) { read_or_throw(j, value); }
void to_json(json& j, const QuotaInfo& quota) { j = model::write_object(quota); }
void from_json(const json& j, QuotaInfo& quota) { read_or_throw(j, quota); }
void to_json(json& j, const BudgetInfo& budget) { j = model::write_object(budget); }
void from_json(const json& j, BudgetInfo& budget) { read_or_throw(j, budget); }
void to_json(json& j, const CostReport& report) { j = model::write_object(report); }
void from_json(const json& j, CostReport& report) { read_or_throw(j, report); }
void to_json(json& j, const EnvironmentInfo& layer) { j = model::write_object(layer); }
void from_json(const json& j, EnvironmentInfo& layer) { read_or_throw(j, layer); }
void to_json(json& j, const EnvironmentLayer& layer) { j = model::write_object(layer); }
void from_json(const json& j, EnvironmentLayer& layer) { read_or_throw(j, layer); }
void to_json(json& j, const SecretInfo& secret) { j = model::write_object(secret); }
void from_json(const json& j, SecretInfo& secret) { read_or_throw(j, secret); }
void to_json(json& j, const RepositoryInfo& repository) { j = model::write_object(repository); }
void from_json(const json& j, RepositoryInfo& repository) { read_or_throw(j, repository); }
void to_json(json& j, const MachineInfo& machine) { j = model::write_object(machine); }
void from_json(const json& j, MachineInfo& machine) { read_or_throw(j, machine); }
void to_json(json& j, const RunStats& stats) { j = model::write_object(stats); }
void from_json(const json& j, RunStats& stats) { read_or_throw(j, stats); }
void to_json(json& j, const JoinToken& token) { j = model::write_object(token); }
void from_json(const json& j, JoinToken& token) { read_or_throw(j, token); }
void to_json(json& j, const MachineTypeInfo& type) { j = model::write_object(type); }
void from_json(const json& j, MachineTypeInfo& type) { read_or_throw(j, type); }
void to_json(json& j, const CatalogueEntry& entry) { j = model::write_object(entry); }
void from_json(const json& j, CatalogueEntry& entry) { read_or_throw(j, entry); }
void to_json(json& j, const RankedMachineType& type) {
  to_json(j, static_cast<const MachineTypeInfo&>(type));
  j["reason"] = type.reason;
  j["run_gpu"] = type.run_gpu;
}
void to_json(json& j, const MachineSelection& selection) {
  json excluded = json::array();
  for (auto& type : selection.excluded)
    excluded.push_back({{"name", type.name}, {"reason", type.reason}});
  j = {{"fit", selection.fit}, {"excluded", std::move(excluded)}};
}
void to_json(json& j, const WorkflowInfo& workflow) { j = model::write_object(workflow); }
void from_json(const json& j, WorkflowInfo& workflow) { read_or_throw(j, workflow); }
void to_json(json& j, const ServiceInfo& service) { j = model::write_object(service); }
void from_json(const json& j, ServiceInfo& service) { read_or_throw(j, service); }

void to_json(json& j, const LogEntry& entry) {
  constexpr std::string_view kinds[] = {"output", "status", "system"};
  j = json::object_t{
      {"kind", kinds[static_cast<std::size_t>(entry.kind)]},
      {"run", entry.run},
      {"status", entry.status.name()},
      {"status_event", entry.kind == LogKind::status},
      {"level", "info"},
      {"timestamp", model::write_value(entry.time)},
      {"important", entry.important},
      {"stderr", entry.is_stderr},
      {"log", base::to_utf8(entry.text)},
  };
}

}  // namespace spell
