// People: the caller himself, users, tokens, and who did what.
#include <algorithm>
#include <set>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/password.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"
#include "service/people.hpp"
#include "service/team_data.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

using base::day_us;
constexpr std::int64_t login_days = 90;
constexpr int most_tokens = 200;  // of a user

UserInfo user_info(const store::UserRecord& user) {
  return {user.name, user.role, user.disabled, time_of(user.created_us), time_of(user.seen_us)};
}

TokenInfo token_info(const store::TokenRecord& token) {
  return {token.id,
          token.name,
          token.user,
          token.kind,
          time_of(token.created_us),
          time_of(token.expires_us),
          time_of(token.used_us)};
}

/// Those of machines are machines' business, also where a user has made them.
bool is_users(const store::TokenRecord& token) {
  return token.kind == "login" || token.kind == "access";
}

/// Whose runs he means where he names no owner.
Result<std::string> usual_owner_of(store::Reader& reader, const Context& context,
                                   const store::UserRecord& user) {
  if (user.role == "administrator") return context.options.owner;
  auto members = reader.members();
  if (!members) return members.error();
  // By owner: the service's own, "", comes first.
  for (auto& member : *members)
    if (member.user == user.name)
      return member.owner.empty() ? context.options.owner : member.owner;
  return std::string();
}

/// Those that a caller may know of: administrators, and who belongs to one of his owners.
Result<std::vector<store::UserRecord>> known_users(store::Reader& reader, const Context& context,
                                                   const Caller& caller) {
  auto users = reader.users();
  if (!users || caller.role == model::Role::administrator) return users;
  auto members = reader.members();
  if (!members) return members.error();
  std::set<std::string> known;
  for (auto& [owner, user] : *members)
    if (caller.belongs_to(owner.empty() ? context.options.owner : owner)) known.insert(user);
  std::erase_if(*users, [&](auto& user) {
    return user.role != "administrator" && !known.contains(user.name);
  });
  return users;
}

Error wrong_password() { return base::error("wrong_password", "wrong user or password"); }

Result<std::string> role_of(const std::string& text) {
  if (model::parse_role(text)) return text;
  return base::error("invalid_request",
                     "'role' is administrator, member or viewer, not '" + text + "'");
}

/// Ends tokens of a user; all of them, or those of one kind but one.
Result<> end_tokens(State& state, const std::string& user, const std::string& kind = {},
                    const std::string& but = {}) {
  auto tokens = state.writer().tokens();
  if (!tokens) return tokens.error();
  for (auto& token : *tokens)
    if (is_users(token) && token.user == user && (kind.empty() || token.kind == kind) &&
        token.id != but)
      SPELL_TRY(state.writer().delete_token(token.id));
  return ok();
}

Result<> room_for_token(State& state, const std::string& user) {
  auto tokens = state.writer().tokens();
  if (!tokens) return tokens.error();
  auto count = std::count_if(tokens->begin(), tokens->end(),
                             [&](auto& token) { return is_users(token) && token.user == user; });
  if (count < most_tokens) return ok();
  return base::error("invalid_request",
                     user + " has " + std::to_string(count) +
                         " tokens; `spell access-tokens revoke` ends those that are not needed");
}

/// An access token that ends does not live on in one that it has made.
Result<> check_lifetime(State& state, const Caller& caller, const store::TokenRecord& made) {
  auto tokens = state.writer().tokens();
  if (!tokens) return tokens.error();
  auto by = std::find_if(tokens->begin(), tokens->end(),
                         [&](auto& token) { return token.id == caller.token; });
  if (by == tokens->end() && !caller.token.empty())
    return base::error("unauthorized", "the token that asks for another is not valid any more");
  if (by == tokens->end() || by->kind != "access" || by->expires_us == 0) return ok();
  if (made.expires_us != 0 && made.expires_us <= by->expires_us) return ok();
  return base::error("not_permitted",
                     "the token that asks for another ends on " +
                         base::rfc3339(by->expires_us).substr(0, 10) +
                         ", and makes none that ends later: give fewer --days, or log in");
}

