// Commands and options of the product that this version does not have yet: refused by name, never
// accepted and ignored.
#pragma once
#include <span>
#include <string_view>

#include "spell/error.hpp"

namespace spell::cli {

struct Unavailable {
  std::string_view command;
  std::string_view option;  ///< "": the command as a whole
};
std::span<const Unavailable> unavailable();
bool is_unavailable(std::string_view command, std::string_view option = {});
/// Error `not_available`: "--gpu is not available in this version".
Error not_available(std::string_view what);

}  // namespace spell::cli
