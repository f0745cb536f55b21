#include "catch.hpp"
#include "model/run.hpp"

using namespace spell;
using namespace spell::model;

namespace {

const std::string commit(40, 'a'), workspace(40, 'b'), sha256_commit(64, '0');

json full_body() {
  return {
      {"command", "python3 train.py"},
      {"machine_type", "CPU"},
      {"description", "ä first try"},
      {"project", "char-rnn"},
      {"folder", "src/model"},
      {"virtual_env", "/home/ada/venv"},
      {"env", {{"A", "1"}, {"_b2", ""}}},
      {"labels", {"x", "y.z"}},
      {"after", {3, 1}},
      {"timeout", 3600},
      {"stop_grace", 0},
      {"log_limit", 4096},
      {"split_output", true},
      {"save_all", true},
      {"idempotent", true},
      {"mounts", {{{"resource", "runs/3/data"}}, {{"resource", "uploads/x"}, {"at", "/mnt/x"}}}},
      {"code",
       {{"workspace", workspace},
        {"commit", commit},
        {"base_commit", sha256_commit},
        {"repository", "char-rnn"},
        {"message", "Fix\nmore"},
        {"github_url", "https://example.org/a/b.git"}}}};
}

/// The error's message for a body in which one member was replaced; "" if it is accepted.
std::string refused_request(const char* field, json value) {
  json body = full_body();
  body[json::json_pointer(field)] = std::move(value);
  auto request = parse_run_request(body);
  if (request) return "";
  CHECK(request.error().code() == "invalid_request");
  CHECK(request.error().message().find('\n') == std::string::npos);
  CHECK(request.error().message().size() < 400);
  return request.error().message();
}
bool names(const std::string& text, const std::string& field) {
  return text.starts_with(field + ' ');
}

}  // namespace

TEST_CASE("a full request is read and written unchanged") {
  auto request = parse_run_request(full_body());
  REQUIRE(request);
  CHECK(request->command == "python3 train.py");
  CHECK(request->folder == "src/model");
  CHECK(request->env == std::map<std::string, std::string>{{"A", "1"}, {"_b2", ""}});
  CHECK(request->after == std::vector<std::int64_t>{3, 1});
  CHECK(request->timeout == 3600);
  CHECK(request->stop_grace == 0);
  CHECK(request->log_limit == 4096);
  CHECK(request->split_output);
  REQUIRE(request->code);
  CHECK(request->code->commit == commit);
  CHECK(request->code->base_commit == sha256_commit);
  CHECK(to_json(*request) == full_body());
}

TEST_CASE("defaults are those of the public header and are not written") {
  auto request = parse_run_request({{"command", "true"}});
  REQUIRE(request);
  RunSpec spec;
  CHECK(request->stop_grace == spec.stop_grace.count());
  CHECK(request->log_limit == spec.log_limit);
  CHECK_FALSE(request->timeout);
  CHECK_FALSE(request->code);
  CHECK(to_json(*request) == json{{"command", "true"}});
  CHECK(parse_run_request({{"command", "true"}, {"timeout", nullptr}, {"code", nullptr}}));
}

TEST_CASE("a request is an object with a command") {
  for (json body : {json(nullptr), json::array(), json(1), json("x")})
    CHECK(parse_run_request(body).error().message() == "the body must be an object");
  CHECK(parse_run_request(json::object()).error().message() == "command is missing");
}

