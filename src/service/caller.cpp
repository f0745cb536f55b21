#include "service/caller.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "service/machine_tokens.hpp"
#include "service/team_data.hpp"

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
  bool of_workflow = caller.kind == Caller::Kind::workflow;
  if (caller.kind != Caller::Kind::user && !of_workflow)
    return base::error("unauthorized", "this needs a user's token: `spell login` gets one");
  if (of_workflow && access != Access::workflow_viewer && access != Access::workflow_member)
    return base::error("not_permitted", "the credentials of workflow " +
                                            std::to_string(caller.workflow) +
                                            " are for its own runs and uploads, not for this");
  Role wanted = access == Access::administrator ? Role::administrator
                : access == Access::member || access == Access::workflow_member ? Role::member
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
  auto joined = tokens_.identify(request);
  if (!joined) return joined.error();
  if (*joined) {
    if ((*joined)->kind == Caller::Kind::workflow) (*joined)->role = model::Role::administrator;
    return std::move(**joined);
  }
  caller.kind = Caller::Kind::user;
  caller.name = user_;
  caller.role = model::Role::administrator;
  caller.owners = owners_;
  return caller;
}

Result<Caller> WorkflowCallers::identify(const net::Request& request) const {
  if (!bearer(request).starts_with("spw_"))
    return base::error("unauthorized",
                       "this socket is for runs that manage a workflow, with their token");
  return others_.identify(request);
}

std::string_view bearer(const net::Request& request) {
  std::string_view text = net::find_header(request.headers, "Authorization");
  constexpr std::string_view scheme = "Bearer ";
  return text.starts_with(scheme) ? text.substr(scheme.size()) : std::string_view();
}

std::string token_hash(std::string_view token) { return base::hex(base::sha256(token)); }

MadeToken make_token(std::string_view prefix, std::int64_t now_us) {
  MadeToken made;
  made.text = std::string(prefix) + base::hex(base::random_bytes(32));
  made.record.id = base::hex(base::random_bytes(8));
  made.record.hash = token_hash(made.text);
  made.record.created_us = now_us;
  return made;
}

namespace {

using base::hour_us;

using Owners = std::shared_ptr<const std::vector<std::string>>;

/// Whether `now` may do all that `before` might; of callers, or of users' rights.
template <class Rights>
bool as_much(const Rights& now, const Rights& before) {
  return now.role >= before.role &&
         std::all_of(before.owners->begin(), before.owners->end(), [&](auto& owner) {
           return std::find(now.owners->begin(), now.owners->end(), owner) != now.owners->end();
         });
}

Error not_valid() {
  return base::error("unauthorized",
                     "this token is not valid, or not any more; `spell login` gets another");
}

}  // namespace

struct TeamCallers::Table {
  struct Entry {
    Caller caller{};
    std::int64_t expires_us = 0;
    mutable std::atomic<std::int64_t> used_us = 0;
  };
  std::unordered_map<std::string, std::unique_ptr<Entry>> tokens;  ///< by hash
  struct Rights {
    model::Role role = model::Role::viewer;
    Owners owners{};
  };
  std::unordered_map<std::string, Rights> users;  ///< who may come in
  Owners all;                                     ///< an administrator's
};

TeamCallers::TeamCallers(Options options)
    : options_(std::move(options)), table_(std::make_shared<Table>()) {}
TeamCallers::~TeamCallers() = default;

std::shared_ptr<const TeamCallers::Table> TeamCallers::table() const {
  std::lock_guard lock(mutex_);
  return table_;
}

