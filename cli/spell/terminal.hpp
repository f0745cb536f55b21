// What the standard streams can show.
#pragma once
#include <string>

namespace spell::cli {

struct Streams {
  int in = 0, out = 1, err = 2;
};

/// What is known of the streams and the environment. A plain value, so that tests can make one.
struct Terminal {
  bool out = false;      ///< stdout is a terminal
  bool err = false;      ///< stderr is a terminal
  bool can_ask = false;  ///< somebody can be asked: stdin and stderr are terminals
  bool colour = false;   ///< of stdout
  bool err_colour = false;
  bool utf8 = false;
  int width = 80;  ///< columns; meant for a terminal only
};

Terminal detect_terminal(const Streams& streams);
/// Whether LC_ALL, LC_CTYPE, LANG (the first that is not empty) name UTF-8.
bool locale_is_utf8(const char* lc_all, const char* lc_ctype, const char* lang);

}  // namespace spell::cli
