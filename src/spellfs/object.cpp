#include "spellfs/object.hpp"

#include "base/hash.hpp"

namespace spell::spellfs {

std::string Name::text() const { return "s" + base::hex(digest); }

std::optional<Name> Name::parse(std::string_view text) {
  Name name;
  if (text.empty() || text[0] != 's') return std::nullopt;
  if (!base::unhex(text.substr(1), name.digest.data(), name.digest.size())) return std::nullopt;
  return name;
}

Name name_of(Kind kind, std::string_view bytes) {
  base::Sha256 hash;
  char tag = static_cast<char>(kind);
  hash.update({&tag, 1});
  hash.update(bytes);
  return {hash.finish()};
}

}  // namespace spell::spellfs
