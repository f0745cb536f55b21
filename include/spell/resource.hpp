// Files kept by the service: `runs/N/path`, `uploads/NAME/path`, `public/NAME/path`, and aliases of
// such. Resources is the collection, Resource a handle on one of them.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spell/function.hpp"
#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"
#include "spell/stream.hpp"

namespace spell {

enum class EntryType { file, folder, link };

/// One entry of a folder, or a resource itself.
struct ResourceInfo {
  std::string path{};  ///< relative to what was listed; of a resource itself: its whole name
  EntryType type = EntryType::file;
  std::int64_t size = 0;   ///< bytes; of a folder: 0
  std::uint32_t mode = 0;  ///< permission bits
  std::optional<Time> modified_at{};
  std::string link_target{};
  /// SpellFS name of the content: two of one name are the same, byte for byte. "" of a link, an
  /// empty file, and what is no stored tree ("runs").
  std::string node{};
  std::int64_t bytes = 0;  ///< of a folder: those of all files below it
  std::int64_t files = 0;  ///< of a folder: files and links below it
};

/// How far a copy has come. The totals grow while folders are looked through.
struct CopyProgress {
  std::int64_t bytes = 0, total_bytes = 0;
  std::int64_t files = 0, total_files = 0;
};

struct DownloadOptions {
  bool force = false;  ///< overwrite existing files
  /// Called for each existing file of other content when not forced; false: skip it. Not set: error
  /// `file_exists`. On the calling thread.
  Function<bool(const std::string& path)> ask{};
  /// Called with the bytes written so far and the total. On the calling thread.
  Function<void(std::int64_t done, std::int64_t total)> progress{};
  int parallel = 8;  ///< files fetched at once
};

/// What a download did.
struct DownloadInfo {
  std::int64_t files = 0;    ///< files and links written
  std::int64_t bytes = 0;    ///< received
  std::int64_t present = 0;  ///< files that were here already, whole: nothing was fetched of them
};

struct UploadOptions {
  /// "x" or "uploads/x"; "public/x" for administrators; "": the base name of what is uploaded.
  std::string name{};
  /// Also what `.spellignore` files (Git's syntax) name, and __pycache__, .git, .venv,
  /// node_modules, .ipynb_checkpoints.
  bool all = false;
  /// What was read so far. One call at a time, perhaps from another thread.
  Function<void(const CopyProgress&)> progress{};
};

/// What `upload` made, and what it took.
struct UploadInfo {
  std::string name{};  ///< "x" of uploads/x
  EntryType type = EntryType::file;
  std::int64_t size = 0;   ///< bytes of all its files
  std::int64_t files = 0;  ///< files and links
  std::optional<Time> created_at{};
  std::string creator{};
  std::string node{};             ///< SpellFS name of its content
  std::int64_t sent = 0;          ///< bytes that went over the wire, compressed
  std::int64_t deduplicated = 0;  ///< bytes of `size` that the service had already
  std::int64_t left_out = 0;      ///< files that were not to be uploaded, see UploadOptions::all
  std::vector<std::string> skipped{};  ///< "path: why": unreadable files, sockets, devices, files
                                       ///< that changed all the time
};

/// An alias for a resource.
struct LinkInfo {
  std::string alias{}, resource{};
  std::optional<Time> created_at{};
};

/// How much room something takes.
struct UsageInfo {
  std::string name{};             ///< "runs/7", "uploads/data"; by kind: "outputs", "logs", …
  std::int64_t bytes = 0;         ///< of all files, as they are
  std::int64_t stored_bytes = 0;  ///< as stored: compressed, what is there twice counted once
  std::int64_t files = 0;
};

/// What a look at all that a service stores has found.
struct StorageCheck {
  std::int64_t packs = 0, objects = 0, bytes = 0;  ///< read
  std::vector<std::string>
      damaged{};                    ///< files that are not as they were written, and what is wrong
  std::vector<std::string> hurt{};  ///< "runs/7: …": resources, code and logs that lack something
};

/// A file that is open for reading: bytes come as they are asked for, over lost connections too.
/// Move-only; used by one thread at a time.
class ResourceReader {
 public:
  /// At least one byte, at most `size`; 0 at the end. Errors: `resource_changed` when the file was
  /// replaced since it was opened.
  Result<std::size_t> read(void* buffer, std::size_t size, CallOptions = {});
  /// Where the next read begins, counted from the start; beyond the end nothing is read. Error
  /// `range_not_satisfiable` for a negative one.
  Result<> seek(std::int64_t offset);
  std::int64_t offset() const noexcept;
  std::int64_t size() const noexcept;

  struct Impl;
  explicit ResourceReader(std::unique_ptr<Impl>);
  ResourceReader(ResourceReader&&) noexcept;
  ResourceReader& operator=(ResourceReader&&) noexcept;
  ~ResourceReader();

