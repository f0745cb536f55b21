#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;

TEST_CASE("a name is the SHA-256 of kind and bytes, and its text reads back") {
  Name name = name_of(Kind::chunk, "hello");
  CHECK(name.digest == base::sha256("chello"));
  CHECK(name.text() == "s" + base::hex(name.digest));
  CHECK(Name::parse(name.text()) == name);
  CHECK(name_of(Kind::file, "hello") != name);
  CHECK(name_of(Kind::folder, "hello") != name);
}

TEST_CASE("nothing but a name's text is a name") {
  std::string text = name_of(Kind::chunk, "hello").text();
  for (std::string wrong : {std::string(), std::string("s"), text.substr(1), text.substr(0, 64),
                            text + "0", "t" + text.substr(1), "S" + text.substr(1)})
    CHECK_FALSE(Name::parse(wrong));
  std::string upper = text;
  for (char& c : upper)
    if (c >= 'a' && c <= 'f') c = static_cast<char>(c - 32);
  CHECK_FALSE(Name::parse("s" + upper.substr(1)));
}
