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

struct World {
  std::string folder = "/tmp/spell-callers-" + base::hex(base::random_bytes(6));
  std::optional<store::Writer> writer;
  std::int64_t now = 1'000'000'000'000'000;
  std::vector<std::string> used;
  std::optional<State> state;
  MachineTokens machines;
  std::optional<TeamCallers> callers;

  World() {
    REQUIRE(base::make_folders(folder));
    writer.emplace(store::Writer::open(folder + "/spell.db").value());
    state.emplace(*writer, StateOptions{});
    callers.emplace(TeamCallers::Options{"acme", "embedded", "spm_inside", machines,
                                         [this] { return now; },
                                         [this](const std::string& id) { used.push_back(id); }});
  }
  ~World() { (void)base::remove_tree(folder); }

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
  World world;
  world.user("ada", "administrator");
  world.user("eve", "viewer");
  auto ada = world.token("login", "ada"), eve = world.token("access", "eve");
  CHECK(world.ask(ada).error().code() == "unauthorized");  // not taken over yet
  world.refresh();
  CHECK(world.ask(ada)->name == "ada");
  CHECK(world.ask(ada)->role == model::Role::administrator);
  CHECK(world.ask(eve)->role == model::Role::viewer);
  world.user("eve", "member");
  world.refresh();
  CHECK(world.ask(eve)->role == model::Role::member);
}

