#include "terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "text.hpp"

namespace spell::cli {

bool locale_is_utf8(const char* lc_all, const char* lc_ctype, const char* lang) {
  for (const char* value : {lc_all, lc_ctype, lang}) {
    if (!value || !*value) continue;
    std::string name = value;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    return name.find("utf-8") != name.npos || name.find("utf8") != name.npos;
  }
  return false;
}

Terminal detect_terminal(const Streams& streams) {
  Terminal terminal;
  terminal.out = ::isatty(streams.out) == 1;
  terminal.err = ::isatty(streams.err) == 1;
  terminal.can_ask = terminal.err && ::isatty(streams.in) == 1;
  const char* no_colour = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  bool wanted = !(no_colour && *no_colour) && !(kind && std::string_view(kind) == "dumb");
  terminal.colour = terminal.out && wanted;
  terminal.err_colour = terminal.err && wanted;
  terminal.utf8 =
      locale_is_utf8(std::getenv("LC_ALL"), std::getenv("LC_CTYPE"), std::getenv("LANG"));
  winsize size{};
  const char* columns = std::getenv("COLUMNS");
  if (auto given = parse_int(columns ? columns : ""); given && *given > 0 && *given < 10'000)
    terminal.width = static_cast<int>(*given);
  else if (::ioctl(terminal.out ? streams.out : streams.err, TIOCGWINSZ, &size) == 0 &&
           size.ws_col > 0)
    terminal.width = size.ws_col;
  return terminal;
}

}  // namespace spell::cli
