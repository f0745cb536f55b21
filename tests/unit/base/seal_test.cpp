#include "base/seal.hpp"

#include "base/hash.hpp"
#include "catch.hpp"

using namespace spell;

TEST_CASE("what is sealed comes back for the same key and context only") {
  std::string key = base::random_bytes(base::seal_key_size), other = base::random_bytes(32);
  for (std::string text : {std::string(), std::string("a value"), base::random_bytes(100'000)}) {
    auto sealed = base::seal(key, "ada", text);
    REQUIRE(sealed);
    CHECK((*base::open_sealed(key, "ada", *sealed) == text));
    CHECK(base::open_sealed(other, "ada", *sealed).error().code() == "damaged");
    CHECK(base::open_sealed(key, "bob", *sealed).error().code() == "damaged");
    if (text.size() > 4) CHECK(sealed->find(text.substr(0, 7)) == std::string::npos);
  }
}

TEST_CASE("every byte of a seal counts") {
  std::string key = base::random_bytes(base::seal_key_size);
  auto sealed = *base::seal(key, "c", "a value");
  for (std::size_t at = 0; at < sealed.size(); ++at) {
    auto changed = sealed;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    CHECK(base::open_sealed(key, "c", changed).error().code() == "damaged");
    CHECK(base::open_sealed(key, "c", sealed.substr(0, at)).error().code() == "damaged");
  }
  CHECK(base::seal("short", "c", "a value").error().code() == "internal");
  // The same value twice looks different.
  CHECK(*base::seal(key, "c", "a value") != sealed);
}
