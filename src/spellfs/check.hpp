// The one check that a pack must pass before a store takes it. Private to this module.
#pragma once
#include <functional>
#include <optional>

#include "spellfs/node.hpp"
#include "spellfs/pack.hpp"

namespace spell::spellfs {

/// An object that passed, with its bytes as they are stored and as they are.
struct Checked {
  const Frame& frame;
  const Facts& facts;
  std::string_view stored, bytes;
};

/// Reads a pack once, from its first frame to its last, and hands each object to `take` in order.
/// Every hash is verified; everything that a node names must have come before it in the pack, or be
/// known to `sent` (what this owner has sent before), and be what the node says. Memory: the pack's
/// index and one window. Errors: `bad_pack`, `incomplete_pack`, and those of the two functions.
Result<> check_pack(int fd, std::int64_t size,
                    const std::function<Result<std::optional<Facts>>(const Name&)>& sent,
                    const std::function<Result<>(const Checked&)>& take);

}  // namespace spell::spellfs
