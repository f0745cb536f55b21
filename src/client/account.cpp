#include "spell/account.hpp"

#include <algorithm>

#include "client/connection.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

template <class T>
Result<T> whole(const Result<json>& answer) {
  if (!answer) return answer.error();
  try {
    return answer->get<T>();
  } catch (const Error& e) {
    return e;
  }
}

}  // namespace

Result<Identity> Account::who(CallOptions options) const {
  return member<Identity>(connection_->call({.route = Route::get_user}, options), "identity");
}

Result<Login> Account::log_in(const std::string& user, const std::string& password,
                              const std::string& name, CallOptions options) const {
  json body{{"user", user}, {"password", password}};
  if (!name.empty()) body["name"] = name;
  return member<Login>(connection_->call({.route = Route::login, .body = body}, options), "login");
}

Result<> Account::log_out(CallOptions options) const {
  return done(connection_->call({.route = Route::logout}, options));
}

Result<> Account::change_password(const std::string& old_password, const std::string& new_password,
                                  CallOptions options) const {
  return done(connection_->call(
      {.route = Route::change_password, .body = {{"old", old_password}, {"new", new_password}}},
      options));
}

Result<std::vector<UserInfo>> Users::list(CallOptions options) const {
  return member<std::vector<UserInfo>>(connection_->call({.route = Route::list_users}, options),
                                       "users");
}

Result<NewUser> Users::add(const std::string& name, const std::string& role,
                           const std::string& password, const std::string& owner,
                           CallOptions options) const {
  json body{{"name", name}, {"role", role}};
  if (!owner.empty()) body["owner"] = owner;
  if (!password.empty()) body["password"] = password;
  return whole<NewUser>(connection_->call({.route = Route::add_user, .body = body}, options));
}

Result<UserInfo> Users::edit(const std::string& name, const UserChange& change,
                             CallOptions options) const {
  json body = json::object();
  if (change.role) body["role"] = *change.role;
  if (change.disabled) body["disabled"] = *change.disabled;
  return member<UserInfo>(
      connection_->call({.route = Route::edit_user, .names = {name}, .body = body}, options),
      "user");
}

Result<NewUser> Users::reset(const std::string& name, const std::string& password,
                             CallOptions options) const {
  json body = json::object();
  if (!password.empty()) body["password"] = password;
  return whole<NewUser>(
      connection_->call({.route = Route::reset_user, .names = {name}, .body = body}, options));
}

Result<std::vector<OwnerInfo>> Owners::list(CallOptions options) const {
  return member<std::vector<OwnerInfo>>(connection_->call({.route = Route::list_owners}, options),
                                        "owners");
}

Result<OwnerInfo> Owners::add(const std::string& name, const std::vector<std::string>& members,
                              CallOptions options) const {
  return member<OwnerInfo>(
      connection_->call({.route = Route::add_owner, .body = {{"name", name}, {"members", members}}},
                        options),
      "owner");
}

Result<OwnerInfo> Owners::change_members(const std::string& name,
                                         const std::vector<std::string>& add,
                                         const std::vector<std::string>& remove,
                                         CallOptions options) const {
  return member<OwnerInfo>(connection_->call({.route = Route::owner_members,
                                              .body = {{"add", add}, {"remove", remove}},
                                              .owner = name},
                                             options),
                           "owner");
}

Result<std::vector<TokenInfo>> Tokens::list(const std::string& user, CallOptions options) const {
  Call call{.route = Route::list_tokens};
  if (!user.empty()) call.query.emplace_back("user", user);
  return member<std::vector<TokenInfo>>(connection_->call(call, options), "tokens");
}

Result<NewToken> Tokens::create(const std::string& name, int days, CallOptions options) const {
  return whole<NewToken>(connection_->call(
      {.route = Route::create_token, .body = {{"name", name}, {"days", days}}}, options));
}

Result<TokenInfo> Tokens::revoke(const std::string& id, CallOptions options) const {
  return member<TokenInfo>(
      connection_->call({.route = Route::revoke_token, .names = {id}}, options), "token");
}

Result<std::vector<AuditEntry>> Client::audit(const AuditFilter& filter,
                                              CallOptions options) const {
  std::vector<AuditEntry> out;
  std::string cursor;
  while (static_cast<int>(out.size()) < filter.limit) {
    int left = filter.limit - static_cast<int>(out.size());
    Call call{.route = Route::audit};
    call.query = {{"limit", std::to_string(std::min(left, 1000))}};
    if (!filter.user.empty()) call.query.emplace_back("user", filter.user);
    if (!filter.action.empty()) call.query.emplace_back("action", filter.action);
    if (!cursor.empty()) call.query.emplace_back("cursor", cursor);
    auto answer = connection_->call(call, options);
    auto page = member<std::vector<AuditEntry>>(answer, "audit");
    if (!page) return page.error();
    out.insert(out.end(), page->begin(), page->end());
    auto next = answer->find("next");
    if (next == answer->end() || !next->is_string() || page->empty()) break;
    cursor = next->get<std::string>();
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace spell
