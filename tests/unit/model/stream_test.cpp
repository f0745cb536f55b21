#include "model/stream.hpp"

#include "catch.hpp"

using namespace spell;
using namespace spell::model;

TEST_CASE("requests of streams come back as they were") {
  auto exec = parse_exec_request(
      to_json(
          ExecRequest{.command = "ls -l", .env = {{"A", "b=c"}}, .terminal = true, .columns = 93})
          .dump());
  REQUIRE(exec);
  CHECK(exec->command == "ls -l");
  CHECK(exec->env.at("A") == "b=c");
  CHECK((exec->terminal && exec->columns == 93 && exec->rows == 24));
  CHECK(parse_forward_request(to_json(ForwardRequest{8888}).dump())->port == 8888);
  CHECK(parse_forward_request("{}")->port == 0);
  CHECK(parse_stats_request(R"({"interval_ms": 500, "of_a_newer_client": 1})")->interval_ms == 500);
}

TEST_CASE("requests that make no sense are refused, whatever they are") {
  for (const char* text :
       {"", "[]", "{", R"({"command": ""})", R"({"command": "  "})", R"({"command": 1})", "{}",
        R"({"command": "a\u0000b"})", R"({"command": "ls", "env": {"A=B": "c"}})",
        R"({"command": "ls", "env": {"": "c"}})", R"({"command": "ls", "columns": 0})",
        R"({"command": "ls", "rows": 10001})", R"({"command": "ls", "columns": 99999999999})"})
    CHECK_FALSE(parse_exec_request(text));
  for (const char* text : {"", "[]", R"({"port": -1})", R"({"port": 65536})", R"({"port": "80"})"})
    CHECK_FALSE(parse_forward_request(text));
  for (const char* text : {R"({"interval_ms": 1})", R"({"interval_ms": 3600001})"})
    CHECK_FALSE(parse_stats_request(text));
}

TEST_CASE("sizes, numbers and failures are read with care") {
  TerminalSize size;
  CHECK(parse_resize(resize_text({100, 40}), size));
  CHECK((size.columns == 100 && size.rows == 40));
  for (const char* text : {"", "x", "80x", "x24", "0x24", "80x24x3", "-1x5", "80x99999999999"})
    CHECK_FALSE(parse_resize(text, size));
  CHECK(number_in("12") == 12);
  CHECK(number_in("99999999999999999999") == 0);
  CHECK(number_in("x") == 0);
  auto failed = failed_message(Error("run_ended", "it \xff ended\n"));
  auto error = failed_error(std::string_view(failed).substr(1));
  CHECK(error.code() == "run_ended");
  CHECK(error.message().find('\n') == std::string::npos);
  CHECK(failed_error("[1]").code() == "invalid_answer");
}
