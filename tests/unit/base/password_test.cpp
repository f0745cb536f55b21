#include "base/password.hpp"

#include <set>

#include "catch.hpp"

using namespace spell::base;

TEST_CASE("a password is known again, another one is not, and its hash does not show it") {
  auto hash = hash_password("correct horse battery");
  REQUIRE(hash);
  CHECK(hash->starts_with("scrypt:15:8:1:"));
  CHECK(hash->find("horse") == std::string::npos);
  CHECK(is_password("correct horse battery", *hash));
  CHECK_FALSE(is_password("correct horse batterz", *hash));
  CHECK_FALSE(is_password("", *hash));
  CHECK(hash_password("correct horse battery").value() != *hash);
}

TEST_CASE("what is no hash is nobody's password") {
  for (auto stored : {"", "x", "scrypt:15:8:1::", "scrypt:99:8:1:00:00",
                      "scrypt:15:8:1:zz:", "scrypt:-1:8:1:00000000000000000000000000000000:"}) {
    CAPTURE(stored);
    CHECK_FALSE(is_password("", stored));
    CHECK_FALSE(is_password("correct horse battery", stored));
  }
}

TEST_CASE("rules of passwords") {
  CHECK(check_password_rules("0123456789"));
  CHECK(check_password_rules(std::string(1024, 'x')));
  for (auto bad : {std::string("012345678"), std::string(1025, 'x'), std::string("0123456789\xff"),
                   std::string("01234\00056789", 11)})
    CHECK(check_password_rules(bad).error().code() == "weak_password");
}

TEST_CASE("passwords that are made differ and keep the rules") {
  std::set<std::string> made;
  for (int i = 0; i < 100; ++i) made.insert(make_password());
  CHECK(made.size() == 100);
  for (auto& password : made) CHECK(check_password_rules(password));
}
