// People of a team's service: the caller's own account, users, tokens, and who did what.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"

namespace spell {

struct UserInfo {
  std::string name{};
  std::string role{};  ///< "administrator", "member", "viewer"; a later service may have more
  bool disabled = false;
  std::optional<Time> created_at{};
  std::optional<Time> seen_at{};  ///< to the hour; none: never
};

/// Who the caller is.
struct Identity {
  UserInfo user{};
  std::string owner{};  ///< of the service's runs: the team, or the one user of a personal service
  std::vector<std::string> owners{};  ///< all that the user belongs to; `owner` is the first
};

/// A tenant of a service: runs, their numbers, uploads, links, projects and machines belong to one,
/// and only who belongs to it sees them. Administrators belong to every owner.
struct OwnerInfo {
  std::string name{};
  bool own = false;           ///< the one that the service was made for
  std::int64_t last_run = 0;  ///< the highest number given to a run
  std::vector<std::string> members{};
};

/// A credential of a user. The secret itself is shown once, when it is made.
struct TokenInfo {
  std::string id{}, name{}, user{};
  std::string kind{};  ///< "login": made by logging in; "access": made to be used elsewhere
  std::optional<Time> created_at{};
  std::optional<Time> expires_at{};  ///< none: never
  std::optional<Time> used_at{};     ///< to the hour; none: never
};

struct NewToken {
  TokenInfo token{};
  std::string secret{};
};

/// What a successful login gives.
struct Login {
  std::string secret{};  ///< the token, for ClientOptions::token
  TokenInfo token{};
  UserInfo user{};
  std::string owner{};
};

/// A user whose password was made for him.
struct NewUser {
  UserInfo user{};
  std::string password{};  ///< "": it was given
};

struct UserChange {
  std::optional<std::string> role{};
  std::optional<bool> disabled{};  ///< true: all tokens end at once; runs go on
};

struct AuditEntry {
  std::int64_t number = 0;
  std::optional<Time> time{};
  std::string user{}, action{}, thing{}, detail{};
  std::string request_id{};  ///< "": not by a request
};

struct AuditFilter {
  int limit = 100;  ///< the newest so many; they are listed oldest first
  std::string user{};
  std::string action{};  ///< "user.add", or "user" for all that begins so
};

/// The caller's own account. Thread-safe.
class Account {
 public:
  Result<Identity> who(CallOptions = {}) const;
  /// `name`: what the token is for, as lists show it. Errors: `wrong_password`,
  /// `too_many_attempts`.
  Result<Login> log_in(const std::string& user, const std::string& password,
                       const std::string& name = {}, CallOptions = {}) const;
  /// Ends the token of this client.
  Result<> log_out(CallOptions = {}) const;
  /// Ends the caller's other logins; access tokens stay. Errors: `wrong_password`,
  /// `weak_password`, `too_many_attempts`.
  Result<> change_password(const std::string& old_password, const std::string& new_password,
                           CallOptions = {}) const;

  explicit Account(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

/// Users of the service; all but list() are for administrators. Thread-safe.
class Users {
 public:
  Result<std::vector<UserInfo>> list(CallOptions = {}) const;
  /// `password` "": one is made. `owner`: whom he belongs to; "": the one that the service was made
  /// for. Errors: `user_exists`, `owner_not_found`.
  Result<NewUser> add(const std::string& name, const std::string& role = "member",
                      const std::string& password = {}, const std::string& owner = {},
                      CallOptions = {}) const;
  /// Errors: `user_not_found`, `last_administrator`.
  Result<UserInfo> edit(const std::string& name, const UserChange& change, CallOptions = {}) const;
  /// Another password, for one that was lost: logins end, access tokens stay. `password` "": one is
  /// made.
  Result<NewUser> reset(const std::string& name, const std::string& password = {},
                        CallOptions = {}) const;

  explicit Users(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

/// Owners that the caller belongs to; all but list() is for administrators. Thread-safe.
class Owners {
 public:
  Result<std::vector<OwnerInfo>> list(CallOptions = {}) const;
  /// Errors: `owner_exists`, `user_not_found`.
  Result<OwnerInfo> add(const std::string& name, const std::vector<std::string>& members = {},
                        CallOptions = {}) const;
  /// What a user who is taken out has open ends at once; his runs go on. Errors: `owner_not_found`,
  /// `user_not_found`, `last_owner` (he would belong to none).
  Result<OwnerInfo> change_members(const std::string& name, const std::vector<std::string>& add,
                                   const std::vector<std::string>& remove, CallOptions = {}) const;

  explicit Owners(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

/// Tokens of the caller; an administrator sees and revokes everybody's. Thread-safe.
class Tokens {
 public:
  /// `user` "": the caller's.
  Result<std::vector<TokenInfo>> list(const std::string& user = {}, CallOptions = {}) const;
  /// `days` 0: it does not end by itself.
  Result<NewToken> create(const std::string& name, int days = 0, CallOptions = {}) const;
  /// Error `token_not_found`.
  Result<TokenInfo> revoke(const std::string& id, CallOptions = {}) const;

  explicit Tokens(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
