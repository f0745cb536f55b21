// An executable of this computer that is to run elsewhere: what it asks of the machine, read from
// the file itself.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "spell/machine.hpp"
#include "spell/result.hpp"

namespace spell::detail {

struct ProgramNeeds {
  std::string architecture{};            ///< as `uname -m` says it: "x86_64"
  bool dynamic = false;                  ///< it has an interpreter and libraries
  std::string glibc{};                   ///< the highest version it names: "2.34"; "": none
  std::string glibc_symbol{};            ///< of which library: "libc.so.6"
  std::vector<std::string> libraries{};  ///< those it names itself
};

/// Error `invalid_program`: it is no executable for Linux.
Result<ProgramNeeds> read_program(std::string_view bytes);

/// Whether a machine has what a program needs, as far as that machine has told. `here`: it is this
/// computer, whose libraries can be looked for. Error `invalid_program`, which names what is
/// missing.
Result<> check_program(const std::string& path, const ProgramNeeds&, const MachineInfo&, bool here);

}  // namespace spell::detail
