#include "base/hash.hpp"

#include "catch.hpp"

using namespace spell::base;

TEST_CASE("SHA-256 of the standard's examples") {
  CHECK(hex(sha256("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hex(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hex(sha256(std::string(1'000'000, 'a'))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("pieces hash like the whole, and a finished hash starts anew") {
  Sha256 hash;
  hash.update("a");
  hash.update("");
  hash.update("bc");
  CHECK(hash.finish() == sha256("abc"));
  CHECK(hash.finish() == sha256(""));
  hash.update("abc");
  Sha256 moved = std::move(hash);
  CHECK(moved.finish() == sha256("abc"));
}

TEST_CASE("hex and back") {
  CHECK(hex(std::string_view("\x00\xff\x1a", 3)) == "00ff1a");
  std::uint8_t out[2];
  REQUIRE(unhex("00ff", out, 2));
  CHECK(out[0] == 0);
  CHECK(out[1] == 255);
  for (auto bad : {"", "00f", "00fff", "00FF", "0 ff", "0x00"}) CHECK_FALSE(unhex(bad, out, 2));
}

TEST_CASE("secrets are equal only when they are the same") {
  CHECK(equal_secret("abc", "abc"));
  CHECK(equal_secret("", ""));
  CHECK_FALSE(equal_secret("abc", "abd"));
  CHECK_FALSE(equal_secret("abc", "abcd"));
  CHECK_FALSE(equal_secret("abc", ""));
}

TEST_CASE("random bytes differ") {
  CHECK(random_bytes(16).size() == 16);
  CHECK(random_bytes(16) != random_bytes(16));
}
