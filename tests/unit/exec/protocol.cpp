// The supervisor's protocol, version 1, byte for byte: a later worker must still read what an
// earlier supervisor wrote.
#include "supervisor/protocol.hpp"

#include <climits>
#include <string>

#include "catch.hpp"

using namespace spell::supervisor;

TEST_CASE("fields are key=value and a NUL, the version first") {
  FieldWriter<64> out;
  out.put("boot", "b-1");
  out.put("pid", -12);
  out.put("big", LLONG_MIN);
  CHECK(std::string(out.data(), out.size()) ==
        std::string("spell-supervisor=1\0boot=b-1\0pid=-12\0big=-9223372036854775808\0", 61));
  FieldReader in(out.data(), out.size());
  Field field;
  REQUIRE(in.next(field));
  CHECK(field.key == "spell-supervisor");
  REQUIRE(in.next(field));
  CHECK(field.value == "b-1");
  REQUIRE(in.next(field));
  CHECK(number_of(field.value, 0) == -12);
}

TEST_CASE("a field that is cut off or malformed ends the reading") {
  for (std::string bytes :
       {std::string("a=1\0b=2", 7), std::string("a=1\0b\0", 6), std::string("a=1\0\0", 5)}) {
    FieldReader in(bytes.data(), bytes.size());
    Field field;
    CHECK(in.next(field));
    CHECK(field.value == "1");
    CHECK_FALSE(in.next(field));
  }
}

TEST_CASE("a value may hold anything but a NUL, and is cut where the buffer ends") {
  FieldWriter<40> out;
  out.put("x", std::string(100, '='));
  FieldReader in(out.data(), out.size());
  Field field;
  in.next(field);
  REQUIRE(in.next(field));
  CHECK(field.key == "x");
  CHECK(field.value == std::string(18, '='));
  CHECK(out.size() == 40);
}

TEST_CASE("numbers are whole or not at all") {
  for (const char* text : {"", "-", "1x", " 1", "9999999999999999999"})
    CHECK(number_of(text, -7) == -7);
  CHECK(number_of("0", -7) == 0);
}
