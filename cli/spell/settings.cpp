#include "settings.hpp"

#include <cstdlib>
#include <fstream>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace spell::cli {

Result<Settings> read_settings(const ClientOptions& client) {
  std::string folder = client.spell_dir;
  if (const char* home = std::getenv("HOME"); folder.empty() && home)
    folder = std::string(home) + "/.spell";
  Settings settings;
  std::string path = folder + "/config.toml";
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
      return bad(value.source(), "'" + std::string(key.str()) +
                                     "' is no setting; there is include_uncommitted");
    auto wanted = value.value_exact<bool>();
    if (!wanted) return bad(value.source(), "include_uncommitted is true or false");
    settings.include_uncommitted = *wanted;
  }
  return settings;
}

}  // namespace spell::cli
