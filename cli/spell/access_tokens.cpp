#include "command.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

Result<int> create_access_tokens(Context& context) {
  Options options("access-tokens create", "[OPTIONS] NAME",
                  "Makes a token that acts for you, for a script or another program: SPELL_TOKEN. "
                  "It is shown once.");
  Words name;
  std::optional<std::string> days;
  options.words(name, "a NAME", 1, 1)
      .value("--days", days, "N", "it ends by itself after so many days; default: never");
  if (auto done = context.parse(options)) return *done;
  auto number = days ? parse_int(*days) : std::optional<std::int64_t>(0);
  if (!number || *number < (days ? 1 : 0) || *number > 36'500)
    return usage_error("--days is a number from 1 to 36500, not " + shell_quote(*days));
  auto client = context.client();
  if (!client) return client.error();
  auto made = client->tokens().create(name[0], static_cast<int>(*number));
  if (!made) return made.error();
  if (context.out.json()) return context.out.json_line(json_text(*made)), 0;
  context.out.status(Mark::done, "Made the token " + made->token.id + " (" + made->token.name +
                                     "), shown this once:");
  context.out.line(made->secret);
  return 0;
}

Result<int> list_access_tokens(Context& context) {
  Options options("access-tokens list", "[OPTIONS]", "Lists your tokens, logins too.");
  std::optional<std::string> user;
  options.value("-u,--user", user, "NAME", "of this user; for administrators");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto tokens = client->tokens().list(user.value_or(""));
  if (!tokens) return tokens.error();
  if (context.out.json()) return context.out.json_line(json_text("tokens", *tokens)), 0;
  Table table;
  table.header = {"TOKEN", "KIND", "USED", "ENDS", "NAME"};
  table.flexible = 4;
  for (const auto& token : *tokens)
    table.rows.push_back({{token.id},
                          {token.kind},
                          {format_time(token.used_at, "never")},
                          {format_time(token.expires_at, "never")},
                          {token.name}});
  context.out.table(table);
  return 0;
}

Result<int> revoke(Context& context) {
  Options options("access-tokens revoke", "[OPTIONS] TOKENS...",
                  "Ends tokens at once, named as access-tokens list shows them.");
  Words ids;
  options.words(ids, "TOKENS", 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  for (const auto& id : ids) {
    auto token = client->tokens().revoke(id);
    if (!token) return token.error();
    if (context.out.json())
      context.out.json_line(json_text("token", *token));
    else if (context.out.quiet())
      context.out.line(token->id);
    else
      context.out.status(Mark::done, "Revoked " + token->id + " (" + token->name + ")");
  }
  return 0;
}

constexpr CommandRow access_tokens_commands[] = {
    {"create", "make a token for a script or a program", create_access_tokens},
    {"list", "list your tokens and logins", list_access_tokens},
    {"revoke", "end tokens at once", revoke},
};

}  // namespace

Result<int> access_tokens_command(Context& context) {
  return run_subcommand(context, "access-tokens", "Sees to tokens, which act for their user.",
                        access_tokens_commands);
}

}  // namespace spell::cli
