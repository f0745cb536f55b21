// Owners: whose runs there are, and which users belong to them.
#include <algorithm>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"
#include "service/people.hpp"
#include "service/resource_path.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

constexpr std::size_t most_names = 1000;  // in one request

/// Reads from a transaction as well as from a connection of its own.
Result<std::vector<OwnerInfo>> infos_of(store::Reader& reader, const Context& context) {
  auto owners = reader.owners();
  if (!owners) return owners.error();
  auto members = reader.members();
  if (!members) return members.error();
  owners->emplace(context.options.owner, 0);
  std::vector<OwnerInfo> out;
  for (auto& [name, last_run] : *owners) {
    OwnerInfo info{name, name == context.options.owner, last_run, {}};
    std::string stored = stored_owner(context, name);
    for (auto& member : *members)
      if (member.owner == stored) info.members.push_back(member.user);
    out.push_back(std::move(info));
  }
  return out;
}

Result<json> owner_json(State& state, const Context& context, const std::string& name) {
  auto infos = infos_of(state.writer(), context);
  if (!infos) return infos.error();
  auto found = std::find_if(infos->begin(), infos->end(), [&](auto& i) { return i.name == name; });
  return json{{"owner", *found}};
}

Result<std::vector<std::string>> user_names(const json& body, const char* field) {
  std::vector<std::string> out;
  if (!body.contains(field)) return out;
  auto read = [](const json& j, std::string& name) { return model::read_name(j, name); };
  if (auto problem = model::read_list(body[field], out, most_names, read))
    return std::move(problem).within(field).error("invalid_request");
  return out;
}

}  // namespace

std::string stored_owner(const Context& context, const std::string& owner) {
  return owner == context.options.owner ? std::string() : owner;
}

Error no_such_owner(const Caller& caller, const std::string& owner) {
  std::string yours = caller.owners ? base::join(*caller.owners, ", ") : "";
  return base::error("owner_not_found", "there is no owner '" + owner +
                                            "' here that you belong to" +
                                            (yours.empty() ? "" : "; there is: " + yours));
}

void list_owners(Context& context, Call call) {
  auto infos =
      context.readers.with([&](store::Reader& reader) { return infos_of(reader, context); });
  if (!infos) return refuse(call, infos.error());
  json list = json::array();
  for (auto& info : *infos)
    if (call->caller.belongs_to(info.name)) list.push_back(info);
  answer(call, {{"owners", std::move(list)}});
}

void add_owner(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  std::string name;
  for (auto& [field, value] : body->items()) {
    if (field == "members") continue;
    if (field != "name")
      return refuse(call, base::error("invalid_request", "'" + field + "' is not a known field"));
    if (auto problem = model::read_name(value, name))
      return refuse(call, std::move(problem).within("name").error("invalid_request"));
  }
  if (name.empty()) return refuse(call, base::error("invalid_request", "'name' is missing"));
  auto members = user_names(*body, "members");
  if (!members) return refuse(call, members.error());
  change_people(
      context, call, 201,
      [&context, call, name, members = *members](State& state, std::int64_t now) -> Result<json> {
        auto owners = state.writer().owners();
        if (!owners) return owners.error();
        if (owners->contains(name) || name == context.options.owner || name == public_owner)
          return base::error("owner_exists", "there is an owner '" + name + "' already");
        for (auto& member : members)
          if (auto user = user_of(state, member); !user) return user.error();
        SPELL_TRY(state.writer().set_last_number(name, 0));
        for (auto& member : members) SPELL_TRY(state.writer().put_member({name, member}));
        SPELL_TRY(audit(state, now, call, "owner.add", name, base::join(members, ", ")));
        return owner_json(state, context, name);
      });
}

void change_members(Context& context, Call call) {
  if (auto team = need_team(context); !team) return refuse(call, team.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  for (auto& [field, value] : body->items())
    if (field != "add" && field != "remove")
      return refuse(call, base::error("invalid_request", "'" + field + "' is not a known field"));
  auto add = user_names(*body, "add");
  if (!add) return refuse(call, add.error());
  auto remove = user_names(*body, "remove");
  if (!remove) return refuse(call, remove.error());
  // Who takes himself out still gets the answer.
  if (std::find(remove->begin(), remove->end(), call->caller.name) != remove->end())
    call->reply.belongs_to("");
  change_people(context, call, 200,
                [&context, call, add = *add, remove = *remove](State& state,
                                                               std::int64_t now) -> Result<json> {
                  std::string owner = call->owner(), stored = stored_owner(context, owner);
                  auto members = state.writer().members();
                  if (!members) return members.error();
                  std::set<std::pair<std::string, std::string>> after;
                  for (auto& member : *members) after.emplace(member.owner, member.user);
                  for (auto& name : add) after.emplace(stored, name);
                  for (auto& name : remove) after.erase({stored, name});
                  // All is looked at before anything is changed.
                  for (auto* names : {&add, &remove})
                    for (auto& name : *names)
                      if (auto user = user_of(state, name); !user) return user.error();
                  for (auto& name : remove)
                    if (std::none_of(after.begin(), after.end(),
                                     [&](auto& member) { return member.second == name; }))
                      return base::error("last_owner", name + " belongs to no other owner than " +
                                                           owner + "; `spell user disable " + name +
                                                           "` locks him out");
                  for (auto& name : add) {
                    SPELL_TRY(state.writer().put_member({stored, name}));
                    SPELL_TRY(audit(state, now, call, "owner.add-member", owner, name));
                  }
                  for (auto& name : remove) {
                    SPELL_TRY(state.writer().delete_member({stored, name}));
                    SPELL_TRY(audit(state, now, call, "owner.remove-member", owner, name));
                  }
                  return owner_json(state, context, owner);
                });
}

}  // namespace spell::service
