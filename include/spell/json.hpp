// Opt-in: the API's JSON form of the value types, through nlohmann/json. `nlohmann::json j = info;`
#pragma once
#include <nlohmann/json.hpp>

#include "spell/client.hpp"
#include "spell/workflow.hpp"

namespace spell {
void to_json(nlohmann::json&, const RunInfo&);
void from_json(const nlohmann::json&, RunInfo&);
void to_json(nlohmann::json&, const LogEntry&);
void to_json(nlohmann::json&, const Metric&);
void from_json(const nlohmann::json&, Metric&);
void to_json(nlohmann::json&, const MetricInfo&);
void from_json(const nlohmann::json&, MetricInfo&);
void to_json(nlohmann::json&, const ResourceInfo&);
void from_json(const nlohmann::json&, ResourceInfo&);
void to_json(nlohmann::json&, const UploadInfo&);
void from_json(const nlohmann::json&, UploadInfo&);
void to_json(nlohmann::json&, const LinkInfo&);
void from_json(const nlohmann::json&, LinkInfo&);
void to_json(nlohmann::json&, const UsageInfo&);
void from_json(const nlohmann::json&, UsageInfo&);
void to_json(nlohmann::json&, const StorageCheck&);
void from_json(const nlohmann::json&, StorageCheck&);
void to_json(nlohmann::json&, const ProjectInfo&);
void from_json(const nlohmann::json&, ProjectInfo&);
void to_json(nlohmann::json&, const QuotaInfo&);
void from_json(const nlohmann::json&, QuotaInfo&);
void to_json(nlohmann::json&, const BudgetInfo&);
void from_json(const nlohmann::json&, BudgetInfo&);
void to_json(nlohmann::json&, const CostReport&);
void from_json(const nlohmann::json&, CostReport&);
void to_json(nlohmann::json&, const EnvironmentInfo&);
void from_json(const nlohmann::json&, EnvironmentInfo&);
void to_json(nlohmann::json&, const EnvironmentLayer&);
void from_json(const nlohmann::json&, EnvironmentLayer&);
void to_json(nlohmann::json&, const SecretInfo&);
void from_json(const nlohmann::json&, SecretInfo&);
void to_json(nlohmann::json&, const RepositoryInfo&);
void from_json(const nlohmann::json&, RepositoryInfo&);
void to_json(nlohmann::json&, const MachineInfo&);
void from_json(const nlohmann::json&, MachineInfo&);
void to_json(nlohmann::json&, const UserInfo&);
void from_json(const nlohmann::json&, UserInfo&);
void to_json(nlohmann::json&, const Identity&);
void from_json(const nlohmann::json&, Identity&);
void to_json(nlohmann::json&, const OwnerInfo&);
void from_json(const nlohmann::json&, OwnerInfo&);
void to_json(nlohmann::json&, const TokenInfo&);
void from_json(const nlohmann::json&, TokenInfo&);
void to_json(nlohmann::json&, const NewToken&);
void from_json(const nlohmann::json&, NewToken&);
void to_json(nlohmann::json&, const Login&);
void from_json(const nlohmann::json&, Login&);
void to_json(nlohmann::json&, const NewUser&);
void from_json(const nlohmann::json&, NewUser&);
void to_json(nlohmann::json&, const AuditEntry&);
void from_json(const nlohmann::json&, AuditEntry&);
void to_json(nlohmann::json&, const RunStats&);
void from_json(const nlohmann::json&, RunStats&);
void to_json(nlohmann::json&, const JoinToken&);
void from_json(const nlohmann::json&, JoinToken&);
void to_json(nlohmann::json&, const MachineTypeInfo&);
void from_json(const nlohmann::json&, MachineTypeInfo&);
void to_json(nlohmann::json&, const CatalogueEntry&);
void from_json(const nlohmann::json&, CatalogueEntry&);
void to_json(nlohmann::json&, const RankedMachineType&);  ///< with its `reason`
void to_json(nlohmann::json&, const MachineSelection&);   ///< of what is excluded name and reason
void to_json(nlohmann::json&, const WorkflowInfo&);
void from_json(const nlohmann::json&, WorkflowInfo&);
void to_json(nlohmann::json&, const ServiceInfo&);
void from_json(const nlohmann::json&, ServiceInfo&);
}  // namespace spell
