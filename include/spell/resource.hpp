// Files kept by the service: `runs/N/path`.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"

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

struct DownloadOptions {
  bool force = false;  ///< overwrite existing files
  /// Called for each existing file when not forced; false: skip it. Not set: error `file_exists`.
  std::function<bool(const std::string& path)> ask{};
  /// Called with the bytes written so far and the total.
  std::function<void(std::int64_t done, std::int64_t total)> progress{};
};

/// Reads resources. Thread-safe.
class Resources {
 public:
  /// Entries of a folder sorted by name, or the one of a file. "" lists what there is at the top;
  /// "runs" the runs with outputs. Errors: `resource_not_found`, `invalid_path`.
  Result<std::vector<ResourceInfo>> list(const std::string& path, CallOptions = {}) const;
  /// Copies a file or folder here. `destination`: an existing folder, or the new name. Returns the
  /// number of files written. Names are checked: nothing is written outside the destination, links
  /// are created but never followed.
  Result<std::int64_t> download(const std::string& path, const std::string& destination,
                                const DownloadOptions& = {}, CallOptions = {}) const;
  /// A whole file, at most `limit` bytes (else error `too_large`).
  Result<std::string> read(const std::string& path, std::int64_t limit = 64 << 20,
                           CallOptions = {}) const;

  explicit Resources(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
