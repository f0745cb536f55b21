#include "command.hpp"
#include "json_text.hpp"
#include "money.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

struct Whose {
  std::optional<std::string> project{}, user{}, workflow{};

  void add_to(Options& options) {
    options.value("-p,--project", project, "NAME", "of the runs of a project")
        .value("--user", user, "NAME", "of the runs that a user makes")
        .value("--workflow", workflow, "ID", "of the runs of a workflow");
  }
  /// Kind and name.
  Result<std::pair<std::string, std::string>> get(const std::string& command) const {
    int given = (project ? 1 : 0) + (user ? 1 : 0) + (workflow ? 1 : 0);
    if (given != 1)
      return usage_error("give one of --project, --user and --workflow (see spell budget " +
                         command + " --help)");
    if (project) return std::pair<std::string, std::string>("project", *project);
    if (user) return std::pair<std::string, std::string>("user", *user);
    return std::pair<std::string, std::string>("workflow", *workflow);
  }
};

std::string size_of(const BudgetInfo& budget) {
  return format_dollars(budget.amount) + (budget.monthly ? " a month" : "");
}

Dollars left_of(const BudgetInfo& budget) {
  return Dollars::nanos(
      std::max<std::int64_t>(0, budget.amount.nano - budget.spent.nano - budget.reserved.nano));
}

Result<int> show_budget(Context& context, const BudgetInfo& budget, const std::string& text) {
  if (context.out.json())
    context.out.json_line(json_text("budget", budget));
  else
    context.out.line(context.out.quiet() ? budget.kind + " " + budget.name : text);
  return 0;
}

Result<int> list_budget(Context& context) {
  Options options("budget list", "[OPTIONS]",
                  "Lists what projects, users and workflows may cost at most, and what they have "
                  "cost. RESERVED is what runs that go on may cost yet; those that end give back "
                  "what they did not use.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto budgets = client->budgets().list();
  if (!budgets) return budgets.error();
  if (context.out.json()) {
    context.out.json_line(json_text("budgets", *budgets));
    return 0;
  }
  if (budgets->empty() && !context.out.quiet()) {
    context.out.line("There are no budgets (spell budget set --help).");
    return 0;
  }
  Table table;
  table.header = {"BUDGET OF", "AMOUNT", "SPENT", "RESERVED", "LEFT"};
  table.right = {1, 2, 3, 4};
  for (const auto& budget : *budgets)
    table.rows.push_back({{budget.kind + " " + budget.name},
                          {size_of(budget)},
                          {format_dollars(budget.spent)},
                          {format_dollars(budget.reserved)},
                          {format_dollars(left_of(budget))}});
  context.out.table(table);
  return 0;
}

Result<int> set_budget(Context& context) {
  Options options("budget set", "[OPTIONS] DOLLARS",
                  "Says what a project, a user or a workflow may cost at most. At 80 % and 95 % "
                  "its runs' logs and the audit say so; when it is used up its runs are stopped, "
                  "with their files saved, and new ones are refused.");
  Words words;
  Whose whose;
  std::optional<std::string> per;
  options.words(words, "DOLLARS", 1, 1);
  whose.add_to(options);
  options.value("--per", per, "month", "so much each month (UTC), in place of for all time")
      .notes(
          "Examples:\n  spell budget set --project thesis 500\n  spell budget set --user ada 200 "
          "--per month\n");
  if (auto done = context.parse(options)) return *done;
  auto named = whose.get("set");
  if (!named) return named.error();
  auto amount = parse_dollars(words[0]);
  if (!amount)
    return usage_error(shell_quote(words[0]) + ": give an amount of dollars, such as 20 or 0.50");
  if (per && *per != "month")
    return usage_error("--per " + shell_quote(*per) + ": give month, or nothing for all time");
  auto client = context.client();
  if (!client) return client.error();
  auto budget = client->budgets().set(named->first, named->second, *amount, per.has_value());
  if (!budget) return budget.error();
  return show_budget(context, *budget,
                     "Budget of " + budget->kind + " " + budget->name + ": " + size_of(*budget) +
                         ", " + format_dollars(budget->spent) + " spent" +
                         (budget->reserved.nano > 0 ? ", " + format_dollars(budget->reserved) +
                                                          " reserved for runs that go on"
                                                    : ""));
}

Result<int> remove_budget(Context& context) {
  Options options("budget rm", "[OPTIONS]",
                  "Takes a budget away: its runs may cost what they will.");
  Whose whose;
  whose.add_to(options);
  if (auto done = context.parse(options)) return *done;
  auto named = whose.get("rm");
  if (!named) return named.error();
  auto client = context.client();
  if (!client) return client.error();
  auto budget = client->budgets().remove(named->first, named->second);
  if (!budget) return budget.error();
  return show_budget(context, *budget,
                     "The budget of " + budget->kind + " " + budget->name + " (" +
                         size_of(*budget) + ") is removed.");
}

constexpr CommandRow budget_commands[] = {
    {"set", "say what somebody's runs may cost", set_budget},
    {"list", "list what they may and do cost", list_budget},
    {"rm", "take a budget away", remove_budget},
};

}  // namespace

Result<int> budget_command(Context& context) {
  return run_subcommand(context, "budget", "What projects, users and workflows may cost at most.",
                        budget_commands);
}

}  // namespace spell::cli
