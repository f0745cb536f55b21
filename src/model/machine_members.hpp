// The JSON of a machine's parts, for those that meet them inside of other messages.
#pragma once
#include "model/members.hpp"
#include "spell/machine.hpp"

namespace spell::model {

template <>
struct Table<GpuInfo> {
  static constexpr Field<GpuInfo> fields[] = {
      SPELL_REQUIRED(GpuInfo, index),
      SPELL_MEMBER(GpuInfo, uuid),
      SPELL_MEMBER(GpuInfo, name),
      SPELL_MEMBER(GpuInfo, memory),
  };
};

}  // namespace spell::model
