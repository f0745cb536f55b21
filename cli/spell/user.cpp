#include "command.hpp"
#include "json_text.hpp"
#include "secret_input.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

void show_user(Context& context, const UserInfo& user, const std::string& what) {
  if (context.out.json()) return context.out.json_line(json_text("user", user));
  if (context.out.quiet()) return context.out.line(user.name);
  context.out.status(Mark::done, what);
}

/// A password that was made is shown once, to whoever asked for it.
void show_password(Context& context, const NewUser& made, const std::string& what) {
  if (context.out.json()) return context.out.json_line(json_text(made));
  if (context.out.quiet())
    return context.out.line(made.password.empty() ? made.user.name : made.password);
  context.out.status(Mark::done, what);
  if (!made.password.empty())
    context.out.line("Password of " + made.user.name + ", shown this once: " + made.password);
}

Result<int> add_user(Context& context) {
  Options options("user add", "[OPTIONS] NAME",
                  "Makes a user. Without --password-stdin a password is made and shown once.");
  Words name;
  std::optional<std::string> role, owner;
  bool from_stdin = false;
  options.words(name, "a NAME", 1, 1)
      .value("-r,--role", role, "ROLE", "administrator, member (the default) or viewer")
      .value("--owner", owner, "NAME", "whom he belongs to, if not to the team itself")
      .flag("--password-stdin", from_stdin, "the password is the first line of standard input");
  if (auto done = context.parse(options)) return *done;
  auto password = from_stdin ? read_password(context, "", true) : std::string();
  if (!password) return password.error();
  auto client = context.client();
  if (!client) return client.error();
  auto made = client->users().add(name[0], role.value_or("member"), *password, owner.value_or(""));
  if (!made) return made.error();
  show_password(context, *made, "Added " + made->user.name + " as " + made->user.role);
  return 0;
}

Result<int> list_user(Context& context) {
  Options options("user list", "[OPTIONS]", "Lists the users of the service.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto users = client->users().list();
  if (!users) return users.error();
  if (context.out.json()) {
    context.out.json_line(json_text("users", *users));
    return 0;
  }
  Table table;
  table.header = {"USER", "ROLE", "SEEN", "CREATED"};
  for (const auto& user : *users)
    table.rows.push_back({{user.name, user.disabled ? Colour::dim : Colour::none},
                          {user.disabled ? "disabled" : user.role},
                          {format_time(user.seen_at, "never")},
                          {format_time(user.created_at, "never")}});
  context.out.table(table);
  return 0;
}

Result<int> edit_user(Context& context, const std::string& name, const UserChange& change,
                      const std::string& what) {
  auto client = context.client();
  if (!client) return client.error();
  auto user = client->users().edit(name, change);
  if (!user) return user.error();
  show_user(context, *user, what);
  return 0;
}

Result<int> disable(Context& context) {
  Options options(
      "user disable", "[OPTIONS] NAME",
      "Locks a user out: all his tokens end at once, and what he follows ends. His runs "
      "go on.");
  Words name;
  bool undo = false;
  options.words(name, "a NAME", 1, 1).flag("--undo", undo, "let him in again");
  if (auto done = context.parse(options)) return *done;
  return edit_user(
      context, name[0], {.role = {}, .disabled = !undo},
      undo ? name[0] + " may log in again" : "Disabled " + name[0] + "; --undo lets him in again");
}

Result<int> role(Context& context) {
  Options options("user role", "[OPTIONS] NAME ROLE",
                  "Changes what a user may do: administrator (everything), member (besides seeing, "
                  "makes runs and changes his own), viewer (sees).");
  Words words;
  options.words(words, "a NAME and a ROLE", 2, 2);
  if (auto done = context.parse(options)) return *done;
  return edit_user(context, words[0], {.role = words[1], .disabled = {}},
                   words[0] + " is " + words[1] + " now");
}

Result<int> reset(Context& context) {
  Options options("user reset", "[OPTIONS] NAME",
                  "Gives a user who has lost his password another one; his logins end, his access "
                  "tokens stay.\nWhere no administrator is left: --service unix:DIR/spelld.sock on "
                  "the service's own computer.");
  Words name;
  bool from_stdin = false;
  options.words(name, "a NAME", 1, 1)
      .flag("--password-stdin", from_stdin, "the password is the first line of standard input");
  if (auto done = context.parse(options)) return *done;
  auto password = from_stdin ? read_password(context, "", true) : std::string();
  if (!password) return password.error();
  auto client = context.client();
  if (!client) return client.error();
  auto made = client->users().reset(name[0], *password);
  if (!made) return made.error();
  show_password(context, *made, made->user.name + " has another password");
  return 0;
}

constexpr CommandRow user_commands[] = {
    {"add", "make a user", add_user},
    {"list", "list the users", list_user},
    {"disable", "lock a user out; his runs go on", disable},
    {"role", "change what a user may do", role},
    {"reset", "give a user another password", reset},
};

}  // namespace

Result<int> user_command(Context& context) {
  return run_subcommand(context, "user", "Sees to the users of a team's service.", user_commands);
}

}  // namespace spell::cli
