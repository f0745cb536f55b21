// The JSON of resolved mounts, for those that meet them inside of other messages.
#pragma once
#include "model/members.hpp"
#include "model/mount.hpp"

namespace spell::model {

template <>
struct Table<ResolvedMount> {
  static constexpr Field<ResolvedMount> fields[] = {
      SPELL_REQUIRED(ResolvedMount, resource), SPELL_REQUIRED(ResolvedMount, at),
      SPELL_MEMBER(ResolvedMount, type),       SPELL_MEMBER(ResolvedMount, node),
      SPELL_MEMBER(ResolvedMount, below),      SPELL_MEMBER(ResolvedMount, run),
      SPELL_MEMBER(ResolvedMount, size),       SPELL_MEMBER(ResolvedMount, files),
      SPELL_MEMBER(ResolvedMount, mode),       SPELL_MEMBER(ResolvedMount, modified_us),
  };
};

}  // namespace spell::model
