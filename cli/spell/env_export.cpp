#include "env_export.hpp"

#include <algorithm>
#include <cctype>

namespace spell::cli {

namespace {

const EnvironmentLayer* layer_of(const RunInfo& run, std::string_view method) {
  for (const auto& layer : run.environment)
    if (layer.method == method) return &layer;
  return nullptr;
}

bool is_for_builds(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name.starts_with("PIP_") || name.starts_with("NPM_CONFIG_");
}

/// A basic string.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    auto code = static_cast<unsigned char>(c);
    constexpr char digits[] = "0123456789abcdef";
    if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (c == '\n')
      out += "\\n";
    else if (code < 0x20 || code == 0x7f)
      out += std::string("\\u00") + digits[code >> 4] + digits[code & 15];
    else
      out += c;
  }
  return out + '"';
}

bool is_bare(const std::string& key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-';
  });
}

void add(std::vector<std::string>& out, const char* key, const std::vector<std::string>& values) {
  if (values.empty()) return;
  out.push_back(std::string(key) + " = [");
  for (const auto& value : values) out.push_back("  " + quoted(value) + ",");
  out.emplace_back("]");
}

}  // namespace

Result<ExportedEnvironment> export_environment(const RunInfo& run) {
  ExportedEnvironment out;
  bool pip = !run.pip.empty() || !run.requirements.empty();
  if (run.apt.empty() && !pip && run.setup.empty() && run.image.empty() && run.conda_file.empty())
    return Error("environment_not_found",
                 "run " + std::to_string(run.id) + " asked for no environment");
  for (const auto& [method, asked] :
       {std::pair("image", !run.image.empty()), std::pair("apt", !run.apt.empty()),
        std::pair("conda", !run.conda_file.empty()), std::pair("pip", pip),
        std::pair("setup", !run.setup.empty())})
    if (asked && !layer_of(run, method))
      return Error("environment_not_found",
                   "run " + std::to_string(run.id) + " was not given the " + method +
                       " part of its environment" + (run.status.is_final() ? "" : " yet"));
  // By its digest; one of a resource is what that is.
  if (!run.image.empty()) {
    const auto& named = layer_of(run, "image")->packages;
    bool of_resource = run.image.find(":uploads/") != std::string::npos ||
                       run.image.find(":runs/") != std::string::npos;
    out.image = named.empty() || of_resource ? run.image : named[0];
  }
  out.conda_file = run.conda_file;
  if (!run.apt.empty()) out.apt = layer_of(run, "apt")->packages;
  if (pip) out.pip = layer_of(run, "pip")->packages;
  out.setup = run.setup;
  for (const auto& [name, value] : run.env)
    if (is_for_builds(name) && (pip || !run.setup.empty())) out.env.emplace(name, value);
  return out;
}

std::vector<std::string> toml_lines(const ExportedEnvironment& environment) {
  std::vector<std::string> out;
  if (!environment.image.empty()) out.push_back("image = " + quoted(environment.image));
  add(out, "apt", environment.apt);
  if (!environment.conda_file.empty())
    out.push_back("conda_file = " + quoted(environment.conda_file));
  add(out, "pip", environment.pip);
  if (!environment.setup.empty()) out.push_back("setup = " + quoted(environment.setup));
  if (environment.env.empty()) return out;
  out.emplace_back("[env]");
  for (const auto& [name, value] : environment.env)
    out.push_back((is_bare(name) ? name : quoted(name)) + " = " + quoted(value));
  return out;
}

}  // namespace spell::cli
