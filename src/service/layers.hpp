// Which run builds a layer of an environment, which waits for it, which is given it, and which
// layers go when there are too many. Pure.
//
//   (none) --build--> building --put--> ready --lost, refresh--> building …
//                        |  the build was given up, or its run is over: the next one builds
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "store/store.hpp"

namespace spell::service {

struct LayerWish {
  std::string run{};  ///< id
  std::int64_t epoch = 0;
  bool refresh = false;               ///< not one that was there before
  std::string lost{};                 ///< a tree that this run could not read
  std::vector<std::string> pinned{};  ///< packages that it must have; none: any
  std::int64_t asked_us = 0;          ///< when the run was made
};

enum class LayerState { ready, build, wait };
/// `builder_lives`: the run that has claimed it is still about to build it.
LayerState decide_layer(const std::optional<store::LayerRecord>& there, const LayerWish&,
                        bool builder_lives);

/// Owner and name of those that go so that the rest takes no more than `limit` bytes: the least
/// recently used first, none of `in_use` and none that is being built.
std::vector<std::pair<std::string, std::string>> choose_layers_to_remove(
    std::vector<store::LayerRecord> layers,
    const std::set<std::pair<std::string, std::string>>& in_use, std::int64_t limit);

}  // namespace spell::service
