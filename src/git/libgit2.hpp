// libgit2 behind owners and values: the only header that includes it, and the one place that turns
// its errors into ours. Objects are read as raw bytes and parsed here, so that hostile ones meet
// one parser with explicit limits.
#pragma once
#include <git2.h>
#include <git2/sys/odb_backend.h>

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "spell/result.hpp"

namespace spell::git {

/// Makes sure that the library is initialised; call before anything else of it.
void start_library();

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using RepositoryPtr = std::unique_ptr<git_repository, Freer<git_repository_free>>;
using IndexPtr = std::unique_ptr<git_index, Freer<git_index_free>>;
using ObjectPtr = std::unique_ptr<git_object, Freer<git_object_free>>;
using OdbPtr = std::unique_ptr<git_odb, Freer<git_odb_free>>;
using OdbObjectPtr = std::unique_ptr<git_odb_object, Freer<git_odb_object_free>>;
using RemotePtr = std::unique_ptr<git_remote, Freer<git_remote_free>>;
using ConfigPtr = std::unique_ptr<git_config, Freer<git_config_free>>;
using FiltersPtr = std::unique_ptr<git_filter_list, Freer<git_filter_list_free>>;
using IndexerPtr = std::unique_ptr<git_indexer, Freer<git_indexer_free>>;

/// Calls a C function that makes something: `make(odb, git_odb_open, path)`. Its return code; the
/// owner is set at once.
template <class Owner, class Function, class... Arguments>
int make(Owner& owner, Function function, Arguments... arguments) {
  typename Owner::pointer pointer = nullptr;
  int rc = function(&pointer, arguments...);
  owner.reset(pointer);
  return rc;
}

/// The library's last error as ours: "WHAT: its message" in one line.
Error library_error(std::string_view code, std::string_view what);

using Oid = std::array<std::uint8_t, 20>;
struct OidHash {
  std::size_t operator()(const Oid& id) const {
    std::size_t value;
    std::memcpy(&value, id.data(), sizeof value);
    return value;
  }
};
using OidSet = std::unordered_set<Oid, OidHash>;

inline Oid from_git(const git_oid& id) {
  Oid result;
  std::memcpy(result.data(), id.id, result.size());
  return result;
}
inline git_oid to_git(const Oid& id) {
  git_oid result;
  std::memcpy(result.id, id.data(), id.size());
  return result;
}
/// 40 lower-case hex digits, nothing else.
std::optional<Oid> parse_oid(std::string_view text);

constexpr std::uint32_t mode_file = 0100644, mode_program = 0100755, mode_link = 0120000,
                        mode_tree = 0040000, mode_module = 0160000;

struct TreeEntry {
  std::uint32_t mode = 0;  ///< one of the five above, whatever old variant of it was stored
  std::string_view name{};
  Oid id{};
};

struct CommitData {
  Oid tree{};
  std::vector<Oid> parents{};
  std::string when{};     ///< the committer's date as stored: "1700000000 +0100"
  std::string subject{};  ///< first line of the message
};

/// An object's bytes; owns them.
struct Object {
  OdbObjectPtr owner{};
  std::string_view bytes{};
};

// No honest tree or commit comes near these; a hostile one must not cost the memory it declares.
constexpr std::size_t tree_limit = 64 << 20, commit_limit = 16 << 20;

/// Errors: `missing_object` (not here), `bad_object` (another type, too large, damaged).
Result<Object> read_object(git_odb* odb, const Oid& id, git_object_t type,
                           std::size_t limit = SIZE_MAX);
Result<CommitData> read_commit(git_odb* odb, const Oid& id);
/// Entries point into `object`.
Result<std::vector<TreeEntry>> read_tree(git_odb* odb, const Oid& id, Object& object);

/// False for names that could leave a folder or reach into a repository's own: "", ".", "..",
/// ".git", or with '/'.
bool safe_name(std::string_view name);

/// The objects of a repository's folder, alternates included. Never written through.
Result<OdbPtr> open_objects(const std::string& objects_folder);

}  // namespace spell::git
