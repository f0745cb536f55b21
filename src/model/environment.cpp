#include "model/environment.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "model/members.hpp"

namespace spell::model {

template <>
struct Table<LayerClaim> {
  static constexpr Field<LayerClaim> fields[] = {
      SPELL_REQUIRED(LayerClaim, name), SPELL_REQUIRED(LayerClaim, method),
      SPELL_MEMBER(LayerClaim, base),   SPELL_MEMBER(LayerClaim, made_of),
      SPELL_MEMBER(LayerClaim, lost),   SPELL_MEMBER(LayerClaim, wait_ms),
  };
};

template <>
struct Table<LayerAnswer> {
  static constexpr Field<LayerAnswer> fields[] = {
      SPELL_REQUIRED(LayerAnswer, state), SPELL_REQUIRED(LayerAnswer, name),
      SPELL_MEMBER(LayerAnswer, node),    SPELL_MEMBER(LayerAnswer, size),
      SPELL_MEMBER(LayerAnswer, files),   SPELL_MEMBER(LayerAnswer, pinned),
      SPELL_MEMBER(LayerAnswer, builder),
  };
};

template <>
struct Table<LayerBuilt> {
  static constexpr Field<LayerBuilt> fields[] = {
      SPELL_REQUIRED(LayerBuilt, name),   SPELL_MEMBER(LayerBuilt, node),
      SPELL_MEMBER(LayerBuilt, size),     SPELL_MEMBER(LayerBuilt, files),
      SPELL_MEMBER(LayerBuilt, packages),
  };
};

namespace {

constexpr int most_files = 50;

Error wrong_requirements(const std::string& file, std::size_t line, const std::string& why) {
  return base::error(
      "invalid_requirements",
      one_line(file, 200) + (line ? " line " + std::to_string(line) : "") + ": " + why);
}

bool is_layer_name(std::string_view name) {
  return name.size() == 32 && name.find_first_not_of("0123456789abcdef") == name.npos;
}

/// What follows one of these options, if `line` begins with it; none: it does not.
std::optional<std::string> option(const std::string& line,
                                  std::initializer_list<std::string_view> names) {
  for (auto name : names) {
    if (!line.starts_with(name)) continue;
    std::string rest = line.substr(name.size());
    bool brief = name.size() == 2;  // "-rfile" is the same as "-r file"
    if (!brief && !rest.empty() && rest[0] != ' ' && rest[0] != '\t' && rest[0] != '=') continue;
    rest = base::trim(rest);
    if (rest.starts_with('=')) rest = base::trim(rest.substr(1));
    return rest;
  }
  return std::nullopt;
}

bool is_path(const std::string& text) {
  auto scheme = text.find("://");
  bool url = scheme != text.npos && !text.starts_with("file:");
  return text.starts_with('/') || text.starts_with('.') || text.starts_with('~') ||
         text.starts_with("file:") || text.find("@ file:") != text.npos ||
         text.find("@file:") != text.npos ||
         (!url && text.find('@') == text.npos && text.find('/') != text.npos);
}

class Gatherer {
 public:
  explicit Gatherer(const ReadCommitted& read) : read_(read) {}
  std::string text;

  Result<> take(const std::string& path, const std::string& named_in, std::size_t named_at) {
    if (std::find(open_.begin(), open_.end(), path) != open_.end())
      return wrong_requirements(named_in, named_at, one_line(path, 200) + " names itself");
    if (++files_ > most_files)
      return wrong_requirements(named_in, named_at,
                                "more than " + std::to_string(most_files) + " files");
    auto read = read_(path);
    if (!read && read.error().code() == "not_found")
      return named_in.empty() ? wrong_requirements(
                                    path, 0, "there is no such file in the commit: commit it first")
                              : wrong_requirements(
                                    named_in, named_at,
                                    one_line(path, 200) + " is not in the commit: commit it first");
    if (!read) return read.error();
    if (!base::valid_text(*read)) return wrong_requirements(path, 0, "is no UTF-8 text");
    open_.push_back(path);
    auto lines = base::split(*read, '\n');
    for (std::size_t i = 0; i < lines.size(); ++i) {
      std::size_t first = i + 1;
      std::string line = lines[i];
      if (line.ends_with('\r')) line.pop_back();
      // A comment has no second line.
      bool comment = base::trim(line).starts_with('#');
      while (!comment && line.ends_with('\\') && i + 1 < lines.size()) {
        line.pop_back();
        line += lines[++i];
        if (line.ends_with('\r')) line.pop_back();
      }
      SPELL_TRY(take_line(path, first, std::string(base::trim(line))));
      if (text.size() > requirements_limit)
        return wrong_requirements(path, first, "all together is longer than 256 KiB");
    }
    open_.pop_back();
    return ok();
  }

