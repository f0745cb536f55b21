#include "spellfs/check.hpp"

#include <unordered_map>

#include "base/error.hpp"

namespace spell::spellfs {

Result<> check_pack(int fd, std::int64_t size,
                    const std::function<Result<std::optional<Facts>>(const Name&)>& sent,
                    const std::function<Result<>(const Checked&)>& take) {
  auto bad = [](const Name& name, const std::string& what) {
    return base::error("bad_pack", "bad pack: object " + name.text() + " " + what);
  };
  auto pack = PackFileReader::open(fd, size, max_sent_objects);
  if (!pack) return pack.error();
  if (!pack->owner().empty()) return base::error("bad_pack", "bad pack: it names an owner");

  std::unordered_map<Name, Facts, NameHash> seen;
  seen.reserve(pack->frames().size());
  Decompressor decompressor;
  for (auto& frame : pack->frames()) {
    if (frame.codec == Codec::elsewhere) return bad(frame.name, "has no bytes");
    if (seen.contains(frame.name)) return bad(frame.name, "is there twice");
    auto stored = pack->stored(frame);
    if (!stored)
      return stored.error().code() == "damaged" ? bad(frame.name, "is not as its index says")
                                                : stored.error();
    auto bytes = decompressor.unpack(frame, *stored);
    if (!bytes) return bad(frame.name, "does not have the content of its name");
    auto description = describe(frame.kind, *bytes);
    if (!description) return bad(frame.name, "is a " + description.error().message());
    for (auto& reference : description->references) {
      std::optional<Facts> found;
      if (auto it = seen.find(reference.name); it != seen.end()) {
        found = it->second;
      } else {
        auto known = sent(reference.name);
        if (!known) return known.error();
        found = *known;
      }
      if (!found)
        return base::error("incomplete_pack", "object " + frame.name.text() + " names " +
                                                  reference.name.text() + ", which was not sent");
      if (!reference.fits(*found))
        return bad(frame.name, "is wrong about " + reference.name.text() + ", which it names");
    }
    SPELL_TRY(take({frame, description->facts, *stored, *bytes}));
    seen.emplace(frame.name, description->facts);
  }
  return ok();
}

}  // namespace spell::spellfs
