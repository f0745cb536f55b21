#include "model/gpu_name.hpp"

namespace spell::model {

namespace {

char folded(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool counts(char c) { return (folded(c) >= 'a' && folded(c) <= 'z') || (c >= '0' && c <= '9'); }

/// Whether the wanted letters and digits stand at the beginning of `name`, up to a word's end.
bool begins(std::string_view name, std::string_view wanted) {
  std::size_t at = 0;
  for (char c : wanted) {
    if (!counts(c)) continue;
    while (at < name.size() && !counts(name[at])) ++at;
    if (at == name.size() || folded(name[at]) != folded(c)) return false;
    ++at;
  }
  return at > 0 && (at == name.size() || !counts(name[at]));
}

}  // namespace

bool is_gpu(std::string_view name, std::string_view wanted) {
  for (std::size_t at = 0; at < name.size(); ++at)
    if (counts(name[at]) && (at == 0 || !counts(name[at - 1])) && begins(name.substr(at), wanted))
      return true;
  return false;
}

}  // namespace spell::model