TEST_CASE("tokens that are wrong in any way are nobody's") {
  World world;
  world.user("ada", "administrator");
  auto ada = world.token("login", "ada");
  world.refresh();
  for (auto& bad : {ada + "0", ada.substr(0, ada.size() - 1), std::string("spu_"), token_hash(ada),
                    std::string(100'000, 'a'), std::string("\xff\xfe")})
    CHECK(world.ask(bad).error().code() == "unauthorized");
  auto basic = net::Request();
  basic.peer_uid = UINT32_MAX;
  basic.headers = {{"Authorization", "Basic " + ada}};
  CHECK(world.callers->identify(basic)->kind == Caller::Kind::nobody);
}

TEST_CASE(
    "disabling a user ends his tokens, revoking one ends that one, and who had them is told") {
  World world;
  world.user("ada", "administrator");
  world.user("bob", "member");
  auto ada = world.token("login", "ada"), bob = world.token("login", "bob"),
       other = world.token("access", "bob");
  world.refresh();
  auto id = world.ask(other)->token;
  REQUIRE(world.writer->delete_token(id));
  CHECK(world.refresh().ended == std::vector<std::string>{id});
  CHECK_FALSE(world.ask(other));
  auto bobs = world.ask(bob)->token;
  world.user("bob", "member", true);
  CHECK(world.refresh().ended == std::vector<std::string>{bobs});
  CHECK_FALSE(world.ask(bob));
  CHECK(world.ask(ada));
}

TEST_CASE("a user belongs to owners, an administrator to all of them") {
  World world;
  world.user("ada", "administrator");
  world.user("bob", "member");
  world.user("eve", "viewer");
  REQUIRE(world.writer->set_last_number("lab", 0));
  REQUIRE(world.writer->put_member({"", "bob"}));
  REQUIRE(world.writer->put_member({"lab", "bob"}));
  REQUIRE(world.writer->put_member({"nowhere", "bob"}));
  auto ada = world.token("login", "ada"), bob = world.token("login", "bob"),
       eve = world.token("login", "eve");
  world.refresh();
  CHECK(*world.ask(ada)->owners == std::vector<std::string>{"acme", "lab"});
  CHECK(*world.ask("", ::geteuid())->owners == std::vector<std::string>{"acme", "lab"});
  CHECK(*world.ask(bob)->owners == std::vector<std::string>{"acme", "lab"});
  CHECK(world.ask(bob)->usual_owner() == "acme");
  CHECK(world.ask(eve)->owners->empty());
  CHECK_FALSE(world.ask(eve)->belongs_to("acme"));
}

TEST_CASE("what is open ends for who may do less than before, and for nobody else") {
  World world;
  world.user("ada", "administrator");
  world.user("bob", "member");
  REQUIRE(world.writer->put_member({"", "bob"}));
  auto ada = world.token("login", "ada"), bob = world.token("login", "bob");
  world.refresh();
  auto adas = world.ask(ada)->token, bobs = world.ask(bob)->token;
  world.user("bob", "administrator");
  REQUIRE(world.writer->set_last_number("lab", 0));
  CHECK(world.refresh().ended.empty());
  world.user("bob", "member");  // of all owners no more
  CHECK(world.refresh().ended == std::vector<std::string>{bobs});
  world.user("bob", "viewer");
  CHECK(world.refresh().ended == std::vector<std::string>{bobs});
  CHECK(world.ask(bob)->role == model::Role::viewer);  // he may come again
  REQUIRE(world.writer->put_member({"lab", "bob"}));
  CHECK(world.refresh().ended.empty());
  REQUIRE(world.writer->delete_member({"", "bob"}));
  CHECK(world.refresh().ended == std::vector<std::string>{bobs});
  CHECK(world.ask(bob)->usual_owner() == "lab");
  world.user("ada", "administrator");
  CHECK(world.refresh().ended.empty());
}

TEST_CASE("a token ends at its time, also before anything is taken over anew") {
  World world;
  world.user("ada", "administrator");
  auto token = world.token("login", "ada", world.now + 10);
  CHECK(world.refresh().next_expiry_us == world.now + 10);
  auto id = world.ask(token)->token;
  world.now += 10;
  CHECK(world.ask(token).error().code() == "unauthorized");
  CHECK(world.refresh().ended == std::vector<std::string>{id});
}

TEST_CASE("a machine's token acts for that machine, and only with its key where it has one") {
  World world;
  auto token = world.token("machine", "box"), join = world.token("join", "new");
  store::MachineRecord bound;
  bound.name = "desk";
  bound.id = "desk-id";
  bound.key = std::string(64, 'a');
  REQUIRE(world.writer->put_machine(bound));
  auto of_desk = world.token("machine", "desk-id");
  world.refresh();
  CHECK(world.ask(of_desk).error().code() == "unauthorized");
  CHECK(world.ask(of_desk, UINT32_MAX, std::string(64, 'b')).error().code() == "unauthorized");
  CHECK(world.ask(of_desk, UINT32_MAX, bound.key)->name == "desk-id");
  // What stands behind the dot of a join token is for the machine.
  CHECK(world.ask(join + "." + bound.key)->kind == Caller::Kind::joiner);
  CHECK(world.ask("spm_" + join.substr(4)).error().code() == "unauthorized");
  CHECK(world.ask(token)->kind == Caller::Kind::machine);
  CHECK(world.ask(token)->name == "box");
  CHECK(world.ask(join)->kind == Caller::Kind::joiner);
  Caller box = *world.ask(token);
  CHECK(permit(box, model::Access::machine, "box"));
  CHECK_FALSE(permit(box, model::Access::machine, "other"));
  CHECK_FALSE(permit(box, model::Access::viewer, ""));
  CHECK_FALSE(permit(box, model::Access::joiner, ""));
}

TEST_CASE("what a machine has open ends with its token") {
  World world;
  auto box = world.token("machine", "box"), join = world.token("join", "new");
  world.refresh();
  auto id = world.ask(box)->token, joiner = world.ask(join)->token;
  REQUIRE(world.writer->delete_token(id));
  REQUIRE(world.writer->delete_token(joiner));
  REQUIRE(world.state->load());
  CHECK(world.machines.refresh(*world.state) == std::vector<std::string>{id});
  CHECK_FALSE(world.ask(box));
}

TEST_CASE("the socket's own user and root need no token, others get in by none") {
  World world;
  world.user("ada", "viewer");
  auto token = world.token("login", "ada");
  world.refresh();
  CHECK(world.ask("", ::geteuid())->name == "local");
  CHECK(world.ask("", 0)->role == model::Role::administrator);
  CHECK(world.ask("", 12345).error().code() == "not_permitted");
  CHECK(world.ask(token, ::geteuid())->role == model::Role::viewer);  // what is shown counts
  CHECK(world.ask("")->kind == Caller::Kind::nobody);
  CHECK(world.ask("spm_inside", ::geteuid())->name == "embedded");
  CHECK_FALSE(world.ask("spm_inside"));  // from this computer only
}

TEST_CASE("use is told once an hour") {
  World world;
  world.user("ada", "viewer");
  auto token = world.token("login", "ada");
  world.refresh();
  for (int i = 0; i < 3; ++i) REQUIRE(world.ask(token));
  CHECK(world.used.size() == 1);
  world.refresh();
  REQUIRE(world.ask(token));
  CHECK(world.used.size() == 1);
  world.now += std::int64_t{3600} * 1'000'000;
  REQUIRE(world.ask(token));
  CHECK(world.used.size() == 2);
}