/// Waits its turn, then calls `right` with whether the password is the user's, on a thread that may
/// block. What is no user's has no password.
void look_at_password(Context& context, const Call& call, const std::string& user,
                      const std::string& password,
                      std::function<void(bool right, const store::UserRecord&)> then) {
  std::string from = guesser(call->request.peer_address);
  std::int64_t now_s = base::boot_ns() / 1'000'000'000;
  if (auto wait = context.guesses.begin(user, from, now_s); wait > 0) {
    auto response =
        error_response(base::error("too_many_attempts", "too many wrong passwords: try again in " +
                                                            std::to_string(wait) + " s"),
                       call->request.id);
    response.headers.emplace_back("Retry-After", std::to_string(wait));
    return call->reply.send(std::move(response));
  }
  context.passwords.post([&context, call, user, password, from, then = std::move(then)] {
    auto found =
        context.readers.with([&](store::Reader& reader) { return reader.find_user(user); });
    if (!found) return refuse(call, found.error());
    bool may = *found && !(*found)->disabled;
    bool right = base::is_password(password, may ? (*found)->password : "") && may;
    if (right)
      context.guesses.right(user, from);
    else if (context.options.log)
      context.options.log("a wrong password for '" + user + "' from " +
                          (from.empty() ? "the socket" : call->request.peer_address));
    then(right, *found ? **found : store::UserRecord());
  });
}

}  // namespace

Result<> need_team(Context& context) {
  if (context.options.kind == ServiceOptions::Kind::team) return ok();
  return base::error("personal_service",
                     "this is a personal service, whose one user needs no login; `spelld init` "
                     "makes a service for a team");
}

Result<std::map<std::string, std::string>> texts(const Call& call,
                                                 std::initializer_list<std::string_view> known,
                                                 std::initializer_list<std::string_view> needed) {
  json body = json::object();
  if (!call->request.body.empty()) {
    auto parsed = body_object(call);
    if (!parsed) return parsed.error();
    body = std::move(*parsed);
  }
  std::map<std::string, std::string> out;
  for (auto& [name, value] : body.items()) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      return base::error("invalid_request", "'" + name + "' is not a known field");
    if (!value.is_string() || !base::valid_text(value.get_ref<const std::string&>()) ||
        value.get_ref<const std::string&>().size() > 1024)
      return base::error("invalid_request",
                         "'" + name + "' must be text of at most 1024 bytes, without NUL");
    out[name] = value.get<std::string>();
  }
  for (auto name : needed)
    if (!out.contains(std::string(name)))
      return base::error("invalid_request", "'" + std::string(name) + "' is missing");
  return out;
}

void change_people(Context& context, Call call, int status,
                   std::function<Result<json>(State&, std::int64_t now)> command) {
  context.reactor.post([call = std::move(call), status, command = std::move(command)](
                           State& state, std::int64_t now) -> Reactor::Answer {
    auto done = command(state, now);
    if (done) state.people_changed();
    return [call, status, done = std::move(done)](const Result<>& committed) {
      if (!done) return refuse(call, done.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, *done, status);
    };
  });
}

Result<store::UserRecord> user_of(State& state, const std::string& name) {
  auto user = state.writer().find_user(name);
  if (!user) return user.error();
  if (!*user) return no_such_user(name);
  return std::move(**user);
}

Error no_such_user(const std::string& name) {
  return base::error("user_not_found",
                     "there is no user '" + name + "'; `spell user list` shows them");
}

void log_in(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  auto given = texts(call, {"user", "password", "name"}, {"user", "password"});
  if (!given) return refuse(call, given.error());
  std::string name = (*given)["name"].empty() ? "login" : (*given)["name"].substr(0, 200);
  std::string user = (*given)["user"];
  if (!check_user_name(user)) return refuse(call, wrong_password());
  auto then = [&context, call, name](bool right, const store::UserRecord& known) {
    if (!right) return refuse(call, wrong_password());
    change_people(context, call, 201,
                  [&context, call, name, known](State& state, std::int64_t now) -> Result<json> {
                    auto record = user_of(state, known.name);
                    // Meanwhile he may have been disabled, or the password changed.
                    if (!record || record->disabled || record->password != known.password)
                      return wrong_password();
                    SPELL_TRY(room_for_token(state, known.name));
                    auto made = make_token("spu_", now);
                    made.record.kind = "login";
                    made.record.user = known.name;
                    made.record.name = base::to_utf8(name);
                    made.record.expires_us = now + login_days * day_us;
                    made.record.used_us = now;
                    SPELL_TRY(state.writer().put_token(made.record));
                    record->seen_us = now;
                    SPELL_TRY(state.writer().put_user(*record));
                    Caller caller = call->caller;
                    caller.name = known.name;
                    SPELL_TRY(audit(state, now, caller, "login", made.record.id, made.record.name,
                                    call->request.id));
                    auto owner = usual_owner_of(state.writer(), context, *record);
                    if (!owner) return owner.error();
                    Login login{made.text, token_info(made.record), user_info(*record), *owner};
                    return json{{"login", login}};
                  });
  };
  look_at_password(context, call, user, (*given)["password"], std::move(then));
}