 private:
  Result<> take_line(const std::string& path, std::size_t number, std::string line) {
    if (auto comment = line.starts_with('#') ? 0 : line.find(" #"); comment != line.npos)
      line = base::trim(line.substr(0, comment));
    if (line.empty()) return ok();
    std::string folder = path.substr(0, path.rfind('/') == path.npos ? 0 : path.rfind('/'));
    bool constraint = option(line, {"-c", "--constraint"}).has_value();
    if (constraint)
      return wrong_requirements(path, number,
                                "-c is not supported: give the versions in the requirements");
    if (auto other = option(line, {"-r", "--requirement"})) {
      auto below = other->starts_with('/') ? std::nullopt : path_below(folder, *other);
      if (!below || other->find("://") != other->npos)
        return wrong_requirements(path, number,
                                  one_line(*other, 200) + " is not a file of the repository");
      return take(*below, path, number);
    }
    if (option(line, {"-e", "--editable"}))
      return wrong_requirements(
          path, number,
          "an editable package is code of the repository, which the environment does not "
          "have: add its folder to PYTHONPATH in the command");
    if (auto links = option(line, {"-f", "--find-links"}))
      if (links->starts_with('.') || (links->find(':') == links->npos && !links->starts_with('/')))
        return wrong_requirements(
            path, number,
            "--find-links needs an address or an absolute path: the environment does not "
            "have the repository's files");
    if (!line.starts_with('-') && is_path(line))
      return wrong_requirements(
          path, number,
          one_line(line, 200) + " is a path: name a package, or give its address (https://…)");
    text += line + '\n';
    return ok();
  }

