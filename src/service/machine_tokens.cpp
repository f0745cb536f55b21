#include "service/machine_tokens.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::service {

Result<std::optional<Caller>> MachineTokens::identify(const net::Request& request) const {
  std::string_view text = bearer(request);
  bool joins = text.starts_with("spj_"), manages = text.starts_with("spw_");
  if (!joins && !manages && !text.starts_with("spm_")) return std::optional<Caller>();
  Caller::Kind kind = joins     ? Caller::Kind::joiner
                      : manages ? Caller::Kind::workflow
                                : Caller::Kind::machine;
  // What stands behind the dot of a join token is for the machine: whom to trust.
  std::string hash = token_hash(text.substr(0, text.find('.')));
  std::lock_guard lock(mutex_);
  auto found = entries_.find(hash);
  if (found == entries_.end() || found->second.kind != kind)
    return base::error(
        "unauthorized",
        manages ? "this workflow's credentials are not valid any more: it has ended, "
                  "was killed, or its managing run was started anew"
        : joins ? "this join token is not one of this service, or its machine has "
                  "been removed; `spell machine get-token NAME` makes one"
                : "this machine's token is not valid (any more): it has been removed, "
                  "or another has joined in its place");
  auto& entry = found->second;
  if (!entry.key.empty() && !base::equal_secret(entry.key, request.peer_key))
    return base::error("unauthorized",
                       "this machine's token is bound to a key that the connection did not prove");
  Caller caller;
  caller.kind = entry.kind;
  caller.name = manages ? entry.user : entry.machine;
  caller.workflow = entry.workflow;
  caller.owners = entry.owners;
  caller.token = entry.token;
  return std::optional(caller);
}

std::vector<std::string> MachineTokens::refresh(const State& state) {
  std::unordered_map<std::string, Entry> entries;
  for (auto& [id, token] : state.tokens()) {
    Entry entry{Caller::Kind::machine, id, token.machine, ""};
    if (token.kind == "join") entry.kind = Caller::Kind::joiner;
    if (token.kind == "workflow") {
      entry.kind = Caller::Kind::workflow;
      entry.user = token.user;
      auto* run = state.managing_run(token.run);
      if (!run) continue;
      entry.workflow = run->workflow;
      entry.owners = std::make_shared<const std::vector<std::string>>(1, run->owner);
    }
    if (auto* machine = state.machine_by_id(token.machine);
        machine && entry.kind == Caller::Kind::machine)
      entry.key = machine->record.key;
    entries.emplace(token.hash, std::move(entry));
  }
  std::vector<std::string> ended;
  std::lock_guard lock(mutex_);
  for (auto& [hash, entry] : entries_)
    if (entry.kind != Caller::Kind::joiner && !entries.contains(hash)) ended.push_back(entry.token);
  entries_ = std::move(entries);
  return ended;
}

std::vector<std::string> MachineTokens::of_workflows_of(
    const std::vector<std::string>& users) const {
  std::vector<std::string> out;
  std::lock_guard lock(mutex_);
  for (auto& [hash, entry] : entries_)
    if (entry.kind == Caller::Kind::workflow &&
        std::find(users.begin(), users.end(), entry.user) != users.end())
      out.push_back(entry.token);
  return out;
}

}  // namespace spell::service
