// The Debian packages that this service hands to its machines under /install/, and the script that
// installs one. What arrives at a machine is believed by its hash: of a package by the hash in the
// script, of the script by the pinned key in the line that was pasted.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "spell/result.hpp"

namespace spell::service {

struct PackageFile {
  std::string file{};          ///< NAME_VERSION_ARCHITECTURE.deb
  std::string name{};          ///< of the package
  std::string architecture{};  ///< as Debian calls it: amd64, arm64, …
  std::string sha256{};        ///< hex
  std::int64_t size = 0;
};

/// The packages of a folder, looked up at each question: a new one is there without a restart.
/// Thread-safe. Reads files: not for the threads that answer requests.
class Packages {
 public:
  explicit Packages(std::string folder) : folder_(std::move(folder)) {}
  const std::string& folder() const { return folder_; }
  /// By name of the file; empty if there is no such folder.
  Result<std::vector<PackageFile>> list();

 private:
  struct Seen {
    std::int64_t size = 0, changed_ns = 0;
    std::uint64_t inode = 0;
    std::string sha256{};
  };
  Result<std::string> hash(const std::string& file, const Seen& now);
  const std::string folder_;
  std::mutex mutex_;
  std::map<std::string, Seen> seen_;
};

/// Lines of `sha256sum`, which `sha256sum --check` reads.
std::string sha256_list(const std::vector<PackageFile>&);

/// `text`, the script with @FETCH@ @URL@ @PACKAGES@, for who has reached the service at `url`
/// (https://HOST:PORT or unix:PATH). Error `not_found` if there is no package spell-worker-service.
Result<std::string> worker_script(std::string_view text, const std::string& url,
                                  const std::vector<PackageFile>&);

/// The line to paste on a Debian or Ubuntu machine: it installs spell-worker from the service at
/// `url` (as above), whose own certificate is the first in `certificate`; "": one that the
/// machine's system trusts. Error `invalid_certificate`.
Result<std::string> install_line(const std::string& url, const std::string& certificate);

}  // namespace spell::service
