// The JSON of a run's parts, for those that meet them inside of other messages.
#pragma once
#include <chrono>

#include "model/members.hpp"
#include "spell/run.hpp"

namespace spell::model {

template <>
struct Codec<std::chrono::seconds> {
  static Problem read(const json& j, std::chrono::seconds& out) {
    std::int64_t count = 0;
    auto problem = read_int(j, count);
    out = std::chrono::seconds(count);
    return problem;
  }
  static json write(const std::chrono::seconds& duration) { return duration.count(); }
};

template <>
struct Table<RunBacklog> {
  static constexpr Field<RunBacklog> fields[] = {
      SPELL_MEMBER(RunBacklog, files),
      SPELL_MEMBER(RunBacklog, bytes),
      SPELL_MEMBER(RunBacklog, age),
  };
};

}  // namespace spell::model
