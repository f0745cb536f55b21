// How a machine becomes one of the state's.
#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "service/state.hpp"

namespace spell::service {

Result<> State::drop_tokens(const std::function<bool(const store::TokenRecord&)>& which) {
  for (auto at = tokens_.begin(); at != tokens_.end();) {
    if (!which(at->second)) {
      ++at;
      continue;
    }
    SPELL_TRY(writer_.delete_token(at->first));
    at = tokens_.erase(at);
    tokens_changed_ = true;
  }
  return ok();
}

Result<> State::drop_tokens(const std::string& machine, const std::string& kind) {
  return drop_tokens([&](auto& token) { return token.machine == machine && token.kind == kind; });
}

Result<> State::drop_join_tokens_of(const std::string& user) {
  return drop_tokens([&](auto& token) {
    return token.kind == "join" && token.user == user && token.used_us == 0;
  });
}

Result<> State::put_join_token(const store::TokenRecord& token) {
  if (!token.machine.starts_with("type:")) SPELL_TRY(drop_tokens(token.machine, "join"));
  tokens_[token.id] = token;
  tokens_changed_ = true;
  return writer_.put_token(token);
}

Result<store::MachineRecord> State::join(const std::string& token_id,
                                         const model::JoinRequest& request, const std::string& key,
                                         const std::string& token_hash, std::int64_t now_us) {
  auto found = tokens_.find(token_id);
  if (found == tokens_.end() || found->second.kind != "join")
    return base::error("unauthorized", "this join token is not valid here any more");
  auto& token = found->second;
  // "type:OWNER/NAME", or the id of a machine.
  bool of_type = token.machine.starts_with("type:");
  std::size_t slash = token.machine.find('/');
  std::string type = of_type ? token.machine.substr(slash + 1) : "";
  std::string way =
      of_type ? "`spell machine-type get-token " + type + "`" : "`spell machine get-token NAME`";
  if (token.used_us != 0)
    return base::error("join_token_used",
                       "this join token has been used already; " + way + " makes another");
  if (token.expires_us <= now_us)
    return base::error("join_token_expired",
                       "this join token is older than an hour; " + way + " makes another");
  store::MachineRecord record;
  if (of_type) {
    if (slash == std::string::npos)
      return base::error("unauthorized", "this join token is of an older version of the service");
    record.name = base::lower(request.name);
    record.id = base::Id::make(now_us / 1000, base::random_bytes(16)).text();
    record.owner = token.machine.substr(5, slash - 5);
    record.serves = {type};
    record.created_us = now_us;
    if (!base::valid_name(record.name))
      return base::error("invalid_request",
                         "'name' must be 1 to 64 letters, digits, '.', '_' and '-'");
    SPELL_TRY(create_machine(record));
  } else {
    auto* machine = find_by_id(token.machine);
    if (!machine) return base::error("unauthorized", "this join token's machine has been removed");
    record = machine->record;
  }
  SPELL_TRY(drop_tokens(record.id, "machine"));
  auto& machine = machines_.at(record.name);
  machine.record.joined_us = machine.record.seen_us = now_us;
  machine.record.key = key;
  if (machine.record.phase == "launching") {
    machine.record.phase = "up";
    machine.record.phase_us = now_us;
    machine.launch = MachineState::Launch::done;
    pool_works({machine.record.owner, machine.record.pool});
  }
  machine.hello = request.hello;
  machine.connected = false;  // until the worker says hello with its new token
  machine.record.hello = model::to_json(request.hello).dump();
  SPELL_TRY(save(machine));

  token.used_us = now_us;
  token.machine = record.id;
  SPELL_TRY(writer_.put_token(token));
  store::TokenRecord own;
  own.id = base::Id::make(now_us / 1000, base::random_bytes(16)).text();
  own.hash = token_hash;
  own.kind = "machine";
  own.machine = record.id;
  own.name = record.name;
  own.created_us = now_us;
  SPELL_TRY(writer_.put_token(own));
  tokens_[own.id] = own;
  tokens_changed_ = true;
  return machine.record;
}

}  // namespace spell::service
