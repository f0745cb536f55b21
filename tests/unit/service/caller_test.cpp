// Who a request comes from, by what the store holds at this moment.
#include "service/caller.hpp"

#include <unistd.h>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "service/machine_tokens.hpp"

using namespace spell;
using namespace spell::service;

namespace {

struct SeveralCallers {
  std::string folder = "/tmp/spell-callers-" + base::hex(base::random_bytes(6));
  std::optional<store::Writer> writer;
  std::int64_t now = 1'000'000'000'000'000;
  std::vector<std::string> used;
  std::optional<State> state;
  MachineTokens machines;
  std::optional<TeamCallers> callers;

  SeveralCallers() {
    REQUIRE(base::make_folders(folder));
    writer.emplace(store::Writer::open(folder + "/spell.db").value());
    state.emplace(*writer, StateOptions{});
    callers.emplace(TeamCallers::Options{"acme", "embedded", "spm_inside", machines,
                                         [this] { return now; },
                                         [this](const std::string& id) { used.push_back(id); }});
  }
  ~SeveralCallers() { (void)base::remove_tree(folder); }

  void user(const std::string& name, const std::string& role, bool disabled = false) {
    REQUIRE(writer->put_user({name, role, "", disabled, now, 0}));
  }
  std::string token(const std::string& kind, const std::string& whose,
                    std::int64_t expires_us = 0) {
    bool machine = kind == "machine" || kind == "join";
    auto made = make_token(kind == "join" ? "spj_" : machine ? "spm_" : "spu_", now);
    made.record.kind = kind;
    (machine ? made.record.machine : made.record.user) = whose;
    made.record.expires_us = expires_us;
    REQUIRE(writer->put_token(made.record));
    return made.text;
  }
  Result<Caller> ask(const std::string& token, std::uint32_t uid = UINT32_MAX,
                     const std::string& key = {}) {
    net::Request request;
    request.peer_uid = uid;
    request.peer_key = key;
    if (!token.empty()) request.headers = {{"Authorization", "Bearer " + token}};
    return callers->identify(request);
  }
  TeamCallers::Refreshed refresh() {
    REQUIRE(state->load());
    machines.refresh(*state);
    return callers->refresh(*writer).value();
  }
};

}  // namespace

TEST_CASE("a user's token is the user, with the role that he has now") {
  SeveralCallers callers;
  callers.user("ada", "administrator");
  callers.user("eve", "viewer");
  auto ada = callers.token("login", "ada"), eve = callers.token("access", "eve");
  CHECK(callers.ask(ada).error().code() == "unauthorized");  // not taken over yet
  callers.refresh();
  CHECK(callers.ask(ada)->name == "ada");
  CHECK(callers.ask(ada)->role == model::Role::administrator);
  CHECK(callers.ask(eve)->role == model::Role::viewer);
  callers.user("eve", "member");
  callers.refresh();
  CHECK(callers.ask(eve)->role == model::Role::member);
}

