// `.spellignore`: what is left out of saves and uploads, in the syntax of .gitignore. Pure.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spell/result.hpp"

namespace spell::spellfs {

inline constexpr const char* ignore_file = ".spellignore";
inline constexpr std::int64_t max_ignore_file = 1 << 20;
/// Folders of these names are left out wherever they are, unless all is asked for.
inline constexpr const char* usually_left_out[] = {"__pycache__", ".git", ".venv", "node_modules",
                                                   ".ipynb_checkpoints"};

class IgnoreRules {
 public:
  /// No line is an error: what Git would not understand matches nothing.
  static IgnoreRules parse(std::string_view text);
  /// The rules of `folder`/.spellignore; none where there is no such file (a plain one; no link is
  /// followed). Error `too_large` beyond max_ignore_file.
  static Result<IgnoreRules> read(const std::string& folder);

  bool empty() const { return rules_.empty(); }
  /// Whether the rules name this path (relative, '/' between its parts). As with Git the last rule
  /// decides, and what lies in an ignored folder cannot be taken back: do not ask about it.
  bool ignores(std::string_view path, bool is_folder) const;

 private:
  struct Rule {
    std::vector<std::string> parts;  ///< patterns; "**": any number of folders
    bool negated = false, folders_only = false;
    bool anchored = false;  ///< else it is about a name, wherever it is
  };
  static bool matches(const Rule&, const std::vector<std::string_view>& path);

  std::vector<Rule> rules_;
};

/// One name against one pattern with * ? [a-z] [!a-z] [[:alpha:]] and \; takes time no longer than
/// the product of their lengths.
bool matches_name(std::string_view pattern, std::string_view name);

}  // namespace spell::spellfs
