// Who makes a request, and what he may do. The router asks once, before anything else is done;
// handlers ask may_change() where a thing belongs to somebody.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "model/access.hpp"
#include "net/server.hpp"
#include "spell/result.hpp"
#include "store/store.hpp"

namespace spell::service {

struct Caller {
  enum class Kind { nobody, user, machine, joiner, workflow } kind = Kind::nobody;
  std::string name{};                      ///< of the user or machine; of a workflow its creator's
  model::Role role = model::Role::viewer;  ///< of a user, or a workflow's creator
  std::string token{};                     ///< id of the token he showed; "": none
  std::int64_t workflow = 0;               ///< its number, of the kind `workflow`
  /// Of a user: whose runs are his to see; the first is meant where he names none. Null: nobody's.
  std::shared_ptr<const std::vector<std::string>> owners{};

  bool belongs_to(std::string_view owner) const {
    return owners && std::find(owners->begin(), owners->end(), owner) != owners->end();
  }
  /// "": there is none.
  std::string usual_owner() const {
    return owners && !owners->empty() ? owners->front() : std::string();
  }

  /// Whether a thing that `creator` made is his to change: his own, or he is an administrator.
  bool may_change(const std::string& creator) const {
    if (kind == Kind::workflow) return name == creator;
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

class MachineTokens;

/// Of a personal service: whoever reaches its socket as its own user or root is its administrator,
/// called `user`; its embedded worker shows `machine_token`, others what they got when they joined.
class PersonalCallers : public Callers {
 public:
  PersonalCallers(std::string user, std::string machine, std::string machine_token,
                  const MachineTokens& tokens)
      : user_(std::move(user)),
        owners_(std::make_shared<const std::vector<std::string>>(1, user_)),
        machine_(std::move(machine)),
        machine_token_(std::move(machine_token)),
        tokens_(tokens) {}
  Result<Caller> identify(const net::Request&) const override;

 private:
  std::string user_;
  std::shared_ptr<const std::vector<std::string>> owners_;
  std::string machine_, machine_token_;
  const MachineTokens& tokens_;
};

/// What follows "Bearer " in a request's Authorization; "": nothing.
std::string_view bearer(const net::Request&);
/// Hex SHA-256 of a token's whole text, as the store keeps it.
std::string token_hash(std::string_view token);

/// A new token: its text, which is shown once, and what is kept of it (id, hash and time of making;
/// the rest is the caller's).
struct MadeToken {
  std::string text{};
  store::TokenRecord record{};
};
/// `prefix`: "spu_", "spm_", "spj_".
MadeToken make_token(std::string_view prefix, std::int64_t now_us);

/// By the tokens of workflows alone: of the socket that managing runs find. `others`: who find out
/// whether the user whose workflow it is may still do anything.
class WorkflowCallers : public Callers {
 public:
  explicit WorkflowCallers(const Callers& others) : others_(others) {}
  Result<Caller> identify(const net::Request&) const override;

 private:
  const Callers& others_;
};

/// Of a team's service: by the tokens of its store (machines by theirs, see MachineTokens). On the
/// Unix socket whoever is its own user or root needs none and is the administrator `local`: the way
/// back in when a password is lost.
class TeamCallers : public Callers {
 public:
  struct Options {
    std::string owner{};                     ///< the one that the service was made for
    std::string machine{}, machine_token{};  ///< of the embedded worker; "": there is none
    const MachineTokens& machines;
    std::function<std::int64_t()> clock_us{};
    /// A token is used for the first time in an hour. Any thread.
    std::function<void(const std::string& id)> used{};
  };
  struct Refreshed {
    /// Ids of tokens that were good for something before, for which they are not any more.
    std::vector<std::string> ended{};
    std::int64_t next_expiry_us = 0;  ///< 0: none
  };

  explicit TeamCallers(Options options);
  ~TeamCallers() override;
  /// Takes over what the store holds now: from the return on nobody gets in by a token that is
  /// gone.
  Result<Refreshed> refresh(store::Reader&);
  Result<Caller> identify(const net::Request&) const override;

 private:
  struct Table;
  std::shared_ptr<const Table> table() const;
  Options options_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Table> table_;
};

}  // namespace spell::service
