#include <algorithm>
#include <tuple>

#include "command.hpp"
#include "json_text.hpp"
#include "machine_cost.hpp"
#include "machine_query.hpp"
#include "machine_text.hpp"
#include "money.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// The options that say what launches machines for a type.
struct GivenPool {
  std::optional<std::string> pool{}, least{}, most{}, idle{}, launch{}, unused{};
  Words options{};

  void define(Options& all) {
    all.value("--pool", pool, "local|ssh|aws|gcp|PATH|none",
              "what launches and ends its machines: see docs/pools.md")
        .list("--pool-option", options, "NAME=VALUE", "what the pool is told, may be repeated")
        .value("--min-machines", least, "N", "machines that its pool keeps (default 0)")
        .value("--max-machines", most, "N", "machines that its pool launches (default 1)")
        .value("--idle-timeout", idle, "SECONDS",
               "a pool's machine without runs ends after so long (default 1800)")
        .value("--launch-timeout", launch, "SECONDS",
               "a pool's machine that has not joined by then is given up (default 600)")
        .value("--max-unused", unused, "DOLLARS",
               "its pool's machines cost no more without a run in a month (UTC); none: no cap");
  }

  Result<> fill(MachineTypeChange& change) const {
    if (pool) change.pool = *pool == "none" ? "" : *pool;
    if (!options.empty()) change.pool_options.emplace();
    for (const auto& option : options) {
      auto equals = option.find('=');
      if (equals == option.npos || equals == 0)
        return usage_error("--pool-option " + shell_quote(option) + ": give NAME=VALUE");
      (*change.pool_options)[option.substr(0, equals)] = option.substr(equals + 1);
    }
    auto number = [](const std::optional<std::string>& text, const char* option, const char* what,
                     auto& out) -> Result<> {
      if (!text) return ok();
      auto parsed = parse_int(*text);
      if (!parsed || *parsed < 0)
        return usage_error(option + (" " + shell_quote(*text)) + ": give " + what);
      out.emplace(*parsed);
      return ok();
    };
    const char *machines = "a whole number", *seconds = "seconds";
    if (auto read = number(least, "--min-machines", machines, change.min_machines); !read)
      return read;
    if (auto read = number(most, "--max-machines", machines, change.max_machines); !read)
      return read;
    if (auto read = number(idle, "--idle-timeout", seconds, change.idle_timeout); !read)
      return read;
    if (auto read = number(launch, "--launch-timeout", seconds, change.launch_timeout); !read)
      return read;
    change.forget_max_unused = unused && *unused == "none";
    if (!unused || change.forget_max_unused) return ok();
    change.max_unused = parse_dollars(*unused);
    if (change.max_unused && change.max_unused->nano > 0) return ok();
    return usage_error("--max-unused " + shell_quote(*unused) +
                       ": give dollars a month, more than 0, or none for no cap");
  }
};

/// "local, 0 to 2 machines": what launches machines; "": nothing.
std::string pool_text(const MachineTypeInfo& type) {
  if (type.pool.empty()) return "";
  std::string most = count(type.max_machines, "machine");
  return type.pool + ", " +
         (type.min_machines == type.max_machines
              ? most
              : std::to_string(type.min_machines) + " to " + most);
}

/// The options that say what a type is.
struct TypeGiven {
  GivenPool pool{};
  std::optional<std::string> cpus{}, memory{}, gpus{}, lost_after{}, price{}, spot_price{};
  bool spot = false, auto_resume = false, no_auto_resume = false, no_prices = false;

  void define(Options& options) {
    options.value("--cpus", cpus, "N", "cores for each run (0: its share of the machine)")
        .value("--memory", memory, "SIZE", "memory for each run (0: its share of the machine)")
        .value("--gpus,--gpu", gpus, "N", "GPUs for each run (0: one, where there are any)")
        .value("--lost-after", lost_after, "SECONDS",
               "its machines away for so long, their runs are lost (default 600, with --spot 10)")
        .value("--price", price, "DOLLARS", "what an hour of a machine costs, such as 3.06/h")
        .value("--spot-price", spot_price, "DOLLARS", "likewise, of one with --spot")
        .flag("--spot", spot, "its machines may be taken away at any time")
        .flag("--no-prices", no_prices, "takes its prices back: the price list's count again")
        .flag("--default-auto-resume", auto_resume, "interrupted runs go on by themselves")
        .flag("--no-default-auto-resume", no_auto_resume, "they do not");
    pool.define(options);
  }

