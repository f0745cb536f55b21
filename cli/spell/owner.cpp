#include "command.hpp"
#include "json_text.hpp"
#include "spell/known_services.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

void show_owner(Output& out, const OwnerInfo& owner) {
  if (out.json()) return out.json_line(json_text("owner", owner));
  if (out.quiet()) return out.line(owner.name);
  Table table;
  table.rows = {{{"Owner", Colour::dim}, {owner.name}},
                {{"Last run", Colour::dim}, {std::to_string(owner.last_run)}},
                {{"Members", Colour::dim}, {join(owner.members, ", ")}}};
  out.table(table);
}

Result<OwnerInfo> find_owner(const Client& client, const std::string& name) {
  auto owners = client.owners().list();
  if (!owners) return owners.error();
  for (const auto& owner : *owners)
    if (owner.name == name) return owner;
  return Error("owner_not_found", "there is no owner '" + name +
                                      "' here that you belong to; spell owner list shows them");
}

Result<int> add_owner(Context& context) {
  Options options("owner add", "[OPTIONS] NAME",
                  "Makes an owner: its runs are counted from 1, and only its members see them, and "
                  "its uploads, projects and machines. Administrators belong to every owner.");
  Words name, members;
  options.words(name, "a NAME", 1, 1)
      .list("-m,--member", members, "USER", "who belongs to it; repeatable");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto made = client->owners().add(name[0], members);
  if (!made) return made.error();
  if (context.out.json() || context.out.quiet()) return show_owner(context.out, *made), 0;
  context.out.status(Mark::done, "Made " + made->name + "; `spell owner use " + made->name +
                                     "` or SPELL_OWNER=" + made->name + " means it");
  return 0;
}

Result<int> list_owner(Context& context) {
  Options options("owner list", "[OPTIONS]", "Lists the owners that you belong to.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto owners = client->owners().list();
  if (!owners) return owners.error();
  if (context.out.json()) return context.out.json_line(json_text("owners", *owners)), 0;
  Table table;
  table.header = {"OWNER", "LAST RUN", "MEMBERS"};
  table.right = {1};
  table.flexible = 2;
  for (const auto& owner : *owners)
    table.rows.push_back(
        {{owner.name}, {std::to_string(owner.last_run)}, {join(owner.members, ", ")}});
  context.out.table(table);
  return 0;
}

Result<int> members(Context& context) {
  Options options("owner members", "[OPTIONS] NAME",
                  "Shows or changes who belongs to an owner. What a user who is taken out has open "
                  "ends at once; his runs go on.");
  Words name, to_add, to_remove;
  options.words(name, "a NAME", 1, 1)
      .list("--add", to_add, "USER", "repeatable")
      .list("--remove", to_remove, "USER", "repeatable");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  if (!to_add.empty() || !to_remove.empty()) {
    auto changed = client->owners().change_members(name[0], to_add, to_remove);
    if (!changed) return changed.error();
    return show_owner(context.out, *changed), 0;
  }
  auto found = find_owner(*client, name[0]);
  if (!found) return found.error();
  return show_owner(context.out, *found), 0;
}

Result<int> use(Context& context) {
  Options options("owner use", "[OPTIONS] NAME",
                  "Makes an owner the one that commands mean at the service you are logged in to. "
                  "SPELL_OWNER=NAME means another for one call.");
  Words name;
  options.words(name, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  std::string address = context.service_address();
  auto services = known_services(context.client_options().spell_dir);
  if (!services) return services.error();
  auto known = address.empty() ? std::nullopt : services->find(address);
  if (!known || known->token.empty())
    return Error("not_logged_in", "there is no login whose owner could be chosen; SPELL_OWNER=" +
                                      name[0] + " means it for one call");
  auto client = context.client();
  if (!client) return client.error();
  auto found = find_owner(*client, name[0]);
  if (!found) return found.error();
  known->owner = name[0];
  if (auto kept = remember_service(*known, services->default_address == known->address,
                                   context.client_options().spell_dir);
      !kept)
    return kept.error();
  if (context.out.json() || context.out.quiet()) return show_owner(context.out, *found), 0;
  context.out.status(Mark::done, "Commands mean the runs of " + name[0] + " from now on");
  return 0;
}

constexpr CommandRow owner_commands[] = {
    {"add", "make an owner", add_owner},
    {"list", "list the owners you belong to", list_owner},
    {"members", "show or change who belongs to one", members},
    {"use", "say which one commands mean", use},
};

}  // namespace

Result<int> owner_command(Context& context) {
  return run_subcommand(context, "owner", "Sees to whose runs there are at a team's service.",
                        owner_commands);
}

}  // namespace spell::cli
