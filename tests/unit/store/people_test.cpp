#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "folder.hpp"
#include "store/store.hpp"

using namespace spell;
using namespace spell::store;

namespace {
struct Database {
  Folder folder;
  std::optional<Writer> writer;
  Database() { open(); }
  void open() {
    writer.reset();
    writer.emplace(Writer::open(folder.database()).value());
  }
};
}  // namespace

TEST_CASE("users and tokens are there again, as they were") {
  Database db;
  REQUIRE(db.writer->put_user({"bob", "viewer", "h2", true, 7, 8}));
  REQUIRE(db.writer->put_user({"ada", "member", "h1", false, 5, 0}));
  REQUIRE(db.writer->put_user({"ada", "administrator", "h1", false, 5, 0}));
  REQUIRE(db.writer->put_token({"t2", "hash2", "login", "ada", "", "laptop", 20, 90, 0}));
  REQUIRE(db.writer->put_token({"t1", "hash1", "machine", "", "box", "", 10, 0, 3}));
  db.open();
  auto users = db.writer->users().value();
  REQUIRE(users.size() == 2);
  CHECK(users[0].name == "ada");
  CHECK(users[0].role == "administrator");
  CHECK(users[1].disabled);
  CHECK(users[1].seen_us == 8);
  CHECK_FALSE(db.writer->find_user("eve").value());
  auto tokens = db.writer->tokens().value();
  REQUIRE(tokens.size() == 2);
  CHECK(tokens[0].machine == "box");
  CHECK(tokens[1].expires_us == 90);
  CHECK(tokens[1].name == "laptop");
}

TEST_CASE("two tokens are never the same secret") {
  Database db;
  REQUIRE(db.writer->put_token({"t1", "hash", "login", "ada", "", "", 1, 0, 0}));
  REQUIRE(db.writer->put_token({"t2", "hash", "login", "bob", "", "", 1, 0, 0}));
  CHECK(db.writer->tokens()->size() == 1);
}

TEST_CASE("use is noted at the token and its user; what has ended goes") {
  Database db;
  REQUIRE(db.writer->put_user({"ada", "member", "", false, 5, 0}));
  REQUIRE(db.writer->put_token({"t1", "h1", "login", "ada", "", "", 1, 50, 0}));
  REQUIRE(db.writer->put_token({"t2", "h2", "access", "ada", "", "", 1, 0, 0}));
  REQUIRE(db.writer->set_seen("t1", 40));
  CHECK(db.writer->find_user("ada").value()->seen_us == 40);
  CHECK(db.writer->tokens().value()[0].used_us == 40);
  REQUIRE(db.writer->drop_tokens_before(49));
  CHECK(db.writer->tokens()->size() == 2);
  REQUIRE(db.writer->drop_tokens_before(50));
  REQUIRE(db.writer->tokens()->size() == 1);
  CHECK(db.writer->tokens().value()[0].id == "t2");
  REQUIRE(db.writer->delete_token("t2"));
  REQUIRE(db.writer->delete_token("t2"));
  CHECK(db.writer->tokens()->empty());
}

TEST_CASE("who did what, the newest first, by user and by kind") {
  Database db;
  const std::vector<std::pair<std::string, std::string>> done{
      {"ada", "user.add"}, {"bob", "run.kill"}, {"ada", "user.role"}, {"ada", "users"}};
  for (auto& [user, action] : done)
    REQUIRE(db.writer->add_audit({0, 7, user, action, "x", "d", "r"}));
  auto of = [&](AuditQuery query) {
    std::string out;
    for (auto& row : db.writer->audit(query).value()) out += row.action + " ";
    return out;
  };
  CHECK(of({}) == "users user.role run.kill user.add ");
  CHECK(of({.user = "bob"}) == "run.kill ");
  CHECK(of({.action = "user"}) == "user.role user.add ");
  CHECK(of({.action = "user.add"}) == "user.add ");
  CHECK(of({.limit = 2}) == "users user.role ");
  CHECK(of({.limit = 2, .below = 3}) == "run.kill user.add ");
  CHECK(of({.user = "' OR 1=1 --"}) == "");
}

TEST_CASE("what is not committed is not there") {
  Database db;
  REQUIRE(db.writer->begin());
  REQUIRE(db.writer->put_user({"ada", "member", "", false, 5, 0}));
  REQUIRE(db.writer->add_audit({0, 7, "local", "user.add", "ada", "", ""}));
  db.writer->rollback();
  CHECK(db.writer->users()->empty());
  CHECK(db.writer->audit({})->empty());
}