TEST_CASE("tokens that are wrong in any way are nobody's") {
  SeveralCallers callers;
  callers.user("ada", "administrator");
  auto ada = callers.token("login", "ada");
  callers.refresh();
  for (auto& bad : {ada + "0", ada.substr(0, ada.size() - 1), std::string("spu_"), token_hash(ada),
                    std::string(100'000, 'a'), std::string("\xff\xfe")})
    CHECK(callers.ask(bad).error().code() == "unauthorized");
  auto basic = net::Request();
  basic.peer_uid = UINT32_MAX;
  basic.headers = {{"Authorization", "Basic " + ada}};
  CHECK(callers.callers->identify(basic)->kind == Caller::Kind::nobody);
}

TEST_CASE(
    "disabling a user ends his tokens, revoking one ends that one, and who had them is told") {
  SeveralCallers callers;
  callers.user("ada", "administrator");
  callers.user("bob", "member");
  auto ada = callers.token("login", "ada"), bob = callers.token("login", "bob"),
       other = callers.token("access", "bob");
  callers.refresh();
  auto id = callers.ask(other)->token;
  REQUIRE(callers.writer->delete_token(id));
  CHECK(callers.refresh().ended == std::vector<std::string>{id});
  CHECK_FALSE(callers.ask(other));
  auto bobs = callers.ask(bob)->token;
  callers.user("bob", "member", true);
  CHECK(callers.refresh().ended == std::vector<std::string>{bobs});
  CHECK_FALSE(callers.ask(bob));
  CHECK(callers.ask(ada));
}

TEST_CASE("a user belongs to owners, an administrator to all of them") {
  SeveralCallers callers;
  callers.user("ada", "administrator");
  callers.user("bob", "member");
  callers.user("eve", "viewer");
  REQUIRE(callers.writer->set_last_number("lab", 0));
  REQUIRE(callers.writer->put_member({"", "bob"}));
  REQUIRE(callers.writer->put_member({"lab", "bob"}));
  REQUIRE(callers.writer->put_member({"nowhere", "bob"}));
  auto ada = callers.token("login", "ada"), bob = callers.token("login", "bob"),
       eve = callers.token("login", "eve");
  callers.refresh();
  CHECK(*callers.ask(ada)->owners == std::vector<std::string>{"acme", "lab"});
  CHECK(*callers.ask("", ::geteuid())->owners == std::vector<std::string>{"acme", "lab"});
  CHECK(*callers.ask(bob)->owners == std::vector<std::string>{"acme", "lab"});
  CHECK(callers.ask(bob)->usual_owner() == "acme");
  CHECK(callers.ask(eve)->owners->empty());
  CHECK_FALSE(callers.ask(eve)->belongs_to("acme"));
}

TEST_CASE("what is open ends for who may do less than before, and for nobody else") {
  SeveralCallers callers;
  callers.user("ada", "administrator");
  callers.user("bob", "member");
  REQUIRE(callers.writer->put_member({"", "bob"}));
  auto ada = callers.token("login", "ada"), bob = callers.token("login", "bob");
  callers.refresh();
  auto adas = callers.ask(ada)->token, bobs = callers.ask(bob)->token;
  callers.user("bob", "administrator");
  REQUIRE(callers.writer->set_last_number("lab", 0));
  CHECK(callers.refresh().ended.empty());
  callers.user("bob", "member");  // of all owners no more
  CHECK(callers.refresh().ended == std::vector<std::string>{bobs});
  callers.user("bob", "viewer");
  CHECK(callers.refresh().ended == std::vector<std::string>{bobs});
  CHECK(callers.ask(bob)->role == model::Role::viewer);  // he may come again
  REQUIRE(callers.writer->put_member({"lab", "bob"}));
  CHECK(callers.refresh().ended.empty());
  REQUIRE(callers.writer->delete_member({"", "bob"}));
  CHECK(callers.refresh().ended == std::vector<std::string>{bobs});
  CHECK(callers.ask(bob)->usual_owner() == "lab");
  callers.user("ada", "administrator");
  CHECK(callers.refresh().ended.empty());
}

TEST_CASE("a token ends at its time, also before anything is taken over anew") {
  SeveralCallers callers;
  callers.user("ada", "administrator");
  auto token = callers.token("login", "ada", callers.now + 10);
  CHECK(callers.refresh().next_expiry_us == callers.now + 10);
  auto id = callers.ask(token)->token;
  callers.now += 10;
  CHECK(callers.ask(token).error().code() == "unauthorized");
  CHECK(callers.refresh().ended == std::vector<std::string>{id});
}

TEST_CASE("a machine's token acts for that machine, and only with its key where it has one") {
  SeveralCallers callers;
  auto token = callers.token("machine", "box"), join = callers.token("join", "new");
  store::MachineRecord bound;
  bound.name = "desk";
  bound.id = "desk-id";
  bound.key = std::string(64, 'a');
  REQUIRE(callers.writer->put_machine(bound));
  auto of_desk = callers.token("machine", "desk-id");
  callers.refresh();
  CHECK(callers.ask(of_desk).error().code() == "unauthorized");
  CHECK(callers.ask(of_desk, UINT32_MAX, std::string(64, 'b')).error().code() == "unauthorized");
  CHECK(callers.ask(of_desk, UINT32_MAX, bound.key)->name == "desk-id");
  // What stands behind the dot of a join token is for the machine.
  CHECK(callers.ask(join + "." + bound.key)->kind == Caller::Kind::joiner);
  CHECK(callers.ask("spm_" + join.substr(4)).error().code() == "unauthorized");
  CHECK(callers.ask(token)->kind == Caller::Kind::machine);
  CHECK(callers.ask(token)->name == "box");
  CHECK(callers.ask(join)->kind == Caller::Kind::joiner);
  Caller box = *callers.ask(token);
  CHECK(permit(box, model::Access::machine, "box"));
  CHECK_FALSE(permit(box, model::Access::machine, "other"));
  CHECK_FALSE(permit(box, model::Access::viewer, ""));
  CHECK_FALSE(permit(box, model::Access::joiner, ""));
}

TEST_CASE("what a machine has open ends with its token") {
  SeveralCallers callers;
  auto box = callers.token("machine", "box"), join = callers.token("join", "new");
  callers.refresh();
  auto id = callers.ask(box)->token, joiner = callers.ask(join)->token;
  REQUIRE(callers.writer->delete_token(id));
  REQUIRE(callers.writer->delete_token(joiner));
  REQUIRE(callers.state->load());
  CHECK(callers.machines.refresh(*callers.state) == std::vector<std::string>{id});
  CHECK_FALSE(callers.ask(box));
}

TEST_CASE("the socket's own user and root need no token, others get in by none") {
  SeveralCallers callers;
  callers.user("ada", "viewer");
  auto token = callers.token("login", "ada");
  callers.refresh();
  CHECK(callers.ask("", ::geteuid())->name == "local");
  CHECK(callers.ask("", 0)->role == model::Role::administrator);
  CHECK(callers.ask("", 12345).error().code() == "not_permitted");
  CHECK(callers.ask(token, ::geteuid())->role == model::Role::viewer);  // what is shown counts
  CHECK(callers.ask("")->kind == Caller::Kind::nobody);
  CHECK(callers.ask("spm_inside", ::geteuid())->name == "embedded");
  CHECK_FALSE(callers.ask("spm_inside"));  // from this computer only
}

TEST_CASE("use is told once an hour") {
  SeveralCallers callers;
  callers.user("ada", "viewer");
  auto token = callers.token("login", "ada");
  callers.refresh();
  for (int i = 0; i < 3; ++i) REQUIRE(callers.ask(token));
  CHECK(callers.used.size() == 1);
  callers.refresh();
  REQUIRE(callers.ask(token));
  CHECK(callers.used.size() == 1);
  callers.now += std::int64_t{3600} * 1'000'000;
  REQUIRE(callers.ask(token));
  CHECK(callers.used.size() == 2);
}
