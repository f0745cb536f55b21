#include "command.hpp"
#include "json_text.hpp"
#include "secret_input.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

constexpr std::size_t most_bytes = 64 << 10;

Result<int> set_secret(Context& context) {
  Options options("secret set", "[OPTIONS] NAME",
                  "Sets or replaces a secret: its value comes from standard input (without the "
                  "newline at its end), or is asked for. It is never an argument.");
  Words name;
  options.words(name, "a NAME", 1, 1)
      .notes(
          "Examples:\n  spell secret set HF_TOKEN\n  spell secret set DEPLOY_KEY < id_ed25519\n"
          "  spell run --secret HF_TOKEN \"python3 fetch.py\"\n");
  if (auto done = context.parse(options)) return *done;
  auto value = read_secret(context, "Value of " + name[0] + " (not shown)", most_bytes);
  if (!value) return value.error();
  auto client = context.client();
  if (!client) return client.error();
  auto secret = client->secrets().set(name[0], *value);
  if (!secret) return secret.error();
  if (context.out.json())
    context.out.json_line(json_text("secret", *secret));
  else
    context.out.line(secret->name + (context.out.quiet() ? "" : " is set"));
  return 0;
}

Result<int> list_secret(Context& context) {
  Options options("secret list", "[OPTIONS]", "Lists your secrets, without their values.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto secrets = client->secrets().list();
  if (!secrets) return secrets.error();
  if (context.out.json()) {
    context.out.json_line(json_text("secrets", *secrets));
    return 0;
  }
  Table table;
  table.header = {"NAME", "SET"};
  for (const auto& secret : *secrets)
    table.rows.push_back({{secret.name}, {format_time(secret.created_at)}});
  context.out.table(table);
  return 0;
}

Result<int> remove_secret(Context& context) {
  Options options("secret rm", "[OPTIONS] NAME",
                  "Removes a secret. Runs that have not started and ask for it will fail.");
  Words name;
  options.words(name, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto secret = client->secrets().remove(name[0]);
  if (!secret) return secret.error();
  if (context.out.json())
    context.out.json_line(json_text("secret", *secret));
  else
    context.out.line(secret->name + (context.out.quiet() ? "" : " is removed"));
  return 0;
}

constexpr CommandRow secret_commands[] = {
    {"set", "set or replace one", set_secret},
    {"list", "list their names", list_secret},
    {"rm", "remove one", remove_secret},
};

}  // namespace

Result<int> secret_command(Context& context) {
  return run_subcommand(context, "secret",
                        "Values that your runs may be given as variables (spell run --secret), and "
                        "nobody is shown.",
                        secret_commands);
}

}  // namespace spell::cli
