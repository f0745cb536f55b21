// Opt-in: the API's JSON form of the value types, through nlohmann/json. `nlohmann::json j = info;`
#pragma once
#include <nlohmann/json.hpp>

#include "spell/client.hpp"

namespace spell {
void to_json(nlohmann::json&, const RunInfo&);
void from_json(const nlohmann::json&, RunInfo&);
void to_json(nlohmann::json&, const LogEntry&);
void to_json(nlohmann::json&, const ResourceInfo&);
void from_json(const nlohmann::json&, ResourceInfo&);
void to_json(nlohmann::json&, const UploadInfo&);
void from_json(const nlohmann::json&, UploadInfo&);
void to_json(nlohmann::json&, const LinkInfo&);
void from_json(const nlohmann::json&, LinkInfo&);
void to_json(nlohmann::json&, const UsageInfo&);
void from_json(const nlohmann::json&, UsageInfo&);
void to_json(nlohmann::json&, const ProjectInfo&);
void from_json(const nlohmann::json&, ProjectInfo&);
void to_json(nlohmann::json&, const RepositoryInfo&);
void from_json(const nlohmann::json&, RepositoryInfo&);
void to_json(nlohmann::json&, const MachineInfo&);
void from_json(const nlohmann::json&, MachineInfo&);
void to_json(nlohmann::json&, const ServiceInfo&);
void from_json(const nlohmann::json&, ServiceInfo&);
}  // namespace spell
