#include "service/caller.hpp"

#include <unistd.h>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::service {

Result<> permit(const Caller& caller, model::Access access, const std::string& machine) {
  using model::Access, model::Role;
  switch (access) {
    case Access::anyone:
      return ok();
    case Access::joiner:
      if (caller.kind == Caller::Kind::joiner) return ok();
      return base::error("unauthorized",
                         "this route is for machines that join: it needs a join token");
    case Access::machine:
      if (caller.kind == Caller::Kind::machine && caller.name == machine) return ok();
      return base::error(
          "unauthorized",
          "this route is for workers: it needs the token of machine '" + machine + "'");
    default:
      break;
  }
  if (caller.kind != Caller::Kind::user)
    return base::error("unauthorized", "this needs a user's token: `spell login` gets one");
  Role wanted = access == Access::administrator ? Role::administrator
                : access == Access::member      ? Role::member
                                                : Role::viewer;
  if (caller.role >= wanted) return ok();
  return base::error("not_permitted", "this takes the role " + std::string(name_of(wanted)) + "; " +
                                          caller.name + " is " + std::string(name_of(caller.role)));
}

Result<Caller> PersonalCallers::identify(const net::Request& request) const {
  if (request.peer_uid != ::geteuid() && request.peer_uid != 0)
    return base::error("not_permitted", "this is the personal service of another user");
  Caller caller;
  if (base::equal_secret(net::find_header(request.headers, "Authorization"),
                         "Bearer " + machine_token_)) {
    caller.kind = Caller::Kind::machine;
    caller.name = machine_;
    return caller;
  }
  caller.kind = Caller::Kind::user;
  caller.name = user_;
  caller.role = model::Role::administrator;
  return caller;
}

}  // namespace spell::service
