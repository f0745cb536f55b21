#include "command.hpp"
#include "env_export.hpp"
#include "json_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

constexpr std::size_t shown_env = 12;

std::string used_by(const EnvironmentInfo& layer) {
  return layer.runs.empty() ? "" : "run " + join_numbers(layer.runs);
}

Result<int> list_env(Context& context) {
  Options options("env list", "[OPTIONS]",
                  "Lists the environments that are kept, the most recently used first.");
  bool whole = false;
  options.flag("--no-trunc", whole, "show names and what was asked for in full");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto layers = client->environments().list();
  if (!layers) return layers.error();
  if (context.out.json()) {
    context.out.json_line(json_text("environments", *layers));
    return 0;
  }
  if (context.out.quiet()) {
    for (const auto& layer : *layers) context.out.line(layer.name);
    return 0;
  }
  Table table;
  table.header = {"NAME", "METHOD", "MADE OF", "SIZE", "USED", "STATE"};
  for (const auto& layer : *layers) {
    std::string made_of = layer.made_of;
    if (!whole && made_of.size() > 48) {
      std::size_t end = 47;
      while (end > 0 && (static_cast<unsigned char>(made_of[end]) & 0xC0) == 0x80) --end;
      made_of = made_of.substr(0, end) + "…";
    }
    table.rows.push_back({{whole ? layer.name : layer.name.substr(0, shown_env)},
                          {layer.method},
                          {made_of},
                          {format_size(layer.size)},
                          {format_time(layer.used_at)},
                          {layer.runs.empty() ? layer.state : "in use"}});
  }
  context.out.table(table);
  return 0;
}

Result<int> info_env(Context& context) {
  Options options("env info", "[OPTIONS] NAME",
                  "Shows what an environment is made of. NAME may be the beginning of a name.");
  Words name;
  options.words(name, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto layer = client->environments().get(name[0]);
  if (!layer) return layer.error();
  if (context.out.json()) {
    context.out.json_line(json_text("environment", *layer));
    return 0;
  }
  if (context.out.quiet()) return context.out.line(layer->name), 0;
  Table table;
  auto add = [&](std::string what, std::string text) {
    if (!text.empty()) table.rows.push_back({{std::move(what), Colour::dim}, {std::move(text)}});
  };
  add("Environment", layer->name);
  add("Method", layer->method);
  add("Made of", layer->made_of);
  add("Base", layer->base);
  add("State", layer->state);
  add("In use by", used_by(*layer));
  add("Size", count(layer->files, "file") + ", " + format_size(layer->size));
  add("Built", format_time(layer->created_at));
  add("Used", format_time(layer->used_at));
  for (const auto& package : layer->packages) add("Package", package);
  context.out.table(table, false);
  return 0;
}

Result<int> remove_env(Context& context) {
  Options options("env rm", "[OPTIONS] NAMES...",
                  "Removes environments: a run that asks for one has it built anew. One that is in "
                  "use stays. A NAME may be the beginning of a name.");
  Words names;
  options.words(names, "NAMES", 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  for (const auto& name : names) {
    auto layer = client->environments().remove(name);
    if (!layer) return layer.error();
    if (context.out.json())
      context.out.json_line(json_text("environment", *layer));
    else
      context.out.line(context.out.quiet() ? layer->name
                                           : layer->name.substr(0, shown_env) + " is removed");
  }
  return 0;
}

Result<int> write_out(Context& context) {
  Options options(
      "env export", "[OPTIONS] RUN",
      "Prints what makes the environment of a run again, with the exact versions that it "
      "was given, as a spell.toml.");
  Words id;
  options.words(id, "a RUN", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto run = context.run(id[0]);
  if (!run) return run.error();
  auto info = run->info();
  if (!info) return info.error();
  auto environment = export_environment(*info);
  if (!environment) return environment.error();
  if (context.out.json())
    context.out.json_line(json_text("environment", *environment));
  else
    for (const auto& line : toml_lines(*environment)) context.out.line(line);
  return 0;
}

constexpr CommandRow env_commands[] = {
    {"list", "list them", list_env},
    {"info", "show what one is made of", info_env},
    {"rm", "remove some", remove_env},
    {"export", "print what makes a run's again", write_out},
};

}  // namespace

Result<int> env_command(Context& context) {
  return run_subcommand(context, "env",
                        "Environments: images, packages and setups of runs, built once; those that "
                        "ask for the same share them.",
                        env_commands);
}

}  // namespace spell::cli
