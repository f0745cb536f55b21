#include "settings.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace spell::cli {

std::string personal_folder(const ClientOptions& client) {
  if (!client.spell_dir.empty()) return std::filesystem::absolute(client.spell_dir).string();
  const char* home = std::getenv("HOME");
  return std::string(home ? home : "") + "/.spell";
}

Result<Settings> read_settings(const ClientOptions& client) {
  Settings settings;
  std::string path = personal_folder(client) + "/config.toml";
  std::ifstream file(path);
  if (!file) return settings;
  auto parsed = toml::parse(file);
  auto bad = [&](const toml::source_region& where, const std::string& what) {
    return Error("invalid_configuration",
                 path + ", line " + std::to_string(where.begin.line) + ": " + what);
  };
  if (!parsed) return bad(parsed.error().source(), std::string(parsed.error().description()));
  for (auto& [key, value] : parsed.table()) {
    if (key != "include_uncommitted")
      return bad(value.source(),
                 "'" + std::string(key.str()) + "' is no setting; there is include_uncommitted");
    auto wanted = value.value_exact<bool>();
    if (!wanted) return bad(value.source(), "include_uncommitted is true or false");
    settings.include_uncommitted = *wanted;
  }
  return settings;
}

}  // namespace spell::cli
