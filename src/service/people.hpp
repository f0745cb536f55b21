// What the routes about people share: those of users and tokens, and those of owners.
#pragma once
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>

#include "service/api.hpp"

namespace spell::service {

/// Error `personal_service` where there are no people.
Result<> need_team(Context&);

/// The members of a body: each at most once, text, known. Error `invalid_request`.
Result<std::map<std::string, std::string>> texts(const Call&,
                                                 std::initializer_list<std::string_view> known,
                                                 std::initializer_list<std::string_view> needed);

/// Posts a change of people; `command` returns what is answered, once it is durable.
void change_people(Context&, Call, int status,
                   std::function<Result<json>(State&, std::int64_t now)> command);

/// Error `user_not_found`.
Result<store::UserRecord> user_of(State&, const std::string& name);

/// As the store names an owner in its members: "": the one that the service was made for.
std::string stored_owner(const Context&, const std::string& owner);

}  // namespace spell::service