  Result<MachineTypeChange> change() const {
    auto amounts = parse_amounts(cpus, memory, gpus, "--gpus");
    if (!amounts) return amounts.error();
    auto seconds = parse_lost_after(lost_after);
    if (!seconds) return seconds.error();
    if (auto_resume && no_auto_resume)
      return usage_error("--default-auto-resume and --no-default-auto-resume exclude each other");
    MachineTypeChange change;
    if (cpus) change.cpus = amounts->cpus;
    if (memory) change.memory = amounts->memory;
    if (gpus) change.gpus = amounts->gpus;
    change.lost_after = *seconds;
    for (auto [option, text, to] : {std::tuple("--price", &price, &change.price),
                                    std::tuple("--spot-price", &spot_price, &change.spot_price)}) {
      if (!*text) continue;
      auto amount = parse_hourly(option, **text);
      if (!amount) return amount.error();
      *to = *amount;
    }
    if (no_prices && (price || spot_price))
      return usage_error("--no-prices and --price exclude each other");
    change.forget_prices = no_prices;
    if (spot) change.spot = true;
    if (auto_resume || no_auto_resume) change.default_auto_resume = auto_resume;
    if (auto filled = pool.fill(change); !filled) return filled.error();
    return change;
  }
};

Result<int> show_machine_type(Context& context, const Result<MachineTypeInfo>& type) {
  if (!type) return type.error();
  auto& out = context.out;
  if (out.json()) {
    out.json_line(json_text("machine_type", *type));
  } else if (out.quiet()) {
    out.line(type->name);
  } else {
    std::string gives = amounts_text(type->gives);
    out.line(type->name + " gives a run " + (gives.empty() ? "its share of a machine" : gives));
    if (!type->pool.empty())
      out.line("Its machines are launched when runs want them, by pool " + pool_text(*type));
    else if (type->machines == 0)
      out.line("No machine serves it yet: spell machine add NAME --serves " + type->name);
  }
  return 0;
}

Result<int> add_machine_type(Context& context) {
  Options options("machine-type add", "[OPTIONS] NAME",
                  "Declares a machine type: what each of its runs gets.");
  Words words;
  std::optional<std::string> name;
  TypeGiven given;
  options.words(words, "a NAME", 0, 1).value("--name", name, "NAME", "the same as NAME alone");
  given.define(options);
  if (auto done = context.parse(options)) return *done;
  if (words.size() + (name ? 1 : 0) != 1) return usage_error("machine-type add needs one NAME");
  auto change = given.change();
  if (!change) return change.error();
  auto client = context.client();
  if (!client) return client.error();
  return show_machine_type(context, client->machine_types().add(name ? *name : words[0], *change));
}

Result<int> change_type(Context& context, const std::string& command) {
  Options options(command, "[OPTIONS] NAME",
                  "Changes a machine type: what later runs of it get, and what an hour costs.");
  Words words;
  TypeGiven given;
  options.words(words, "a NAME", 1, 1);
  given.define(options);
  if (auto done = context.parse(options)) return *done;
  auto change = given.change();
  if (!change) return change.error();
  if (options.given().empty())
    return usage_error(
        "nothing to change: give --cpus, --memory, --gpus, --price, --lost-after or an option of "
        "its "
        "pool");
  auto client = context.client();
  if (!client) return client.error();
  return show_machine_type(context, client->machine_types().scale(words[0], *change));
}

Result<int> scale(Context& context) { return change_type(context, "machine-type scale"); }
Result<int> set_machine_type(Context& context) { return change_type(context, "machine-type set"); }

/// "$3.06/h", "$0.918/h (spot; $3.06/h on demand)": what an hour of one of its machines costs.
std::string price_text(const MachineTypeInfo& type) {
  std::string text = format_hourly(type.hourly);
  if (type.spot && type.spot_price && type.price)
    text += " (spot; " + format_hourly(type.price) + " on demand)";
  return text;
}

