// SHA-256 of several texts at once. One text is a chain of dependent instructions that leaves a
// processor with SHA extensions idle most of the time; four chains side by side take as long as
// one.
#pragma once
#include <span>
#include <string_view>

#include "base/hash.hpp"

namespace spell::base {

/// `digests[i]` becomes the SHA-256 of `first` followed by `texts[i]`. As many of each.
void sha256_many(char first, std::span<const std::string_view> texts, std::span<Digest> digests);

}  // namespace spell::base
