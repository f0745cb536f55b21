#include "json_text.hpp"

#include <cmath>

#include "env_export.hpp"
#include "machine_cost.hpp"
#include "spell/json.hpp"

namespace spell::cli {

namespace {

using nlohmann::json;

/// Output of a command may be any bytes; JSON holds UTF-8 only.
std::string dump(const json& value, int indent = -1) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

}  // namespace

void to_json(json& out, const ExportedEnvironment& environment) {
  out = {{"image", environment.image},           {"apt", environment.apt},
         {"conda_file", environment.conda_file}, {"pip", environment.pip},
         {"setup", environment.setup},           {"env", environment.env}};
}

template <class T>
std::string json_text(std::string_view name, const T& value) {
  return dump(json{{std::string(name), value}});
}
template std::string json_text(std::string_view, const RunInfo&);
template std::string json_text(std::string_view, const std::vector<RunInfo>&);
template std::string json_text(std::string_view, const UploadInfo&);
template std::string json_text(std::string_view, const LinkInfo&);
template std::string json_text(std::string_view, const std::vector<LinkInfo>&);
template std::string json_text(std::string_view, const std::vector<UsageInfo>&);
template std::string json_text(std::string_view, const StorageCheck&);
template std::string json_text(std::string_view, const std::string&);
template std::string json_text(std::string_view, const ProjectInfo&);
template std::string json_text(std::string_view, const std::vector<ProjectInfo>&);
template std::string json_text(std::string_view, const std::vector<RepositoryInfo>&);
template std::string json_text(std::string_view, const WorkflowInfo&);
template std::string json_text(std::string_view, const std::vector<WorkflowInfo>&);
template std::string json_text(std::string_view, const BudgetInfo&);
template std::string json_text(std::string_view, const std::vector<BudgetInfo>&);
template std::string json_text(std::string_view, const QuotaInfo&);
template std::string json_text(std::string_view, const std::vector<QuotaInfo>&);
template std::string json_text(std::string_view, const CostReport&);
template std::string json_text(std::string_view, const EnvironmentInfo&);
template std::string json_text(std::string_view, const std::vector<EnvironmentInfo>&);
template std::string json_text(std::string_view, const ExportedEnvironment&);
template std::string json_text(std::string_view, const SecretInfo&);
template std::string json_text(std::string_view, const std::vector<SecretInfo>&);
template std::string json_text(std::string_view, const MachineInfo&);
template std::string json_text(std::string_view, const std::vector<MachineInfo>&);
template std::string json_text(std::string_view, const MachineTypeInfo&);
template std::string json_text(std::string_view, const std::vector<MachineTypeInfo>&);
template std::string json_text(std::string_view, const std::vector<RankedMachineType>&);
template std::string json_text(std::string_view, const MachineSelection&);
template std::string json_text(std::string_view, const std::vector<CatalogueEntry>&);
template std::string json_text(std::string_view, const ServiceInfo&);
template std::string json_text(std::string_view, const Identity&);
template std::string json_text(std::string_view, const OwnerInfo&);
template std::string json_text(std::string_view, const std::vector<OwnerInfo>&);
template std::string json_text(std::string_view, const UserInfo&);
template std::string json_text(std::string_view, const std::vector<UserInfo>&);
template std::string json_text(std::string_view, const TokenInfo&);
template std::string json_text(std::string_view, const std::vector<TokenInfo>&);
template std::string json_text(std::string_view, const std::vector<AuditEntry>&);
template std::string json_text(std::string_view, const std::int64_t&);
template std::string json_text(std::string_view, const std::vector<Metric>&);
template std::string json_text(std::string_view, const std::vector<MetricInfo>&);
template std::string json_text(std::string_view, const RunStats&);
template std::string json_text(std::string_view, const std::vector<RunStats>&);

std::string json_usage(const UsageInfo& usage) {
  json object = usage;
  object.erase("name");
  object["path"] = usage.name;
  return dump(json{{"usage", std::move(object)}});
}

std::string json_text(const Comparison& comparison) {
  auto dollars = [](Dollars amount) {
    std::string part = std::to_string(1'000'000'000 + amount.nano % 1'000'000'000).substr(1);
    return std::to_string(amount.nano / 1'000'000'000) + "." + part;
  };
  json rows = json::array();
  for (const auto& row : comparison.rows) {
    auto& even = row.even;
    rows.push_back({{"price", dollars(row.price)},
                    {"kind", row.kind},
                    {"replaces", dollars(even.replaces)},
                    {"power", dollars(even.power)},
                    {"hours", std::isfinite(even.hours) ? json(even.hours) : json()},
                    {"days", even.days ? json(*even.days) : json()},
                    {"own", even.own ? json(dollars(*even.own)) : json()}});
  }
  return dump(json{{"comparison",
                    {{"type", comparison.type},
                     {"mine", comparison.mine},
                     {"throughput", comparison.own.throughput},
                     {"type_throughput", comparison.type_throughput},
                     {"prices", std::move(rows)}}}});
}

std::string json_text(const JoinToken& token) { return dump(json(token)); }

std::string json_element(const ResourceInfo& entry) { return dump(json(entry)); }

std::string json_text(const LogEntry& entry) { return dump(json(entry)); }

std::string json_text(const Metric& point) { return dump(json(point)); }

std::string json_text(const NewUser& made) { return dump(json(made)); }

std::string json_text(const NewToken& made) { return dump(json(made)); }

std::string json_text(const Error& error) {
  json body{{"code", error.code()}, {"message", error.message()}};
  if (!error.request_id().empty()) body["request_id"] = error.request_id();
  return dump(json{{"error", std::move(body)}});
}

std::string json_fields(std::string_view name, const Fields& fields) {
  json object = json::object();
  for (const auto& [key, value] : fields) object[key] = value;
  return dump(json{{std::string(name), std::move(object)}});
}

std::string indent_json(const std::string& compact) {
  auto value = nlohmann::ordered_json::parse(compact, nullptr, false);
  return value.is_discarded() ? compact : value.dump(2);
}

}  // namespace spell::cli