TEST_CASE("unknown fields are refused by name") {
  CHECK(refused_request("/colour", 1) == "'colour' is not a known field");
  CHECK(refused_request("/code/branch", "x") == "code.'branch' is not a known field");
  CHECK(refused_request("/Command", "x") == "'Command' is not a known field");
  CHECK(refused_request("/a\nb", 1) == "'a?b' is not a known field");
  CHECK(refused_request(("/" + std::string(100'000, 'x')).c_str(), 1).size() < 200);
}

TEST_CASE("wrong types are refused in every field, naming it") {
  const json body = full_body();
  for (auto& [field, value] : body.items()) {
    for (json wrong : {json(1.5), json(json::array({json::object()})),
                       json({{"code", {{"x", nullptr}}}}), json("\x01"), json(-7)}) {
      INFO(field << " = " << wrong);
      bool text_is_fine =
          wrong.is_string() && (field == "command" || field == "description" || field == "folder");
      if (text_is_fine) continue;
      CHECK(refused_request(("/" + field).c_str(), wrong).find(field) != std::string::npos);
    }
    if (field != "timeout" && field != "code")
      CHECK(names(refused_request(("/" + field).c_str(), nullptr), field));
  }
  for (auto& [field, value] : body["code"].items()) {
    INFO(field);
    CHECK(names(refused_request(("/code/" + field).c_str(), 1), "code." + field));
    CHECK(names(refused_request(("/code/" + field).c_str(), nullptr), "code." + field));
  }
  CHECK(names(refused_request("/labels/1", 1), "labels[1]"));
  CHECK(names(refused_request("/after/0", "1"), "after[0]"));
  CHECK(names(refused_request("/mounts/0", "runs/1"), "mounts[0]"));
  CHECK(names(refused_request("/mounts/0/resource", 1), "mounts[0].resource"));
  CHECK(names(refused_request("/mounts/0/resource", ""), "mounts[0].resource"));
  CHECK(refused_request("/mounts/0/to", "x") == "mounts[0].'to' is not a known field");
  CHECK(names(refused_request("/mounts/0", {{"at", "x"}}), "mounts[0].resource"));
  CHECK(names(refused_request("/env/A", 1), "env.'A'"));
  CHECK_FALSE(refused_request("/stop_grace", true).empty());
}

TEST_CASE("NUL and invalid UTF-8 are refused in every text") {
  for (auto bad : {std::string("a\0b", 3), std::string("a\xff"), std::string("\xed\xa0\x80")}) {
    for (auto field : {"/command", "/machine_type", "/description", "/project", "/folder",
                       "/virtual_env", "/env/A", "/labels/0", "/mounts/0/resource", "/mounts/1/at",
                       "/code/workspace", "/code/commit", "/code/base_commit", "/code/repository",
                       "/code/message", "/code/github_url"}) {
      INFO(field);
      CHECK_FALSE(refused_request(field, bad).empty());
    }
    json body = full_body();
    body["env"][bad] = "x";
    CHECK_FALSE(parse_run_request(body));
  }
}

TEST_CASE("limits hold at their very edge") {
  auto text = [](std::size_t size) { return std::string(size, 'x'); };
  CHECK(refused_request("/command", text(256 << 10)) == "");
  CHECK(names(refused_request("/command", text((256 << 10) + 1)), "command"));
  CHECK(names(refused_request("/command", ""), "command"));
  CHECK(names(refused_request("/command", " \n\t "), "command"));
  CHECK(refused_request("/description", text(10 << 10)) == "");
  CHECK(names(refused_request("/description", text((10 << 10) + 1)), "description"));
  CHECK(refused_request("/env/A", text(128 << 10)) == "");
  CHECK(names(refused_request("/env/A", text((128 << 10) + 1)), "env.'A'"));
  CHECK(refused_request("/timeout", 1) == "");
  CHECK(refused_request("/timeout", 365 * 24 * 3600) == "");
  CHECK(names(refused_request("/timeout", 0), "timeout"));
  CHECK(names(refused_request("/timeout", 365 * 24 * 3600 + 1), "timeout"));
  CHECK(refused_request("/stop_grace", 86400) == "");
  CHECK(names(refused_request("/stop_grace", 86401), "stop_grace"));
  CHECK(names(refused_request("/stop_grace", -1), "stop_grace"));
  CHECK(refused_request("/log_limit", (1LL << 53) - 1) == "");
  CHECK(names(refused_request("/log_limit", 1LL << 53), "log_limit"));
  CHECK(names(refused_request("/log_limit", UINT64_MAX), "log_limit"));
  CHECK(names(refused_request("/log_limit", 4095), "log_limit"));
  CHECK(refused_request("/machine_type", text(64)) == "");
  CHECK(names(refused_request("/machine_type", text(65)), "machine_type"));
  CHECK(names(refused_request("/code/github_url", text(4097)), "code.github_url"));
  CHECK(names(refused_request("/after/0", 0), "after[0]"));
  json many = json::array(), ids = json::array(), env = json::object();
  for (int i = 0; i < 51; ++i) many.push_back("label" + std::to_string(i));
  for (int i = 1; i <= 1001; ++i) ids.push_back(i), env["V" + std::to_string(i)] = "";
  CHECK(names(refused_request("/labels", many), "labels"));
  CHECK(names(refused_request("/after", ids), "after"));
  CHECK(names(refused_request("/env", env), "env"));
  json mounts(51, {{"resource", "runs/1"}});
  CHECK(names(refused_request("/mounts", mounts), "mounts"));
  many.erase(0), ids.erase(0), env.erase("V1");
  CHECK(refused_request("/labels", many) == "");
  CHECK(refused_request("/after", ids) == "");
  CHECK(refused_request("/env", env) == "");
}

TEST_CASE("names of variables") {
  for (std::string name :
       {"1A", "A-B", "A=B", "", " A", "Ä", "A B", "A\n", "SPELL_TOKEN", "SPELL_"}) {
    json body = full_body();
    body["env"] = {{name, "x"}};
    INFO(name);
    CHECK_FALSE(parse_run_request(body));
  }
  for (std::string name : {"_", "a", "A9_", "SPELL", "SPELLING_BEE"}) {
    json body = full_body();
    body["env"] = {{name, "x=y z"}};
    INFO(name);
    CHECK(parse_run_request(body));
  }
}

TEST_CASE("paths, names and ids") {
  for (auto bad : {"/abs", "..", "a/../b", "./a", "a//b", "a/"})
    CHECK(names(refused_request("/folder", bad), "folder"));
  CHECK(refused_request("/folder", "") == "");
  CHECK(refused_request("/virtual_env", "") == "");
  CHECK(names(refused_request("/virtual_env", "venv"), "virtual_env"));
  for (auto bad : {"-x", ".x", "a b", "a/b", "ä"}) {
    CHECK(names(refused_request("/labels/0", bad), "labels[0]"));
    CHECK(names(refused_request("/project", bad), "project"));
    CHECK(names(refused_request("/machine_type", bad), "machine_type"));
  }
  CHECK(names(refused_request("/labels/0", ""), "labels[0]"));
  CHECK(refused_request("/project", "") == "");
  for (auto bad : {std::string(39, 'a'), std::string(41, 'a'), std::string(40, 'A'),
                   std::string(40, 'g'), std::string("HEAD")})
    CHECK(names(refused_request("/code/commit", bad), "code.commit"));
  CHECK(refused_request("/code/commit", sha256_commit) == "");
  CHECK(names(refused_request("/code/commit", ""), "code.commit"));
  CHECK(refused_request("/code/workspace", "") == "");
  CHECK(names(refused_request("/code", {{"commit", commit}}), "code.workspace"));
}

TEST_CASE("no credentials in a repository's address") {
  for (auto bad : {"https://ada:secret@example.org/x", "https://ghp_token@example.org/x",
                   "ssh://git:secret@example.org/x", "https://a@b:c@example.org/", "http://x:@h",
                   "-oProxy=x", "https://h/a b", "https://h/\n"}) {
    INFO(bad);
    auto text = refused_request("/code/github_url", bad);
    CHECK(names(text, "code.github_url"));
    CHECK(text.find("secret") == std::string::npos);
  }
  for (auto good :
       {"https://example.org/a@b:c", "ssh://git@example.org/x", "git@example.org:a/b.git",
        "/srv/git/x", "file:///srv/x", "https://example.org:8443/x?a@b"}) {
    INFO(good);
    CHECK(refused_request("/code/github_url", good) == "");
  }
}

TEST_CASE("what stands twice in labels and after counts once") {
  auto request = parse_run_request(
      {{"command", "true"}, {"labels", {"b", "a", "b", "a", "c"}}, {"after", {2, 2, 1, 2}}});
  REQUIRE(request);
  CHECK(request->labels == std::vector<std::string>{"b", "a", "c"});
  CHECK(request->after == std::vector<std::int64_t>{2, 1});
}

TEST_CASE("the hash says whether two submissions are the same") {
  auto parse = [](const char* body) { return *parse_run_request(*parse_json(body)); };
  auto hash = request_hash(parse(R"({"command": "true"})"));
  // Kept with every run: must never change.
  CHECK(hash == "13c76770415cddd7b42ccc58c65f68073dd2e7674afcc79bedc6be2da91f1e89");
  CHECK(hash ==
        request_hash(parse(
            R"({"stop_grace": 30, "command": "true", "env": {}, "labels": [], "project": ""})")));
  CHECK(hash == request_hash(parse(R"({"command": "true", "idempotent": true})")));
  CHECK(hash != request_hash(parse(R"({"command": "true "})")));
  CHECK(hash != request_hash(parse(R"({"command": "true", "stop_grace": 31})")));
  CHECK(hash != request_hash(parse(R"({"command": "true", "env": {"A": ""}})")));
  auto two = request_hash(parse(R"({"command": "true", "env": {"A": "1", "B": "2"}})"));
  CHECK(two == request_hash(parse(R"({"env": {"B": "2", "A": "1"}, "command": "true"})")));
}

TEST_CASE("parameters are put where the command names them") {
  auto filled = [](const std::string& command, std::map<std::string, std::string> params) {
    RunRequest request;
    request.command = command;
    request.params = std::move(params);
    auto done = fill_params(request);
    return done ? request.command : "refused: " + done.error().message();
  };
  CHECK(filled("train --lr :lr:", {{"lr", "0.1"}}) == "train --lr 0.1");
  CHECK(filled(":a::b::a:", {{"a", "x"}, {"b", "y"}}) == "xyx");
  CHECK(filled("scp host:7:lr: :", {{"lr", ""}}) == "scp host:7 :");
  // What a value says is not looked at again.
  CHECK(filled(":a: :b:", {{"a", ":b:"}, {"b", "1"}}) == ":b: 1");
  CHECK(filled("echo :x: a:b", {}) == "echo :x: a:b");
  CHECK(filled("train", {{"lr", "1"}}) ==
        "refused: 'params.\"lr\"': the command has no :lr: where its value belongs");
  CHECK(filled("train :LR:", {{"lr", "1"}}).starts_with("refused: "));
  CHECK(filled(":a:", {{"a", " "}}).starts_with("refused: 'command' is empty"));
  CHECK(filled(":a:" + std::string(250'000, 'x') + ":a:", {{"a", std::string(60'000, 'y')}})
            .starts_with("refused: 'command' is longer"));
  // Refused before there is any such command: 5.7 GB it would be.
  std::string many;
  while (many.size() < 260'000) many += ":a:";
  CHECK(
      filled(many, {{"a", std::string(65'536, 'y')}}).starts_with("refused: 'command' is longer"));
}

TEST_CASE("parameters have names, and are part of what makes a request the same") {
  CHECK(refused_request("/params", {{"", "1"}}).find("parameter's name") != std::string::npos);
  CHECK(refused_request("/params", {{"a:b", "1"}}).find("parameter's name") != std::string::npos);
  CHECK(refused_request("/params", {{"a", 1}}) != "");
  json body{{"command", "train"}, {"params", {{"lr", "1"}}}};
  auto one = parse_run_request(body).value();
  CHECK(to_json(one) == body);
  body["params"]["lr"] = "2";
  CHECK(request_hash(one) != request_hash(parse_run_request(body).value()));
}

TEST_CASE("what a run may cost is an amount above 0") {
  auto parse = [](const char* text) {
    return spell::model::parse_run_request(
        spell::model::parse_json(std::string(R"({"command": "true", "max_cost": )") + text + "}")
            .value());
  };
  auto request = parse(R"("20.5")");
  REQUIRE(request);
  CHECK(request->max_cost == spell::Dollars::nanos(20'500'000'000));
  CHECK(spell::model::to_json(*request)["max_cost"] == "20.5");
  CHECK_FALSE(parse("null").value().max_cost);
  for (auto* bad : {"\"0\"", "\"-1\"", "\"\"", "20", "\"1e3\"", "\"0.0000000001\"", "[]", "true",
                    "\"99999999999999999999\"", "\"0x10\""})
    CHECK(parse(bad).error().code() == "invalid_request");
}
