#include "spellfs/ignore.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"

namespace spell::spellfs {

namespace {

struct CharacterClass {
  std::string_view name;
  int (*has)(int);
};
constexpr CharacterClass classes[] = {
    {"alnum", std::isalnum}, {"alpha", std::isalpha}, {"blank", std::isblank},
    {"cntrl", std::iscntrl}, {"digit", std::isdigit}, {"graph", std::isgraph},
    {"lower", std::islower}, {"print", std::isprint}, {"punct", std::ispunct},
    {"space", std::isspace}, {"upper", std::isupper}, {"xdigit", std::isxdigit},
};

bool has_class(std::string_view name, unsigned char c, bool& known) {
  for (auto& row : classes)
    if (row.name == name) return known = true, c < 0x80 && row.has(c) != 0;
  return known = false;
}

/// What one element of a pattern says of a character.
enum class Match { no, yes, bad };

/// The element at `at`, which is moved behind it. `bad`: a pattern that can never match.
Match match_one(std::string_view pattern, std::size_t& at, unsigned char c) {
  unsigned char first = pattern[at++];
  if (first == '?') return Match::yes;
  if (first == '\\') {
    if (at == pattern.size()) return Match::bad;
    return static_cast<unsigned char>(pattern[at++]) == c ? Match::yes : Match::no;
  }
  if (first != '[') return first == c ? Match::yes : Match::no;
  bool negated = at < pattern.size() && (pattern[at] == '!' || pattern[at] == '^'), in = false;
  if (negated) ++at;
  for (bool begin = true; at < pattern.size() && (begin || pattern[at] != ']'); begin = false) {
    if (pattern.substr(at, 2) == "[:") {
      auto end = pattern.find(":]", at + 2);
      if (end == pattern.npos) return Match::bad;
      bool known;
      in |= has_class(pattern.substr(at + 2, end - at - 2), c, known);
      if (!known) return Match::bad;
      at = end + 2;
      continue;
    }
    auto take = [&] {
      if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
      return static_cast<unsigned char>(pattern[at++]);
    };
    unsigned char low = take(), high = low;
    if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
      ++at;
      high = take();
    }
    in |= low <= c && c <= high;
  }
  if (at == pattern.size()) return Match::bad;
  ++at;
  return in != negated ? Match::yes : Match::no;
}

}  // namespace

bool matches_name(std::string_view pattern, std::string_view name) {
  // After a mismatch only the last star may take one character more.
  std::size_t at = 0, i = 0, star = pattern.npos, taken = 0;
  while (i < name.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = ++at;
      taken = i;
      continue;
    }
    if (at < pattern.size()) {
      auto next = at;
      auto match = match_one(pattern, next, static_cast<unsigned char>(name[i]));
      if (match == Match::bad) return false;
      if (match == Match::yes) {
        at = next;
        ++i;
        continue;
      }
    }
    if (star == pattern.npos) return false;
    at = star;
    i = ++taken;
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

IgnoreRules IgnoreRules::parse(std::string_view text) {
  IgnoreRules out;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  for (auto& line : base::split(text, '\n')) {
    std::string_view pattern = line;
    if (pattern.ends_with('\r')) pattern.remove_suffix(1);
    if (pattern.starts_with('#')) continue;
    while (pattern.ends_with(' ')) {
      auto last = pattern.find_last_not_of(' ');
      // Behind a backslash that is not itself behind one, the first blank stays.
      std::size_t slashes = 0;
      while (last != pattern.npos && slashes <= last && pattern[last - slashes] == '\\') ++slashes;
      std::size_t keep = last == pattern.npos ? 0 : last + 1 + slashes % 2;
      if (keep == pattern.size()) break;
      pattern = pattern.substr(0, keep);
    }
    Rule rule;
    if (pattern.starts_with('!')) {
      rule.negated = true;
      pattern.remove_prefix(1);
    }
    if (pattern.ends_with('/')) {
      rule.folders_only = true;
      pattern.remove_suffix(1);
    }
    if (pattern.empty()) continue;
    rule.anchored = pattern.find('/') != pattern.npos;
    if (pattern.starts_with('/')) pattern.remove_prefix(1);
    rule.parts = base::split(pattern, '/');
    out.rules_.push_back(std::move(rule));
  }
  return out;
}

Result<IgnoreRules> IgnoreRules::read(const std::string& folder) {
  std::string path = folder + "/" + ignore_file;
  base::Fd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat st;
  if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) {
    if (file || errno == ENOENT || errno == ELOOP) return IgnoreRules();
    return base::errno_error("read " + path);
  }
  if (st.st_size > max_ignore_file)
    return base::error("too_large", path + " is longer than " + base::format_size(max_ignore_file));
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  auto n = base::pread_full(file.get(), text.data(), text.size(), 0);
  if (!n) return n.error();
  text.resize(*n);
  return parse(text);
}

bool IgnoreRules::matches(const Rule& rule, const std::vector<std::string_view>& path) {
  if (!rule.anchored) return matches_name(rule.parts[0], path.back());
  // reached[i]: the parts of the rule so far can be the first i of the path.
  std::vector<bool> reached(path.size() + 1);
  reached[0] = true;
  for (std::size_t p = 0; p < rule.parts.size(); ++p) {
    std::vector<bool> next(path.size() + 1);
    bool last = p + 1 == rule.parts.size();
    if (rule.parts[p] == "**") {
      bool any = false;
      // At the end it stands for what is in the folder, not for the folder.
      for (std::size_t i = 0; i <= path.size(); ++i) {
        next[i] = any || (reached[i] && !last);
        any = any || reached[i];
      }
    } else {
      for (std::size_t i = 0; i < path.size(); ++i)
        next[i + 1] = reached[i] && matches_name(rule.parts[p], path[i]);
    }
    reached = std::move(next);
  }
  return reached[path.size()];
}

bool IgnoreRules::ignores(std::string_view path, bool is_folder) const {
  if (rules_.empty() || path.empty()) return false;
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= path.size();) {
    auto end = std::min(path.find('/', at), path.size());
    parts.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule)
    if ((is_folder || !rule->folders_only) && matches(*rule, parts)) return !rule->negated;
  return false;
}

}  // namespace spell::spellfs
