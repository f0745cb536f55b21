// Quotas of users: shown to everybody, set by administrators.
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"
#include "service/api.hpp"
#include "service/team_data.hpp"

namespace spell::service {

namespace {

/// In a path, for everybody who has none of his own.
constexpr const char* everybody = "*";

Result<json> quota_json(store::Reader& reader, const std::string& owner, const std::string& user,
                        const Quota& quota) {
  json out{{"user", user.empty() ? everybody : user}};
  for (auto& [name, member] : quota_members)
    out[name] = quota.*member ? json(*(quota.*member)) : json(nullptr);
  out["runs_of"] = quota.runs_of;
  auto running = reader.runs_of(owner, user);
  if (!running) return running.error();
  auto stored = reader.bytes_of(owner, user);
  if (!stored) return stored.error();
  out["running"] = *running;
  out["stored_bytes"] = *stored;
  return out;
}

model::Problem read_runs_of(const std::string& type, const json& j, std::int64_t& out) {
  if (!base::valid_name(type)) return {"", "is not a machine type's name"};
  return model::read_int(j, out);
}

Result<Quota> parse_quota(const Call& call) {
  auto body = body_object(call);
  if (!body) return body.error();
  Quota quota;
  for (auto& [field, value] : body->items()) {
    bool known = false;
    for (auto& [name, member] : quota_members) {
      if (field != name) continue;
      known = true;
      if (value.is_null()) continue;
      if (auto problem =
              model::read_int(value, (quota.*member).emplace(), field == "log_bytes" ? 4096 : 0))
        return base::error("invalid_request", field + " " + problem.text);
    }
    if (field == "runs_of") {
      known = true;
      std::map<std::string, std::int64_t> given;
      if (auto problem = model::read_map(value, given, 100, read_runs_of))
        return std::move(problem).within(field).error("invalid_request");
      for (auto& [type, limit] : given)
        if (!quota.runs_of.emplace(base::lower(type), limit).second)
          return base::error("invalid_request", "runs_of names " + type + " twice");
    }
    if (!known) return base::error("invalid_request", "'" + field + "' is not a known field");
  }
  return quota;
}

/// "runs 2, bytes 500000000"; "": there is none.
std::string quota_text(const Quota& quota) {
  std::string out;
  for (auto& [name, member] : quota_members)
    if (auto amount = quota.*member)
      out += (out.empty() ? "" : ", ") + std::string(name) + " " + std::to_string(*amount);
  for (auto& [type, amount] : quota.runs_of)
    out += (out.empty() ? "runs of " : ", runs of ") + type + " " + std::to_string(amount);
  return out;
}

}  // namespace

Result<> check_bytes(Context& context, const Call& call) {
  return context.readers.with([&](store::Reader& reader) -> Result<> {
    auto records = reader.quotas();
    if (!records) return records.error();
    auto quota = quota_of(to_quotas(*records), call->owner(), call->caller.name);
    if (!quota.bytes) return ok();
    auto stored = reader.bytes_of(call->owner(), call->caller.name);
    if (!stored) return stored.error();
    return check_bytes(quota, call->caller.name, *stored);
  });
}

void list_quotas(Context& context, Call call) {
  auto list = context.readers.with([&](store::Reader& reader) -> Result<json> {
    auto records = reader.quotas();
    if (!records) return records.error();
    json out = json::array();
    for (auto& [key, quota] : to_quotas(*records)) {
      if (key.first != call->owner()) continue;
      auto shown = quota_json(reader, key.first, key.second, quota);
      if (!shown) return shown;
      out.push_back(std::move(*shown));
    }
    return out;
  });
  if (!list) return refuse(call, list.error());
  answer(call, {{"quotas", std::move(*list)}});
}

void put_quota(Context& context, Call call) {
  std::string user = call->path.at("user");
  if (user == everybody)
    user.clear();
  else if (!base::valid_name(user))
    return refuse(call, base::error("invalid_request", "a quota is of a user, or of '*'"));
  auto quota = parse_quota(call);
  if (!quota) return refuse(call, quota.error());
  context.reactor.post([&context, call = std::move(call), user, quota = *quota](
                           State& state, std::int64_t now) -> Reactor::Answer {
    auto put = [&]() -> Result<> {
      auto text = quota_text(quota);
      // A mistyped name would keep nobody from anything. The service's own user has no row.
      if (context.options.kind == ServiceOptions::Kind::team && !text.empty() && !user.empty() &&
          user != local_user) {
        auto known = state.writer().find_user(user);
        if (!known) return known.error();
        if (!*known) return no_such_user(user);
      }
      // What there is of types goes first: those that are not named have no limit.
      auto before = state.writer().quotas();
      if (!before) return before.error();
      for (auto& record : *before)
        if (record.owner == call->owner() && record.user == user &&
            record.name.starts_with(runs_of_prefix))
          SPELL_TRY(state.writer().delete_quota(record));
      for (auto& [type, amount] : quota.runs_of)
        SPELL_TRY(state.writer().put_quota(
            {call->owner(), user, std::string(runs_of_prefix) + type, amount}));
      for (auto& [name, member] : quota_members) {
        store::QuotaRecord record{call->owner(), user, name, (quota.*member).value_or(0)};
        SPELL_TRY(quota.*member ? state.writer().put_quota(record)
                                : state.writer().delete_quota(record));
      }
      SPELL_TRY(audit(state, now, call, text.empty() ? "quota.rm" : "quota.set",
                      call->path.at("user"), text));
      return state.load_quotas();
    };
    auto done = put();
    return [&context, call, user, quota, done](const Result<>& committed) {
      if (!done) return refuse(call, done.error());
      if (!committed) return refuse(call, committed.error());
      auto shown = context.readers.with(
          [&](store::Reader& reader) { return quota_json(reader, call->owner(), user, quota); });
      if (!shown) return refuse(call, shown.error());
      answer(call, {{"quota", std::move(*shown)}});
    };
  });
}

}  // namespace spell::service
