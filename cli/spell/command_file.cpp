// --from-file and --save-command.
#include <algorithm>
#include <fstream>

#include <yaml-cpp/yaml.h>

#include "run_options.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

Error invalid(const std::string& file, const std::string& what) {
  return Error("invalid_configuration", file + ": " + what);
}

/// Of one call only: how it shows what it does, and to whom it talks.
bool is_about_the_call(std::string_view name) {
  constexpr std::string_view names[] = {"from-file", "save-command", "json",
                                        "quiet",     "help",         "service"};
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

/// A scalar, a list of scalars, or a map of scalars (`env: {NAME: VALUE}`).
std::optional<Words> scalars(const YAML::Node& node) {
  Words values;
  auto add = [&](const YAML::Node& value, const std::string& prefix) {
    if (!value.IsScalar()) return false;
    values.push_back(prefix + value.Scalar());
    return true;
  };
  if (node.IsScalar()) return add(node, ""), values;
  if (node.IsSequence())
    for (const auto& value : node)
      if (!add(value, "")) return {};
  if (node.IsMap())
    for (const auto& entry : node)
      if (!entry.first.IsScalar() || !add(entry.second, entry.first.Scalar() + "=")) return {};
  if (!node.IsSequence() && !node.IsMap()) return {};
  return values;
}

}  // namespace

Result<> read_command_file(const std::string& file, Options& options, Words& command) try {
  YAML::Node top = YAML::LoadFile(file);
  if (!top.IsMap()) return invalid(file, "it is not a map of options (name: value)");
  for (const auto& entry : top) {
    std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    auto values = scalars(entry.second);
    if (name.empty() || !values)
      return invalid(file, "\"" + name + "\" is not an option with a value");
    if (is_about_the_call(name)) return invalid(file, name + " cannot stand in a file");
    if (name == "command") {
      if (command.empty()) command = *values;
      continue;
    }
    if (auto set = options.set_default(name, *values); !set)
      return Error(set.error().code(), file + ": " + set.error().message());
  }
  return ok();
} catch (const YAML::BadFile&) {
  return invalid(file, "the file cannot be read");
} catch (const std::ios_base::failure&) {  // a folder
  return invalid(file, "the file cannot be read");
} catch (const YAML::Exception& failure) {
  return invalid(file,
                 "line " + std::to_string(failure.mark.line + 1) + ": " + printable(failure.msg));
}

Result<> write_command_file(const std::string& file, const Options& options, const Words& command) {
  YAML::Emitter yaml;
  yaml << YAML::BeginMap;
  for (const auto& option : options.given()) {
    if (is_about_the_call(option.name)) continue;
    yaml << YAML::Key << option.name << YAML::Value;
    if (option.is_list)
      yaml << YAML::Flow << option.values;
    else if (option.is_flag)
      yaml << (option.values.back() == "true");
    else
      yaml << option.values.back();
  }
  yaml << YAML::Key << "command" << YAML::Value << YAML::DoubleQuoted << join_command(command)
       << YAML::EndMap;
  std::ofstream out(file, std::ios::trunc);
  out << yaml.c_str() << "\n";
  if (!out.flush()) return Error("save_failed", file + " cannot be written");
  return ok();
}

}  // namespace spell::cli
