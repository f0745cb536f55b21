#include "model/error_code.hpp"

#include <set>
#include <string>

#include "catch.hpp"

using namespace spell::model;

TEST_CASE("codes are unique snake_case names with an HTTP error status and a meaning") {
  std::set<std::string_view> codes;
  for (auto& row : error_codes()) {
    INFO(row.code);
    CHECK(codes.insert(row.code).second);
    CHECK(row.code.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == row.code.npos);
    CHECK(row.http_status >= 400);
    CHECK(row.http_status < 600);
    CHECK_FALSE(row.meaning.empty());
    CHECK(http_status(row.code) == row.http_status);
  }
}

TEST_CASE("HTTP statuses that clients rely on") {
  CHECK(http_status("invalid_request") == 400);
  CHECK(http_status("not_permitted") == 403);
  CHECK(http_status("run_not_found") == 404);
  CHECK(http_status("key_conflict") == 409);
  CHECK(http_status("stale_epoch") == 409);
  CHECK(http_status("too_large") == 413);
  CHECK(http_status("unknown_machine_type") == 422);
  CHECK(http_status("shutting_down") == 503);
  CHECK(http_status("disk_full") == 507);
}

TEST_CASE("a code that is not in the table is the service's fault") {
  CHECK(http_status("no_such_code") == 500);
}

TEST_CASE("a message is one line of valid text, whatever it repeats") {
  CHECK(one_line("there is no run 'ä'") == "there is no run 'ä'");
  CHECK(one_line(std::string_view("a\nb\r\tc\0d\x1b[1m\x7f", 13)) == "a?b??c?d?[1m?");
  CHECK(one_line("a\xc2\x85"
                 "b\xc2\xa0"
                 "c\xff") ==
        "a?b\xc2\xa0"
        "c\xEF\xBF\xBD");
  CHECK(one_line("a\xc2") == "a\xEF\xBF\xBD");
  CHECK(one_line(std::string(1000, 'x')) == std::string(1000, 'x'));
  CHECK(one_line(std::string(1001, 'x')) == std::string(1000, 'x') + "…");
  CHECK(one_line("xxää", 5) == "xxä…");
  CHECK(one_line("xxää", 4) == "xxä…");
  CHECK(one_line("", 0) == "");
}
