#pragma once
#include <string.h>

namespace spell::supervisor {

/// The system's words for an error number, in English; loads no locale.
inline const char* text_of_error(int number) {
#ifdef __GLIBC__
  const char* text = strerrordesc_np(number);
  return text ? text : "unknown error";
#else
  return strerror(number);
#endif
}

}  // namespace spell::supervisor
