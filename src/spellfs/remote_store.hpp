// The objects of a store elsewhere, read by name over a function that asks for them. Who reads a
// tree in its order waits for few answers: with an object come those that the same node, and the
// nodes behind it, name next. Folders are fetched ahead of folders, content ahead of content, so
// that somebody who only looks does not fetch files. Memory is bounded. Reads verify: what is
// sent is hostile.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "spellfs/store.hpp"

namespace spell::spellfs {

struct RemoteOptions {
  std::size_t memory = 64 << 20;    ///< for what was fetched; the least recent goes
  std::size_t ask_bytes = 4 << 20;  ///< about as much is asked for at once
  std::size_t ask_names = 1024;     ///< at most as many names
  /// All below a folder is going to be read. Else what is ahead in one file is, and other files
  /// when they are expected.
  bool whole_trees = true;
};

/// Asks for objects: answers with a pack v1, without an owner, of the first of them: as many as the
/// other side sees fit, at least one. Called by several threads at once.
using FetchObjects = std::function<Result<std::string>(std::span<const Name>)>;

/// Thread-safe. Errors of get(): those of `fetch`, `bad_pack`, `damaged`, `object_not_found`.
class RemoteStore : public ObjectSource {
 public:
  /// These are going to be read: asks for the first that are not here, as many as come at once. A
  /// failure shows when they are read.
  virtual void expect(std::span<const Name>) const = 0;
};
std::unique_ptr<RemoteStore> make_remote_store(FetchObjects fetch, RemoteOptions options = {});

}  // namespace spell::spellfs
