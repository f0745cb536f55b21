// "1 file", "2 files".
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace spell::base {

/// `noun` is one whose plural ends with an s.
inline std::string count(std::int64_t number, std::string_view noun) {
  return std::to_string(number) + " " + std::string(noun) + (number == 1 ? "" : "s");
}

}  // namespace spell::base