Result<int> info_machine_type(Context& context) {
  Options options("machine-type info", "[OPTIONS] NAME", "Shows a machine type.");
  Words words;
  options.words(words, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto type = client->machine_types().get(words[0]);
  if (!type) return type.error();
  auto& out = context.out;
  if (out.json()) return out.json_line(json_text("machine_type", *type)), 0;
  if (out.quiet()) return out.line(type->name), 0;
  Table table;
  auto add = [&](std::string name, std::string text) {
    if (!text.empty()) table.rows.push_back({{std::move(name), Colour::dim}, {std::move(text)}});
  };
  std::string gives = amounts_text(type->gives);
  add("Machine type", type->name);
  add("Gives a run", gives.empty() ? "its share of a machine" : gives);
  add("Machines",
      std::to_string(type->connected) + " of " + std::to_string(type->machines) + " connected");
  add("Largest", amounts_text(type->largest));
  add("GPUs", type->gpu + (type->gpu_memory > 0 ? ", " + format_size(type->gpu_memory) : ""));
  add("Spot", type->spot ? "its machines may be taken away at any time" : "");
  std::string price = price_text(*type);
  add("Price", price.empty() ? "not known" : price + ", " + type->price_from);
  if (!type->spot) add("Spot price", format_hourly(type->spot_price));
  add("Pool", pool_text(*type));
  add("Pool says", type->pool_problem);
  if (type->max_unused)
    add("Without a run", format_dollars(type->unused_spent.value_or(Dollars())) + " of at most " +
                             format_dollars(*type->max_unused) + " this month (UTC), " +
                             format_dollars(type->unused_reserved.value_or(Dollars())) +
                             " reserved");
  out.table(table);
  return 0;
}

/// The best first, each with its price and what speaks for it.
int show_ranked(Output& out, const std::vector<RankedMachineType>& types) {
  if (out.json()) return out.json_line(json_text("machine_types", types)), 0;
  Table table;
  table.header = {"TYPE", "PRICE", "WHY"};
  table.right = {1};
  table.flexible = 2;
  for (const auto& type : types)
    table.rows.push_back({{type.name}, {format_hourly(type.hourly)}, {type.reason}});
  out.table(table);
  return 0;
}

Result<int> show_query(Context& context, const Client& client, const MachineQuery& query,
                       bool explain) {
  if (explain) {
    auto selection = client.machine_types().explain(query);
    if (!selection) return selection.error();
    show_selection(context.out, *selection);
    return selection->fit.empty() ? 1 : 0;
  }
  auto found = client.select(query);
  if (!found) return found.error();
  return show_ranked(context.out, *found);
}

int show_types(Output& out, const std::vector<MachineTypeInfo>& types) {
  if (out.json()) return out.json_line(json_text("machine_types", types)), 0;
  Table table;
  table.header = {"TYPE", "MACHINES", "CONNECTED", "PRICE", "GIVES"};
  table.right = {1, 2, 3};
  table.flexible = 4;
  bool pools = std::any_of(types.begin(), types.end(),
                           [](const MachineTypeInfo& type) { return !type.pool.empty(); });
  if (pools) table.header.push_back("POOL");
  for (const auto& type : types) {
    std::string gives = amounts_text(type.gives);
    table.rows.push_back({{type.name},
                          {std::to_string(type.machines)},
                          {std::to_string(type.connected)},
                          {format_hourly(type.hourly)},
                          {gives.empty() ? "a share" : gives}});
    if (pools) table.rows.back().push_back({pool_text(type)});
  }
  out.table(table);
  for (const auto& type : types)
    if (!type.pool_problem.empty()) out.warn(type.name + ": the pool says: " + type.pool_problem);
  return 0;
}

Result<int> list_types(Context& context, const std::string& name) {
  Options options(name, "[OPTIONS]",
                  "Lists the machine types and their prices; with an option that says what a run "
                  "needs, those that fit, the best first.");
  MachineQueryOptions needs;
  bool explain = false;
  needs.define(options);
  options.flag("--explain", explain, "those that do not fit, too, and why");
  options.notes(
      "spell run takes these options, too, where it is given no type: then it chooses the best.\n");
  if (auto done = context.parse(options)) return *done;
  auto query = needs.query();
  if (!query) return query.error();
  auto client = context.client();
  if (!client) return client.error();
  if (*query || explain)
    return show_query(context, *client, query->value_or(MachineQuery()), explain);
  auto types = client->machine_types().list();
  if (!types) return types.error();
  return show_types(context.out, *types);
}

Result<int> compare(Context& context) { return compare_machines(context, "machine-type compare"); }

Result<int> list_machine_type(Context& context) { return list_types(context, "machine-type list"); }

Result<int> remove_machine_type(Context& context) {
  Options options("machine-type delete", "[OPTIONS] NAME",
                  "Takes back the declaration of a machine type. Machines go on serving its name.");
  Words words;
  options.words(words, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto removed = client->machine_types().remove(words[0]);
  if (!removed) return removed.error();
  if (context.out.json())
    context.out.json_line(json_text("removed", words[0]));
  else
    context.out.line(words[0] + (context.out.quiet() ? "" : " is not declared any more"));
  return 0;
}

Result<int> type_token(Context& context) {
  Options options("machine-type get-token", "[OPTIONS] NAME",
                  "Makes a token with which a machine joins under its own name and serves NAME.");
  Words words;
  options.words(words, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto token = client->machine_types().get_token(words[0]);
  if (!token) return token.error();
  show_join_token(context, *token, "A machine that serves " + words[0] + " may join, once.");
  return 0;
}

constexpr CommandRow machine_type_commands[] = {
    {"add", "declare a machine type", add_machine_type},
    {"list", "list the machine types", list_machine_type},
    {"info", "show one", info_machine_type},
    {"set", "change one, its price too", set_machine_type},
    {"prices", "show prices, or load a price list", machine_prices},
    {"compare", "when a machine of your own is cheaper", compare},
    {"scale", "change what later runs get", scale},
    {"delete", "take a declaration back", remove_machine_type},
    {"get-token", "let a machine join that serves it", type_token},
};

}  // namespace

Result<int> machine_type_command(Context& context) {
  return run_subcommand(context, "machine-type", "Sees to the types of machines.",
                        machine_type_commands);
}

Result<int> cluster_command(Context& context) {
  return run_subcommand(context, "cluster", "The old word for machine-type.",
                        machine_type_commands);
}

Result<int> machine_types_command(Context& context) {
  auto& words = context.arguments();
  if (words.empty() || words[0] != "compare") return list_types(context, "machine-types");
  Context inner(context.out, Words(words.begin() + 1, words.end()), context.inspector);
  return compare_machines(inner, "machine-types compare");
}

}  // namespace spell::cli