Result<TeamCallers::Refreshed> TeamCallers::refresh(store::Reader& reader) {
  auto users = reader.users();
  if (!users) return users.error();
  auto tokens = reader.tokens();
  if (!tokens) return tokens.error();
  auto owners = reader.owners();
  if (!owners) return owners.error();
  auto members = reader.members();
  if (!members) return members.error();
  // The service's own first, which is meant where none is named; the rest by name.
  std::vector<std::string> all{options_.owner};
  for (auto& [name, number] : *owners)
    if (name != options_.owner) all.push_back(name);
  std::unordered_map<std::string, std::vector<std::string>> owners_of;
  for (auto& [owner, user] : *members)
    if (owner.empty() || owners->contains(owner))
      owners_of[user].push_back(owner.empty() ? options_.owner : owner);

  auto made = std::make_shared<Table>();
  made->all = std::make_shared<const std::vector<std::string>>(std::move(all));
  for (auto& user : *users)
    if (auto role = model::parse_role(user.role); role && !user.disabled) {
      auto own = *role == model::Role::administrator
                     ? made->all
                     : std::make_shared<const std::vector<std::string>>(owners_of[user.name]);
      made->users.emplace(user.name, Table::Rights{*role, std::move(own)});
    }
  Refreshed out;
  std::int64_t now = options_.clock_us();
  auto before = table();
  for (auto& token : *tokens) {
    if (token.kind != "login" && token.kind != "access") continue;  // see MachineTokens
    if (token.expires_us != 0 && token.expires_us <= now) continue;
    auto entry = std::make_unique<Table::Entry>();
    entry->caller.token = token.id;
    entry->expires_us = token.expires_us;
    entry->used_us = token.used_us;
    if (auto old = before->tokens.find(token.hash); old != before->tokens.end())
      entry->used_us = std::max<std::int64_t>(old->second->used_us, token.used_us);
    auto user = made->users.find(token.user);
    if (user == made->users.end()) continue;
    entry->caller.kind = Caller::Kind::user;
    entry->caller.name = token.user;
    entry->caller.role = user->second.role;
    entry->caller.owners = user->second.owners;
    if (token.expires_us != 0 && (out.next_expiry_us == 0 || token.expires_us < out.next_expiry_us))
      out.next_expiry_us = token.expires_us;
    made->tokens.emplace(token.hash, std::move(entry));
  }
  for (auto& [hash, entry] : before->tokens)
    if (auto now_is = made->tokens.find(hash);
        now_is == made->tokens.end() || !as_much(now_is->second->caller, entry->caller))
      out.ended.push_back(entry->caller.token);
  // What their workflows have open ends like their own.
  std::vector<std::string> less;
  for (auto& [name, rights] : before->users)
    if (auto now_is = made->users.find(name);
        now_is == made->users.end() || !as_much(now_is->second, rights))
      less.push_back(name);
  auto theirs = options_.machines.of_workflows_of(less);
  out.ended.insert(out.ended.end(), theirs.begin(), theirs.end());
  std::lock_guard lock(mutex_);
  table_ = std::move(made);
  return out;
}

Result<Caller> TeamCallers::identify(const net::Request& request) const {
  std::string_view token = bearer(request);
  Caller caller;
  if (token.empty()) {
    if (request.peer_uid == UINT32_MAX) return caller;
    if (request.peer_uid != ::geteuid() && request.peer_uid != 0)
      return base::error("not_permitted", "this socket is for the service's own user and root");
    caller.kind = Caller::Kind::user;
    caller.name = local_user;
    caller.role = model::Role::administrator;
    caller.owners = table()->all;
    return caller;
  }
  if (!options_.machine_token.empty() && request.peer_uid != UINT32_MAX &&
      base::equal_secret(token, options_.machine_token)) {
    caller.kind = Caller::Kind::machine;
    caller.name = options_.machine;
    return caller;
  }
  auto machine = options_.machines.identify(request);
  if (!machine) return machine.error();
  auto known = table();
  if (*machine && (*machine)->kind == Caller::Kind::workflow) {
    // Its creator's rights are the most that it has; `local` needs no row of the table.
    auto& manager = **machine;
    auto user = known->users.find(manager.name);
    bool local = user == known->users.end() && manager.name == local_user;
    Caller creator;
    if (!local && user != known->users.end()) creator.owners = user->second.owners;
    if (!local && !creator.belongs_to(manager.usual_owner()))
      return base::error("unauthorized", "the user whose workflow this is may do nothing any more");
    manager.role = local ? model::Role::administrator : user->second.role;
  }
  if (*machine) return std::move(**machine);
  auto found = known->tokens.find(token_hash(token));
  if (found == known->tokens.end()) return not_valid();
  auto& entry = *found->second;
  std::int64_t now = options_.clock_us();
  if (entry.expires_us != 0 && entry.expires_us <= now) return not_valid();
  std::int64_t used = entry.used_us;
  if (now - used >= hour_us && entry.used_us.compare_exchange_strong(used, now) && options_.used)
    options_.used(entry.caller.token);
  return entry.caller;
}

}  // namespace spell::service