 private:
  std::unique_ptr<Impl> impl_;
};

/// Resources as a collection. Thread-safe.
class Resources {
 public:
  /// Entries of a folder sorted by name, or the one of a file. "" lists what there is at the top;
  /// "runs" the runs with outputs. Errors: `resource_not_found`, `invalid_path`.
  Result<std::vector<ResourceInfo>> list(const std::string& path, CallOptions = {}) const;
  /// The same, page by page as it is read: memory does not grow with the folder.
  Stream<ResourceInfo> entries(const std::string& path, CallOptions = {}) const;
  /// The resource itself. Errors: `resource_not_found`, `invalid_path`.
  Result<ResourceInfo> stat(const std::string& path, CallOptions = {}) const;
  /// Copies a file or folder here. `destination`: an existing folder, or the new name. Returns the
  /// number of files written. Names are checked: nothing is written outside the destination, links
  /// are created but never followed. A copy that was interrupted goes on where it was when it is
  /// asked for again: files that are complete are not fetched again, of a large one only the rest.
  Result<std::int64_t> download(const std::string& path, const std::string& destination,
                                const DownloadOptions& = {}, CallOptions = {}) const;
  /// The same, with more to tell.
  Result<DownloadInfo> fetch(const std::string& path, const std::string& destination,
                             const DownloadOptions& = {}, CallOptions = {}) const;
  /// A whole file, at most `limit` bytes (else error `too_large`).
  Result<std::string> read(const std::string& path, std::int64_t limit = 64 << 20,
                           CallOptions = {}) const;
  /// A file to be read in pieces, from anywhere. Errors: `resource_not_found`, `invalid_path`.
  Result<ResourceReader> open(const std::string& path, CallOptions = {}) const;
  /// Makes a file or folder of this computer `uploads/NAME`, in place of one of that name. Sends
  /// only what the service lacks, in packs of bounded size: what has arrived stays when the rest
  /// does not, and is not sent again. What cannot be read is named in `skipped`, the rest is
  /// uploaded. Links are kept as links. Errors: `not_found`, `not_permitted`, `invalid_request`:
  /// the path itself cannot be uploaded.
  Result<UploadInfo> upload(const std::string& path, const UploadOptions& = {},
                            CallOptions = {}) const;
  /// Deletes "uploads/x" or "public/x" for good. Errors: `resource_not_found`, `invalid_path` for
  /// what is no upload.
  Result<> remove(const std::string& path, CallOptions = {}) const;

  Result<std::vector<LinkInfo>> links(CallOptions = {}) const;
  /// Error `not_found`.
  Result<LinkInfo> link(const std::string& alias, CallOptions = {}) const;
  /// `alias` stands for `resource` from now on, and for nothing else it stood for before. Errors:
  /// `name_taken`, `resource_not_found`.
  Result<LinkInfo> set_link(const std::string& alias, const std::string& resource,
                            CallOptions = {}) const;
  Result<> remove_link(const std::string& alias, CallOptions = {}) const;

  /// Of one resource; "": of all outputs and uploads together.
  Result<UsageInfo> usage(const std::string& path, CallOptions = {}) const;
  /// Of all there is, by "run" (each run with outputs) or "kind" (outputs, uploads, code, logs).
  Result<std::vector<UsageInfo>> usage_by(const std::string& what, CallOptions = {}) const;
  /// Reads and verifies everything that is stored, which takes as long as the disk takes; for
  /// administrators. Damage is an answer, not an error.
  Result<StorageCheck> check(CallOptions = {}) const;

  explicit Resources(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

/// A cheap, thread-safe handle on a resource, which may not exist yet: as Resources' functions of
/// these names.
class Resource {
 public:
  /// "runs/7/results/a.txt"
  const std::string& path() const noexcept { return path_; }
  /// What is below a folder.
  Resource below(std::string_view name) const {
    return Resource(connection_, path_ + "/" + std::string(name));
  }
  Result<ResourceInfo> stat(CallOptions = {}) const;
  Stream<ResourceInfo> list(CallOptions = {}) const;
  /// Only for "uploads/x" and "public/x".
  Result<UploadInfo> upload(const std::string& local, UploadOptions = {}, CallOptions = {}) const;
  Result<DownloadInfo> download(const std::string& destination, const DownloadOptions& = {},
                                CallOptions = {}) const;
  Result<ResourceReader> open(CallOptions = {}) const;
  Result<> remove(CallOptions = {}) const;

  Resource() = default;
  Resource(std::shared_ptr<detail::Connection> connection, std::string path)
      : connection_(std::move(connection)), path_(std::move(path)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
  std::string path_;
};

}  // namespace spell
