// spell.toml: what a repository says of how its runs are to be made.
#include "project_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "text.hpp"

namespace spell::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t largest = 1 << 20;

enum class Kind { text, number, texts, flag, variables };
struct Key {
  std::string_view name, option;
  Kind kind;
};
constexpr Key keys[] = {
    {"image", "from", Kind::text},
    {"apt", "apt", Kind::texts},
    {"conda_file", "conda-file", Kind::text},
    {"pip", "pip", Kind::texts},
    {"pip_req", "pip-req", Kind::text},
    {"setup", "setup", Kind::text},
    {"mounts", "mount", Kind::texts},
    {"machine_type", "machine-type", Kind::text},
    {"gpu", "gpu", Kind::text},
    {"cpus", "cpus", Kind::number},
    {"memory", "memory", Kind::text},
    {"env", "env", Kind::variables},
    {"project", "project", Kind::text},
    {"labels", "label", Kind::texts},
    {"timeout", "timeout", Kind::number},
    {"append", "append", Kind::texts},
    {"auto_resume", "auto-resume", Kind::flag},
    {"exclusive", "exclusive", Kind::flag},
    {"save_all", "save-all", Kind::flag},
};

std::string all_keys() {
  std::string out;
  for (auto& key : keys) out += (out.empty() ? "" : ", ") + std::string(key.name);
  return out;
}

/// What a value has to be, if it is something else.
std::string_view wanted(Kind kind) {
  switch (kind) {
    case Kind::text:
      return "a text";
    case Kind::number:
      return "a number";
    case Kind::texts:
      return "a list of texts";
    case Kind::flag:
      return "true or false";
    case Kind::variables:
      return "a table of texts";
  }
  return "";
}

std::optional<Words> words_of(Kind kind, const toml::node& value) {
  Words out;
  auto add = [&](const toml::node& node, const std::string& before) {
    auto text = node.value_exact<std::string>();
    if (text) out.push_back(before + *text);
    return text.has_value();
  };
  switch (kind) {
    case Kind::text:
      if (!add(value, "")) return {};
      break;
    case Kind::number:
      if (auto whole = value.value_exact<std::int64_t>()) {
        out.push_back(std::to_string(*whole));
      } else if (auto part = value.value_exact<double>()) {
        std::ostringstream shown;
        shown << *part;
        out.push_back(shown.str());
      } else {
        return {};
      }
      break;
    case Kind::texts:
      if (!value.is_array()) return {};
      for (auto& node : *value.as_array())
        if (!add(node, "")) return {};
      break;
    case Kind::flag:
      if (auto yes = value.value_exact<bool>())
        out.emplace_back(*yes ? "true" : "false");
      else
        return {};
      break;
    case Kind::variables:
      if (!value.is_table()) return {};
      for (auto& [name, node] : *value.as_table())
        if (!add(node, std::string(name.str()) + "=")) return {};
      break;
  }
  return out;
}

/// Why a mount may not stand in a repository's file; "": it may.
std::string wrong_mount(const std::string& text) {
  auto mount = parse_mount(text);
  if (!mount) return mount.error().message();
  if (is_local(*mount) || mount->resource.starts_with("~") ||
      mount->resource.starts_with("machine:"))
    return shell_quote(mount->resource) +
           " is a path of a computer: name what is kept, such as uploads/x or runs/3/data";
  return {};
}

/// A path of the repository, as it is called in a folder `depth` below its top; "": it is none.
std::string from_below(const std::string& path, std::ptrdiff_t depth) {
  auto normal = fs::path(path).lexically_normal();
  if (path.empty() || normal.is_absolute() || *normal.begin() == "..") return {};
  std::string out;
  for (std::ptrdiff_t i = 0; i < depth; ++i) out += "../";
  return out + normal.string();
}

}  // namespace

std::optional<ProjectPlace> find_project_file() {
  std::error_code failed;
  fs::path here = fs::current_path(failed);
  if (failed) return {};
  std::ptrdiff_t depth = 0;
  for (fs::path top = here;; top = top.parent_path(), ++depth) {
    struct stat st;
    if (::lstat((top / ".git").c_str(), &st) == 0) {
      std::string file = (top / "spell.toml").string();
      if (::lstat(file.c_str(), &st) != 0) return {};
      return ProjectPlace{file, depth};
    }
    if (top == top.root_path()) return {};
  }
}

Result<> read_project_file(const ProjectPlace& place, Options& options, RunOptions& given) {
  auto bad = [&](const toml::source_region& where, const std::string& what) {
    return Error("invalid_configuration",
                 place.file + ", line " + std::to_string(where.begin.line) + ": " + what);
  };
  struct stat st;
  if (::lstat(place.file.c_str(), &st) != 0 || !S_ISREG(st.st_mode))
    return Error("invalid_configuration", place.file + " is not a plain file");
  if (static_cast<std::uintmax_t>(st.st_size) > largest)
    return Error("invalid_configuration", place.file + " is longer than 1 MiB");
  std::ifstream file(place.file, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return Error("invalid_configuration", place.file + " cannot be read");
  auto parsed = toml::parse(text.str());
  if (!parsed)
    return bad(parsed.error().source(), printable(std::string(parsed.error().description())));
  for (auto& [name, value] : parsed.table()) {
    auto key = std::find_if(std::begin(keys), std::end(keys),
                            [&, n = name.str()](const Key& row) { return row.name == n; });
    if (key == std::end(keys))
      return bad(name.source(),
                 shell_quote(std::string(name.str())) + " is not known; there are " + all_keys());
    auto words = words_of(key->kind, value);
    if (!words)
      return bad(value.source(),
                 std::string(key->name) + " must be " + std::string(wanted(key->kind)));
    if (key->name == "mounts")
      for (auto& mount : *words)
        if (auto wrong = wrong_mount(mount); !wrong.empty())
          return bad(value.source(), "mounts: " + wrong);
    if (key->name == "image" && local_image((*words)[0]))
      return bad(value.source(), "image: " + shell_quote((*words)[0]) +
                                     " is a path of a computer: name an image of a registry, or "
                                     "what is kept, such as oci:uploads/x");
    if (key->name == "pip_req" || key->name == "conda_file") {
      auto path = from_below((*words)[0], place.depth);
      if (path.empty())
        return bad(value.source(), std::string(key->name) + ": " + shell_quote((*words)[0]) +
                                       " is not a file of the repository");
      words = Words{path};
    }
    if (key->kind == Kind::variables) {
      for (auto& variable : *words)
        if (variable.starts_with('=')) return bad(value.source(), "env: a variable needs a name");
      // Behind those of the command line, one by one: later ones win.
      given.env.insert(given.env.begin(), words->begin(), words->end());
      continue;
    }
    std::string option(key->option);
    if (key->name == "auto_resume") {
      if (options.mentions("--auto-resume") || options.mentions("--disable-auto-resume")) continue;
      if ((*words)[0] == "false") option = "disable-auto-resume";
      words = Words{"true"};
    } else if (key->kind == Kind::flag && (*words)[0] == "false") {
      continue;
    }
    if (words->empty()) continue;
    if (auto set = options.set_default(option, *words); !set)
      return bad(value.source(), set.error().message());
  }
  return ok();
}

}  // namespace spell::cli
