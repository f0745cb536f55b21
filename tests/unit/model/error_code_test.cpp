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
