#include "service/machine_tokens.hpp"

#include "base/error.hpp"
#include "base/hash.hpp"

namespace spell::service {

Result<std::optional<Caller>> MachineTokens::identify(const net::Request& request) const {
  std::string_view text = bearer(request);
  bool joins = text.starts_with("spj_");
  if (!joins && !text.starts_with("spm_")) return std::optional<Caller>();
  // What stands behind the dot of a join token is for the machine: whom to trust.
  std::string hash = token_hash(text.substr(0, text.find('.')));
  std::lock_guard lock(mutex_);
  auto found = entries_.find(hash);
  if (found == entries_.end() || (found->second.kind == Caller::Kind::joiner) != joins)
    return base::error("unauthorized",
                       joins ? "this join token is not one of this service, or its machine has "
                               "been removed; `spell machine get-token NAME` makes one"
                             : "this machine's token is not valid (any more): it has been removed, "
                               "or another has joined in its place");
  auto& entry = found->second;
  if (!entry.key.empty() && !base::equal_secret(entry.key, request.peer_key))
    return base::error("unauthorized",
                       "this machine's token is bound to a key that the connection did not prove");
  Caller caller;
  caller.kind = entry.kind;
  caller.name = entry.machine;
  caller.token = entry.token;
  return std::optional(caller);
}

void MachineTokens::refresh(const State& state) {
  std::unordered_map<std::string, Entry> entries;
  for (auto& [id, token] : state.tokens()) {
    Entry entry{token.kind == "join" ? Caller::Kind::joiner : Caller::Kind::machine, id,
                token.machine, ""};
    if (auto* machine = state.machine_by_id(token.machine);
        machine && entry.kind == Caller::Kind::machine)
      entry.key = machine->record.key;
    entries.emplace(token.hash, std::move(entry));
  }
  std::lock_guard lock(mutex_);
  entries_ = std::move(entries);
}

}  // namespace spell::service
