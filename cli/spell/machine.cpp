#include <chrono>

#include "command.hpp"
#include "json_text.hpp"
#include "machine_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

Result<int> add_machine(Context& context) {
  Options options("machine add", "[OPTIONS] NAME",
                  "Makes a machine that may join, and says what to paste on it. Runs reach it by "
                  "NAME (spell run -m NAME), and by the types that it serves.");
  Words name, serves, allow;
  std::optional<std::string> cpus, memory, gpus, lost_after;
  bool no_cpu = false;
  options.words(name, "a NAME", 1, 1)
      .list("--serves,--machine-type", serves, "TYPE", "a machine type it serves, may be repeated")
      .value("--cpus", cpus, "N", "cores for runs (default: all)")
      .value("--memory", memory, "SIZE", "memory for runs (default: all)")
      .value("--gpu", gpus, "N", "GPUs for runs (default: all)")
      .list("--allow", allow, "USER|PROJECT", "take runs of these only, may be repeated")
      .value("--lost-after", lost_after, "SECONDS",
             "away for so long, its runs count as interrupted (default 600)")
      .flag("--no-cpu", no_cpu, "do not take runs that name no machine type");
  if (auto done = context.parse(options)) return *done;
  auto amounts = parse_amounts(cpus, memory, gpus, "--gpu");
  if (!amounts) return amounts.error();
  auto seconds = parse_lost_after(lost_after);
  if (!seconds) return seconds.error();
  auto client = context.client();
  if (!client) return client.error();
  MachineSpec spec;
  spec.name = name[0];
  spec.serves = serves;
  spec.serves_cpu = !no_cpu;
  spec.offers = *amounts;
  spec.allow = allow;
  spec.lost_after = *seconds;
  auto token = client->machines().add(spec);
  if (!token) return token.error();
  show_join_token(context, *token, "Machine " + token->machine + " may join, once.");
  return 0;
}