void log_out(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  if (call->caller.token.empty())
    return refuse(call, base::error("invalid_request",
                                    "there is no token to end: this came by the "
                                    "service's own socket"));
  call->reply.belongs_to("");  // the answer still comes
  change_people(context, call, 200, [call](State& state, std::int64_t now) -> Result<json> {
    SPELL_TRY(state.writer().delete_token(call->caller.token));
    SPELL_TRY(audit(state, now, call, "logout", call->caller.token));
    return json::object();
  });
}

void get_user(Context& context, Call call) {
  Identity identity;
  identity.owner = call->caller.usual_owner();
  if (call->caller.owners) identity.owners = *call->caller.owners;
  identity.user.name = call->caller.name;
  identity.user.role = name_of(call->caller.role);
  auto found = context.readers.with(
      [&](store::Reader& reader) { return reader.find_user(call->caller.name); });
  if (!found) return refuse(call, found.error());
  if (*found) identity.user = user_info(**found);
  answer(call, {{"identity", identity}});
}

void change_password(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  auto given = texts(call, {"old", "new"}, {"old", "new"});
  if (!given) return refuse(call, given.error());
  if (call->caller.token.empty())
    return refuse(call, base::error("invalid_request",
                                    "who comes by the service's own socket has no password; `spell "
                                    "user reset NAME` gives a user another one"));
  if (auto fine = base::check_password_rules((*given)["new"]); !fine)
    return refuse(call, fine.error());
  call->reply.belongs_to("");
  auto then = [&context, call, password = (*given)["new"]](bool right,
                                                           const store::UserRecord& known) {
    if (!right) return refuse(call, base::error("wrong_password", "the old password is wrong"));
    auto hash = base::hash_password(password);
    if (!hash) return refuse(call, hash.error());
    change_people(context, call, 200,
                  [call, known, hash = *hash](State& state, std::int64_t now) -> Result<json> {
                    auto record = user_of(state, known.name);
                    if (!record || record->password != known.password)
                      return base::error("wrong_password", "the old password is wrong");
                    record->password = hash;
                    SPELL_TRY(state.writer().put_user(*record));
                    SPELL_TRY(end_tokens(state, known.name, "login", call->caller.token));
                    SPELL_TRY(audit(state, now, call, "user.password", known.name));
                    return json{{"user", user_info(*record)}};
                  });
  };
  look_at_password(context, call, call->caller.name, (*given)["old"], std::move(then));
}

void list_users(Context& context, Call call) {
  auto users = context.readers.with(
      [&](store::Reader& reader) { return known_users(reader, context, call->caller); });
  if (!users) return refuse(call, users.error());
  json list = json::array();
  for (auto& user : *users) list.push_back(user_info(user));
  answer(call, {{"users", std::move(list)}});
}

namespace {

/// The password that was given, or one that is made; hashed by a thread that may block.
void with_password(Context& context, Call call, const std::string& given,
                   std::function<void(const std::string& hash, const std::string& made)> then) {
  if (!given.empty())
    if (auto fine = base::check_password_rules(given); !fine) return refuse(call, fine.error());
  context.passwords.post([call = std::move(call), given, then = std::move(then)] {
    std::string made = given.empty() ? base::make_password() : "";
    auto hash = base::hash_password(given.empty() ? made : given);
    if (!hash) return refuse(call, hash.error());
    then(*hash, made);
  });
}

json new_user(const store::UserRecord& user, const std::string& made) {
  return {{"user", user_info(user)}, {"password", made}};
}

}  // namespace

