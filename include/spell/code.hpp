// The code of a run: which repository and commit, and what would travel.
#pragma once
#include <string>
#include <vector>

#include "spell/options.hpp"
#include "spell/result.hpp"

namespace spell {

/// Where a run's code comes from.
class Code {
 public:
  enum class Kind { none, here, repository, url, label };
  /// No files: the run starts in an empty /spell.
  static Code none() { return {}; }
  /// The Git repository around the current folder; the run starts in the same subfolder.
  static Code here(std::string ref = "HEAD") { return {Kind::here, ".", std::move(ref)}; }
  /// The Git repository around `path`.
  static Code repository(std::string path, std::string ref = "HEAD") {
    return {Kind::repository, std::move(path), std::move(ref)};
  }
  /// A repository by URL (https, file, or a local path); nothing is pushed, uncommitted changes are
  /// not seen.
  static Code url(std::string address, std::string ref = "HEAD") {
    return {Kind::url, std::move(address), std::move(ref)};
  }
  /// A commit that the run's workflow has under this label; nothing is sent.
  static Code label(std::string commit_label) { return {Kind::label, std::move(commit_label), ""}; }

  /// Send untracked (not ignored) files too.
  Code& include_untracked(bool on = true) {
    untracked_ = on;
    return *this;
  }
  /// Refuse uncommitted changes to tracked files (error `uncommitted_changes`) instead of sending a
  /// snapshot commit.
  Code& require_clean(bool on = true) {
    clean_ = on;
    return *this;
  }

  Kind kind() const noexcept { return kind_; }
  const std::string& location() const noexcept { return location_; }
  const std::string& ref() const noexcept { return ref_; }
  bool includes_untracked() const noexcept { return untracked_; }
  bool requires_clean() const noexcept { return clean_; }

  Code() = default;

 private:
  Code(Kind kind, std::string location, std::string ref)
      : kind_(kind), location_(std::move(location)), ref_(std::move(ref)) {}
  Kind kind_ = Kind::none;
  std::string location_, ref_;
  bool untracked_ = false, clean_ = false;
};

/// What a repository looks like to a run that would be made of it now.
struct CodeInfo {
  std::string root{};  ///< absolute path of the work tree
  std::string
      name{};  ///< the repository's name: last part of its remote "origin", else of its folder
  std::string workspace{};  ///< id of the root commit: identifies the repository
  std::string commit{};     ///< the commit that `ref` names, 40 hex digits
  std::string message{};    ///< first line of that commit's message
  std::string folder{};     ///< where the user stood, relative to root; "" at the top
  std::vector<std::string>
      changed{};  ///< tracked files with uncommitted changes (only when ref is HEAD)
  std::vector<std::string> untracked{};  ///< untracked, not ignored (a folder ends with '/')
  std::vector<std::string> ignored{};    ///< ignored folders at the top ("data/")
};

/// Looks at a repository without changing anything in it. Blocks on the disk only.
/// Errors: `not_a_repository`, `no_commit`, `bad_ref`, `unsupported_repository`.
Result<CodeInfo> inspect(const Code& code);

}  // namespace spell
