#include "say.hpp"

#include <iostream>

namespace spell::daemon {

int fail(const Error& error) {
  std::cerr << "spelld: " << error.message() << std::endl;
  return error.code() == "invalid_configuration" ? 3 : error.code() == "usage" ? 2 : 1;
}

}  // namespace spell::daemon
