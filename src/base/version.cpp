#include "spell/version.hpp"

namespace spell {

const char* version() noexcept { return SPELL_VERSION; }
int api_protocol() noexcept { return 1; }

}  // namespace spell
