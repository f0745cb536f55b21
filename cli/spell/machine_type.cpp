#include <algorithm>

#include "command.hpp"
#include "json_text.hpp"
#include "machine_query.hpp"
#include "machine_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// The options that say what launches machines for a type.
struct GivenPool {
  std::optional<std::string> pool{}, least{}, most{}, idle{}, launch{};
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
               "a pool's machine that has not joined by then is given up (default 600)");
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
    return number(launch, "--launch-timeout", seconds, change.launch_timeout);
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
struct Given {
  GivenPool pool{};
  std::optional<std::string> cpus{}, memory{}, gpus{}, lost_after{};
  bool spot = false, auto_resume = false, no_auto_resume = false;

  void define(Options& options) {
    options.value("--cpus", cpus, "N", "cores for each run (0: its share of the machine)")
        .value("--memory", memory, "SIZE", "memory for each run (0: its share of the machine)")
        .value("--gpus,--gpu", gpus, "N", "GPUs for each run (0: one, where there are any)")
        .value("--lost-after", lost_after, "SECONDS",
               "its machines away for so long, their runs count as interrupted (default 600, with "
               "--spot 10)")
        .flag("--spot", spot, "its machines may be taken away at any time")
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
    if (spot) change.spot = true;
    if (auto_resume || no_auto_resume) change.default_auto_resume = auto_resume;
    if (auto filled = pool.fill(change); !filled) return filled.error();
    return change;
  }
};

Result<int> show(Context& context, const Result<MachineTypeInfo>& type) {
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

Result<int> add(Context& context) {
  Options options("machine-type add", "[OPTIONS] NAME",
                  "Declares a machine type: what each of its runs gets.");
  Words words;
  std::optional<std::string> name;
  Given given;
  options.words(words, "a NAME", 0, 1).value("--name", name, "NAME", "the same as NAME alone");
  given.define(options);
  if (auto done = context.parse(options)) return *done;
  if (words.size() + (name ? 1 : 0) != 1) return usage_error("machine-type add needs one NAME");
  auto change = given.change();
  if (!change) return change.error();
  auto client = context.client();
  if (!client) return client.error();
  return show(context, client->machine_types().add(name ? *name : words[0], *change));
}

Result<int> scale(Context& context) {
  Options options("machine-type scale", "[OPTIONS] NAME",
                  "Changes what later runs of a machine type get.");
  Words words;
  Given given;
  options.words(words, "a NAME", 1, 1);
  given.define(options);
  if (auto done = context.parse(options)) return *done;
  auto change = given.change();
  if (!change) return change.error();
  if (options.given().empty())
    return usage_error(
        "nothing to change: give --cpus, --memory, --gpus, --lost-after or an option of its pool");
  auto client = context.client();
  if (!client) return client.error();
  return show(context, client->machine_types().scale(words[0], *change));
}

/// The best first, each with what speaks for it.
int show_ranked(Output& out, const std::vector<RankedMachineType>& types) {
  if (out.json()) return out.json_line(json_text("machine_types", types)), 0;
  Table table;
  table.header = {"TYPE", "WHY"};
  table.flexible = 1;
  for (const auto& type : types) table.rows.push_back({{type.name}, {type.reason}});
  out.table(table);
  return 0;
}

Result<int> list_types(Context& context, const std::string& name) {
  Options options(name, "[OPTIONS]",
                  "Lists the machine types; with an option that says what a run needs, those that "
                  "fit, the best first.");
  MachineQueryOptions needs;
  needs.define(options);
  if (auto done = context.parse(options)) return *done;
  auto query = needs.query();
  if (!query) return query.error();
  auto client = context.client();
  if (!client) return client.error();
  if (*query) {
    auto found = client->select(**query);
    if (!found) return found.error();
    return show_ranked(context.out, *found);
  }
  auto types = client->machine_types().list();
  if (!types) return types.error();
  if (context.out.json()) {
    context.out.json_line(json_text("machine_types", *types));
    return 0;
  }
  Table table;
  table.header = {"TYPE", "MACHINES", "CONNECTED", "GIVES"};
  table.right = {1, 2};
  table.flexible = 3;
  bool pools = std::any_of(types->begin(), types->end(),
                           [](const MachineTypeInfo& type) { return !type.pool.empty(); });
  if (pools) table.header.push_back("POOL");
  for (const auto& type : *types) {
    std::string gives = amounts_text(type.gives);
    table.rows.push_back({{type.name},
                          {std::to_string(type.machines)},
                          {std::to_string(type.connected)},
                          {gives.empty() ? "a share" : gives}});
    if (pools) table.rows.back().push_back({pool_text(type)});
  }
  context.out.table(table);
  for (const auto& type : *types)
    if (!type.pool_problem.empty())
      context.out.warn(type.name + ": the pool says: " + type.pool_problem);
  return 0;
}

Result<int> list(Context& context) { return list_types(context, "machine-type list"); }

Result<int> remove(Context& context) {
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

Result<int> get_token(Context& context) {
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

constexpr CommandRow table[] = {
    {"add", "declare a machine type", add},
    {"list", "list the machine types", list},
    {"scale", "change what later runs get", scale},
    {"delete", "take a declaration back", remove},
    {"get-token", "let a machine join that serves it", get_token},
};

}  // namespace

Result<int> machine_type_command(Context& context) {
  return run_subcommand(context, "machine-type", "Sees to the types of machines.", table);
}

Result<int> cluster_command(Context& context) {
  return run_subcommand(context, "cluster", "The old word for machine-type.", table);
}

Result<int> machine_types_command(Context& context) { return list_types(context, "machine-types"); }

}  // namespace spell::cli
