// The parts of fetch_url that stand alone.
#pragma once
#include <string>

#include "git/work_tree.hpp"

namespace spell::git {

/// Fetches from any URL that the library understands into the cache.
Result<Snapshot> fetch_remote(const std::string& url, const std::string& ref,
                              const std::string& cache);
/// For messages: a URL without "user:password@".
std::string without_credentials(const std::string& url);

}  // namespace spell::git