void add_user(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  auto given = texts(call, {"name", "role", "password", "owner"}, {"name"});
  if (!given) return refuse(call, given.error());
  std::string name = (*given)["name"];
  if (auto fine = check_user_name(name); !fine) return refuse(call, fine.error());
  auto role = role_of(given->contains("role") ? (*given)["role"] : "member");
  if (!role) return refuse(call, role.error());
  std::string owner = given->contains("owner") ? (*given)["owner"] : context.options.owner;
  if (!call->caller.belongs_to(owner)) return refuse(call, no_such_owner(call->caller, owner));
  with_password(
      context, call, (*given)["password"],
      [&context, call, name, role = *role, owner = stored_owner(context, owner)](
          const std::string& hash, const std::string& made) {
        change_people(
            context, call, 201,
            [call, name, role, owner, hash, made](State& state, std::int64_t now) -> Result<json> {
              auto there = state.writer().find_user(name);
              if (!there) return there.error();
              if (*there)
                return base::error("user_exists", "there is a user '" + name + "' already");
              store::UserRecord user{name, role, hash, false, now, 0};
              SPELL_TRY(state.writer().put_user(user));
              SPELL_TRY(state.writer().put_member({owner, name}));
              SPELL_TRY(audit(state, now, call, "user.add", name, role));
              return new_user(user, made);
            });
      });
}

void edit_user(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  UserChange asked;
  for (auto& [field, value] : body->items()) {
    if (field == "role" && value.is_string()) {
      auto role = role_of(value.get<std::string>());
      if (!role) return refuse(call, role.error());
      asked.role = *role;
    } else if (field == "disabled" && value.is_boolean()) {
      asked.disabled = value.get<bool>();
    } else {
      return refuse(call, base::error("invalid_request",
                                      "the body may hold \"role\": text and \"disabled\": true or "
                                      "false, nothing else"));
    }
  }
  std::string name = call->path.at("name");
  if (name == call->caller.name) call->reply.belongs_to("");
  change_people(
      context, call, 200, [call, name, asked](State& state, std::int64_t now) -> Result<json> {
        auto user = user_of(state, name);
        if (!user) return user.error();
        if (asked.role) user->role = *asked.role;
        if (asked.disabled) user->disabled = *asked.disabled;
        auto users = state.writer().users();
        if (!users) return users.error();
        bool others = std::any_of(users->begin(), users->end(), [&](auto& other) {
          return other.name != name && !other.disabled && other.role == "administrator";
        });
        if (!others && (user->disabled || user->role != "administrator"))
          return base::error("last_administrator",
                             name +
                                 " is the last administrator; make another one first: spell user "
                                 "role NAME administrator");
        SPELL_TRY(state.writer().put_user(*user));
        if (user->disabled) SPELL_TRY(end_tokens(state, name));
        // Whom machines may join for is an administrator's to say.
        if (user->disabled || user->role != "administrator")
          SPELL_TRY(state.drop_join_tokens_of(name));
        if (asked.role) SPELL_TRY(audit(state, now, call, "user.role", name, *asked.role));
        if (asked.disabled)
          SPELL_TRY(
              audit(state, now, call, *asked.disabled ? "user.disable" : "user.enable", name));
        return json{{"user", user_info(*user)}};
      });
}

void reset_user(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  auto given = texts(call, {"password"}, {});
  if (!given) return refuse(call, given.error());
  std::string name = call->path.at("name");
  if (name == call->caller.name) call->reply.belongs_to("");
  with_password(context, call, (*given)["password"],
                [&context, call, name](const std::string& hash, const std::string& made) {
                  change_people(
                      context, call, 200,
                      [call, name, hash, made](State& state, std::int64_t now) -> Result<json> {
                        auto user = user_of(state, name);
                        if (!user) return user.error();
                        user->password = hash;
                        SPELL_TRY(state.writer().put_user(*user));
                        SPELL_TRY(end_tokens(state, name, "login"));
                        SPELL_TRY(audit(state, now, call, "user.reset", name));
                        return new_user(*user, made);
                      });
                });
}

