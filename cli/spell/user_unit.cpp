#include "user_unit.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace spell::cli {

namespace fs = std::filesystem;

namespace {

/// One word for systemd, which has specifiers and variables of its own.
std::string unit_word(const std::string& text) {
  std::string word = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') word += '\\';
    if (c == '%' || c == '$') word += c;
    word += c;
  }
  return word + "\"";
}

}  // namespace

std::string user_unit(const std::string& spelld, const std::string& spell_dir) {
  return "[Unit]\n"
         "Description=Spell's personal service\n"
         "\n"
         "[Service]\n"
         "ExecStart=" +
         unit_word(spelld) + " serve --personal --spell-dir " + unit_word(spell_dir) +
         "\n"
         "Restart=on-failure\n"
         "# Running commands outlive the service.\n"
         "KillMode=process\n"
         "\n"
         "[Install]\n"
         "WantedBy=default.target\n";
}

Result<std::string> user_unit_path() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  if (config && *config == '/') return std::string(config) + "/systemd/user/spell.service";
  if (home && *home == '/') return std::string(home) + "/.config/systemd/user/spell.service";
  return Error("invalid_configuration", "HOME is not set, so there is no place for the unit");
}

Result<std::string> find_spelld() {
  std::error_code failure;
  fs::path own = fs::read_symlink("/proc/self/exe", failure);
  if (!failure && ::access((own.parent_path() / "spelld").c_str(), X_OK) == 0)
    return (own.parent_path() / "spelld").string();
  const char* path = std::getenv("PATH");
  std::string folders = path ? path : "";
  for (std::size_t begin = 0; begin < folders.size();) {
    std::size_t end = std::min(folders.find(':', begin), folders.size());
    fs::path program = fs::path(folders.substr(begin, end - begin)) / "spelld";
    if (program.is_absolute() && ::access(program.c_str(), X_OK) == 0) return program.string();
    begin = end + 1;
  }
  return Error("service_unreachable", "the program spelld is neither beside this one nor in PATH");
}

}  // namespace spell::cli
