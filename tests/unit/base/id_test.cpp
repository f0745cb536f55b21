#include "base/id.hpp"

#include "catch.hpp"

using spell::base::Id;

TEST_CASE("an id is 48 bits of milliseconds, version and variant, and random bits") {
  auto id = Id::make(0x0123456789ab, std::string(16, '\xff'));
  CHECK(id.text() == "0123456789ab7fffbfffffffffffffff");
  CHECK(Id::make(0, std::string(16, '\0')).text() == "00000000000070008000000000000000");
}

TEST_CASE("ids of later milliseconds sort after earlier ones, as values and as text") {
  auto early = Id::make(999, std::string(16, '\xff')), late = Id::make(1000, std::string(16, '\0'));
  CHECK(early < late);
  CHECK(early.text() < late.text());
}

TEST_CASE("text is read back, and nothing else is") {
  auto id = Id::make(5, "0123456789abcdef");
  REQUIRE(Id::parse(id.text()));
  CHECK(*Id::parse(id.text()) == id);
  for (std::string bad : {std::string(), std::string(31, 'a'), std::string(33, 'a'),
                          std::string(32, 'A'), std::string(32, 'g'), std::string(31, 'a') + ' ',
                          std::string(32, '\0'), std::string("../../../../../../../etc/passwd0")}) {
    INFO(bad);
    CHECK_FALSE(Id::parse(bad));
  }
}

TEST_CASE("two ids differ") { CHECK(Id::make() != Id::make()); }
