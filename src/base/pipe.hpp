// A pipe that programs do not inherit.
#pragma once
#include "base/fd.hpp"

namespace spell::base {

struct Pipe {
  Fd read{}, write{};
};
Result<Pipe> make_pipe();

}  // namespace spell::base