void list_tokens(Context& context, Call call) {
  std::string user = call->query("user");
  if (user.empty()) user = call->caller.name;
  if (!call->caller.may_change(user))
    return refuse(call, base::error("not_permitted", "these tokens belong to " + user));
  auto tokens = context.readers.with([](store::Reader& reader) { return reader.tokens(); });
  if (!tokens) return refuse(call, tokens.error());
  json list = json::array();
  std::int64_t now = base::unix_us();
  for (auto& token : *tokens)
    if (is_users(token) && token.user == user && (token.expires_us == 0 || token.expires_us > now))
      list.push_back(token_info(token));
  answer(call, {{"tokens", std::move(list)}});
}

void create_token(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  std::string name;
  std::int64_t days = 0;
  for (auto& [field, value] : body->items()) {
    if (field == "name" && value.is_string() && value.get_ref<const std::string&>().size() <= 200 &&
        base::valid_text(value.get_ref<const std::string&>())) {
      name = value.get<std::string>();
    } else if (field == "days") {
      if (auto problem = model::read_int(value, days, 0, 36'500))
        return refuse(call, base::error("invalid_request", "days " + problem.text));
    } else {
      return refuse(call, base::error("invalid_request",
                                      "the body may hold \"name\": text of at most 200 bytes and "
                                      "\"days\": a number, nothing else"));
    }
  }
  if (name.empty()) return refuse(call, base::error("invalid_request", "'name' is missing"));
  if (call->caller.token.empty())
    return refuse(call,
                  base::error("invalid_request",
                              "who comes by the service's own socket is no user, and needs no "
                              "token; spell login first"));
  change_people(context, call, 201,
                [call, name, days](State& state, std::int64_t now) -> Result<json> {
                  SPELL_TRY(room_for_token(state, call->caller.name));
                  auto made = make_token("spu_", now);
                  made.record.kind = "access";
                  made.record.user = call->caller.name;
                  made.record.name = name;
                  if (days > 0) made.record.expires_us = now + days * day_us;
                  SPELL_TRY(check_lifetime(state, call->caller, made.record));
                  SPELL_TRY(state.writer().put_token(made.record));
                  SPELL_TRY(audit(state, now, call, "token.create", made.record.id, name));
                  return json{{"token", token_info(made.record)}, {"secret", made.text}};
                });
}

void revoke_token(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  std::string id = call->path.at("token");
  if (id == call->caller.token) call->reply.belongs_to("");
  change_people(context, call, 200, [call, id](State& state, std::int64_t now) -> Result<json> {
    auto tokens = state.writer().tokens();
    if (!tokens) return tokens.error();
    for (auto& token : *tokens) {
      // Another's is not there for who may not change it.
      if (token.id != id || !is_users(token) || !call->caller.may_change(token.user)) continue;
      SPELL_TRY(state.writer().delete_token(id));
      SPELL_TRY(audit(state, now, call, "token.revoke", id, token.user + ": " + token.name));
      return json{{"token", token_info(token)}};
    }
    return base::error("token_not_found",
                       "there is no token '" + id + "'; `spell access-tokens list` shows them");
  });
}

void list_audit(Context& context, Call call) {
  auto limit = call->number("limit", 100, 1, 1000);
  if (!limit) return refuse(call, limit.error());
  auto below = call->number("cursor", INT64_MAX, 1, INT64_MAX);
  if (!below) return refuse(call, below.error());
  store::AuditQuery query{static_cast<int>(*limit) + 1, *below, call->query("user"),
                          call->query("action")};
  auto rows = context.readers.with([&](store::Reader& reader) { return reader.audit(query); });
  if (!rows) return refuse(call, rows.error());
  json next;
  if (static_cast<std::int64_t>(rows->size()) > *limit) {
    rows->pop_back();
    next = std::to_string(rows->back().number);
  }
  json list = json::array();
  for (auto& row : *rows)
    list.push_back(AuditEntry{row.number, time_of(row.time_us), row.user, row.action, row.thing,
                              row.detail, row.request});
  answer(call, {{"audit", std::move(list)}, {"next", next}});
}

}  // namespace spell::service