Result<int> machine_token(Context& context) {
  Options options("machine get-token", "[OPTIONS] NAME",
                  "Makes another token with which the machine joins. Earlier ones are void, and "
                  "whoever joins takes the place of the worker that is there.");
  Words name;
  options.words(name, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto token = client->machines().get_token(name[0]);
  if (!token) return token.error();
  show_join_token(context, *token, "Machine " + token->machine + " may join, once.");
  return 0;
}

std::string state_of(const MachineInfo& machine) {
  std::string drained = machine.drained ? ", drained" : "";
  if (machine.phase == "launching" || machine.phase == "ending") return machine.phase;
  if (!machine.joined) return "not joined" + drained;
  if (!machine.connected) return "away" + drained;
  if (machine.going_at)
    return machine.runs.empty() && *machine.going_at <= std::chrono::system_clock::now() ? "gone"
                                                                                         : "going";
  return machine.drained ? "drained" : machine.runs.empty() ? "idle" : "busy";
}

std::string used_of(std::int64_t used, std::int64_t offered) {
  return offered == 0 ? "" : std::to_string(used) + "/" + std::to_string(offered);
}

Result<int> list_machine(Context& context) {
  Options options("machine list", "[OPTIONS]", "Lists the machines.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto machines = client->machines().list();
  if (!machines) return machines.error();
  if (context.out.json()) {
    context.out.json_line(json_text("machines", *machines));
    return 0;
  }
  Table table;
  table.header = {"MACHINE", "STATE", "RUNS", "CORES", "GPUS", "MEMORY", "SERVES"};
  table.right = {2, 3, 4, 5};
  table.flexible = 6;
  for (const auto& machine : *machines) {
    Colour colour = machine.connected ? Colour::none : Colour::dim;
    table.rows.push_back(
        {{machine.name, colour},
         {state_of(machine), machine.connected ? Colour::green : colour},
         {std::to_string(machine.runs.size())},
         {used_of(std::min(machine.used.cpus, machine.offered.cpus), machine.offered.cpus)},
         {used_of(machine.used.gpus, machine.offered.gpus)},
         {machine.memory > 0 ? format_size(machine.memory) : ""},
         {join(machine.serves, ", ")}});
  }
  context.out.table(table);
  return 0;
}

void show_machine(Output& out, const MachineInfo& machine) {
  if (out.json()) return out.json_line(json_text("machine", machine));
  if (out.quiet()) return out.line(machine.name);
  Table table;
  auto add = [&](std::string name, std::string text) {
    if (!text.empty()) table.rows.push_back({{std::move(name), Colour::dim}, {std::move(text)}});
  };
  add("Machine", machine.name);
  add("State", state_of(machine));
  if (machine.going_at)
    add("Goes", format_time(*machine.going_at) + ": " + machine.going +
                    (machine.pool.empty() && machine.drained
                         ? "; `spell machine resume " + machine.name + "` brings it back"
                         : ""));
  add("Pool", machine.pool);
  add("Phase", machine.phase);
  add("Is", machine_text(machine));
  add("Offers", amounts_text(machine.offered));
  add("In use", amounts_text(machine.used));
  for (const auto& gpu : machine.gpus)
    add("GPU " + std::to_string(gpu.index), gpu.name + ", " + format_size(gpu.memory));
  std::vector<std::string> runs;
  for (auto run : machine.runs) runs.push_back(std::to_string(run));
  add("Runs", join(runs, ", "));
  add("Allows", join(machine.allow, ", "));
  for (const auto& [name, value] : machine.capabilities) add(name, value);
  add("Worker", machine.version);
  if (machine.joined_at) add("Joined", format_time(*machine.joined_at));
  if (!machine.connected && machine.seen_at) add("Seen", format_time(*machine.seen_at));
  if (machine.lost_after.count() > 0)
    add("Lost after", std::to_string(machine.lost_after.count()) + " s away");
  if (!machine.pool.empty()) add("Launched by", "the pool of " + machine.pool);
  for (const auto& note : machine.notes) add("Note", note);
  out.table(table);
}

Result<int> with_machine(Context& context, const char* name, const char* summary,
                         Result<MachineInfo> (Machines::*what)(const std::string&, CallOptions)
                             const) {
  Options options("machine " + std::string(name), "[OPTIONS] NAME", summary);
  Words words;
  options.words(words, "a NAME", 1, 1);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto machine = (client->machines().*what)(words[0], {});
  if (!machine) return machine.error();
  show_machine(context.out, *machine);
  return 0;
}

Result<int> info_machine(Context& context) {
  return with_machine(context, "info", "Shows a machine.", &Machines::get);
}

Result<int> drain(Context& context) {
  return with_machine(context, "drain", "Gives a machine no new runs; those there go on.",
                      &Machines::drain);
}

Result<int> resume(Context& context) {
  return with_machine(context, "resume",
                      "Gives runs again to a machine that was drained or interrupted.",
                      &Machines::resume);
}

Result<int> interrupt(Context& context) {
  Options options(
      "machine interrupt", "[OPTIONS] NAME",
      "Takes a machine away, as a cloud does with a spot machine: its runs are told, "
      "what they have finished writing is made safe, and they end `interrupted` (those "
      "with auto-resume go on elsewhere). Then it gets no new runs until `spell machine "
      "resume NAME`; one that a pool has made is ended.");
  Words words;
  std::optional<std::string> in;
  options.words(words, "a NAME", 1, 1)
      .value("--in", in, "SECONDS", "until it goes; 0: at once (default 30)");
  if (auto done = context.parse(options)) return *done;
  std::chrono::seconds time(30);
  if (in) {
    auto seconds = parse_int(*in);
    if (!seconds || *seconds < 0 || *seconds > 86'400)
      return usage_error("--in " + shell_quote(*in) + ": give seconds, 0 to 86400");
    time = std::chrono::seconds(*seconds);
  }
  auto client = context.client();
  if (!client) return client.error();
  auto machine = client->machines().interrupt(words[0], time);
  if (!machine) return machine.error();
  show_machine(context.out, *machine);
  return 0;
}

Result<int> rename(Context& context) {
  Options options("machine rename", "[OPTIONS] NAME NEW",
                  "Gives a machine another name; its worker and its runs notice nothing.");
  Words words;
  options.words(words, "a NAME and a NEW one", 2, 2);
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto machine = client->machines().rename(words[0], words[1]);
  if (!machine) return machine.error();
  show_machine(context.out, *machine);
  return 0;
}

Result<int> remove_machine(Context& context) {
  Options options("machine remove", "[OPTIONS] NAME",
                  "Removes a machine: its worker's credential ends at once. With it end the runs "
                  "that are there (interrupted), and those that wait for what no other machine has "
                  "(failed): it asks first where there are any.");
  Words words;
  bool force = false;
  options.words(words, "a NAME", 1, 1).flag("-f,--force", force, "end them without asking");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto machine = client->machines().get(words[0]);
  if (!machine) return machine.error();
  auto removed =
      force ? client->machines().remove_with_runs(words[0]) : client->machines().remove(words[0]);
  if (!removed && removed.error().code() == "machine_in_use" && context.out.terminal().can_ask) {
    std::string why = removed.error().message();
    if (!context.ask(why.substr(0, why.find(';')) + ". Remove it?")) return 1;
    removed = client->machines().remove_with_runs(words[0]);
  }
  if (!removed) return removed.error();
  if (context.out.json())
    context.out.json_line(json_text("removed", machine->name));
  else
    context.out.line(machine->name + (context.out.quiet() ? "" : " has been removed"));
  return 0;
}

constexpr CommandRow machine_commands[] = {
    {"add", "make a machine that may join", add_machine},
    {"list", "list the machines", list_machine},
    {"info", "show a machine", info_machine},
    {"drain", "give it no new runs", drain},
    {"resume", "give it runs again", resume},
    {"interrupt", "take it away, as a cloud does", interrupt},
    {"rename", "give it another name", rename},
    {"remove", "take it away", remove_machine},
    {"get-token", "let it join anew", machine_token},
};

}  // namespace

Result<int> machine_command(Context& context) {
  return run_subcommand(context, "machine", "Sees to the machines that runs run on.",
                        machine_commands);
}

}  // namespace spell::cli