  const ReadCommitted& read_;
  std::vector<std::string> open_;
  int files_ = 0;
};

}  // namespace

std::string wrong_package(const std::string& package) {
  if (package.empty()) return "is empty";
  if (std::any_of(package.begin(), package.end(),
                  [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return "must be one line";
  if (package[0] == '-')
    return "is an option: options of pip stand in a requirements file, or in PIP_… variables";
  if (package[0] == '#') return "is a comment";
  if (is_path(package)) return "is a path: name a package, or give its address (https://…)";
  return {};
}

std::string wrong_apt_package(const std::string& package) {
  if (package.empty()) return "is empty";
  auto only = [](std::string_view text, std::string_view more) {
    return std::all_of(text.begin(), text.end(), [&](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != more.npos;
    });
  };
  constexpr std::string_view upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  std::string_view name = package;
  /// What follows the mark, which is cut off with it.
  auto cut_off = [&](char mark) -> std::optional<std::string_view> {
    auto at = name.find(mark);
    if (at == name.npos) return std::nullopt;
    auto rest = name.substr(at + 1);
    name = name.substr(0, at);
    return rest;
  };
  auto version = cut_off('='), architecture = cut_off(':');
  const std::string way = ": give NAME or NAME=VERSION, such as ffmpeg or sl=5.02-1";
  if (package[0] == '-') return "is an option" + way;
  if (package.find('/') != package.npos) return "is a path, or names a release" + way;
  if (name.size() < 2 || !only(name.substr(0, 1), "") || !only(name, "+-.") || name.ends_with('-'))
    return "is no name of a package" + way;
  if (architecture && (!only(architecture->substr(0, 1), "") || !only(*architecture, "-") ||
                       architecture->empty() || architecture->ends_with('-')))
    return "names no architecture behind the ':'" + way;
  if (version && (version->empty() || !only(version->substr(0, 1), upper) ||
                  !only(*version, std::string(upper) + ".+-:~")))
    return "has no version behind the '='" + way;
  return {};
}

std::optional<std::string> path_below(const std::string& folder, const std::string& path) {
  if (path.empty() || path[0] == '/') return std::nullopt;
  std::vector<std::string> parts;
  for (auto& text : {folder, path})
    for (auto& part : base::split(text, '/')) {
      if (part.empty() || part == ".") continue;
      if (part != "..")
        parts.push_back(part);
      else if (parts.empty())
        return std::nullopt;
      else
        parts.pop_back();
    }
  if (parts.empty()) return std::nullopt;
  return base::join(parts, "/");
}

Result<std::string> gather_requirements(const std::string& folder, const std::string& path,
                                        const ReadCommitted& read) {
  auto top = path_below(folder, path);
  if (!top) return wrong_requirements(path, 0, "is not a file of the repository");
  Gatherer gatherer(read);
  SPELL_TRY(gatherer.take(*top, "", 0));
  return std::move(gatherer.text);
}

Result<std::string> read_conda_file(const std::string& folder, const std::string& path,
                                    const ReadCommitted& read) {
  auto top = path_below(folder, path);
  if (!top) return wrong_requirements(path, 0, "is not a file of the repository");
  auto text = read(*top);
  if (!text && text.error().code() == "not_found")
    return wrong_requirements(*top, 0, "there is no such file in the commit: commit it first");
  if (!text) return text;
  if (!base::valid_text(*text)) return wrong_requirements(*top, 0, "is no UTF-8 text");
  if (base::trim(*text).empty()) return wrong_requirements(*top, 0, "asks for no package");
  auto lines = base::split(*text, '\n');
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::string words;
    for (char c : lines[i].substr(0, lines[i].find('#')))
      if (c > ' ' && c != '"' && c != '\'') words += c;
    if (words == "-pip:")
      return wrong_requirements(*top, i + 1,
                                "packages of pip are asked for by themselves: --pip, --pip-req");
  }
  return text;
}

std::string pinned_layer(const std::string& name, const std::vector<std::string>& packages) {
  return base::hex(base::sha256(name + "\npinned\n" + base::join(packages, "\n"))).substr(0, 32);
}

json to_json(const LayerClaim& claim) { return write_object(claim); }

Result<LayerClaim> parse_layer_claim(const json& j) {
  auto claim = read_message<LayerClaim>(j, Unknown::refuse, "invalid_request");
  if (!claim) return claim;
  if (!is_layer_name(claim->name))
    return base::error("invalid_request", "'name' must be 32 hex digits");
  if (std::find(std::begin(layer_methods), std::end(layer_methods), claim->method) ==
      std::end(layer_methods))
    return base::error("invalid_request", "'method' must be image, apt, conda, pip or setup");
  if (claim->wait_ms < 0 || claim->wait_ms > 60'000)
    return base::error("invalid_request", "'wait_ms' must be 0 to 60000");
  if (claim->base.size() > 1000 || claim->made_of.size() > 4000)
    return base::error("invalid_request", "'base' or 'made_of' is too long");
  return claim;
}

json to_json(const LayerAnswer& answer) { return write_object(answer); }

Result<LayerAnswer> parse_layer_answer(const json& j) {
  return read_message<LayerAnswer>(j, Unknown::ignore, "invalid_answer");
}

json to_json(const LayerBuilt& built) { return write_object(built); }

Result<LayerBuilt> parse_layer_built(const json& j) {
  auto built = read_message<LayerBuilt>(j, Unknown::refuse, "invalid_request");
  if (!built) return built;
  if (!is_layer_name(built->name))
    return base::error("invalid_request", "'name' must be 32 hex digits");
  if (built->packages.size() > 5000 ||
      std::any_of(built->packages.begin(), built->packages.end(),
                  [](auto& package) { return package.size() > 1000; }))
    return base::error("invalid_request", "'packages' is too long");
  if (built->size < 0 || built->files < 0)
    return base::error("invalid_request", "'size' and 'files' must not be negative");
  return built;
}

}  // namespace spell::model
