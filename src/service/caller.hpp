// Who makes a request, and what he may do. The router asks once, before anything else is done;
// handlers ask may_change() where a thing belongs to somebody.
#pragma once
#include <string>

#include "model/access.hpp"
#include "net/server.hpp"
#include "spell/result.hpp"

namespace spell::service {

struct Caller {
  enum class Kind { nobody, user, machine, joiner } kind = Kind::nobody;
  std::string name{};                      ///< of the user or machine
  model::Role role = model::Role::viewer;  ///< of a user
  std::string token{};                     ///< id of the token he showed; "": none

  /// Whether a thing that `creator` made is his to change: his own, or he is an administrator.
  bool may_change(const std::string& creator) const {
    return kind == Kind::user && (role == model::Role::administrator || name == creator);
  }
};

/// Whether this caller may use a route of this access; `machine`: of the path. Errors:
/// `unauthorized` (no or another kind of token), `not_permitted` (says which role it takes).
Result<> permit(const Caller&, model::Access, const std::string& machine);

/// Finds out who makes a request. Thread-safe; must not block.
class Callers {
 public:
  virtual ~Callers() = default;
  /// A request without any token comes from nobody. Errors: `unauthorized` (a token that is not
  /// valid), `not_permitted`.
  virtual Result<Caller> identify(const net::Request&) const = 0;
};

/// Of a personal service: whoever reaches its socket as its own user or root is its administrator,
/// called `user`; its embedded worker shows `machine_token`.
class PersonalCallers : public Callers {
 public:
  PersonalCallers(std::string user, std::string machine, std::string machine_token)
      : user_(std::move(user)),
        machine_(std::move(machine)),
        machine_token_(std::move(machine_token)) {}
  Result<Caller> identify(const net::Request&) const override;

 private:
  std::string user_, machine_, machine_token_;
};

}  // namespace spell::service
