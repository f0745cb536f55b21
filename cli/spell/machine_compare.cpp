// spell machine-types compare: after how many hours a machine of one's own is cheaper.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "command.hpp"
#include "json_text.hpp"
#include "machine_cost.hpp"
#include "money.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// "1.5", "0,5" is none. Not negative.
std::optional<double> parse_number(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789.") != text.npos) return {};
  char* end = nullptr;
  double number = std::strtod(text.c_str(), &end);
  if (end != text.c_str() + text.size() || !std::isfinite(number)) return {};
  return number;
}

struct ComparisonGiven {
  std::optional<std::string> purchase{}, years{}, power{}, electricity{}, share{}, throughput{};

  void define(Options& options) {
    options.value("--purchase", purchase, "DOLLARS", "what MINE cost, or would")
        .value("--years", years, "N", "for how long it is used")
        .value("--power", power, "WATTS", "what it draws in use, such as 450W or 1.2kW")
        .value("--electricity", electricity, "DOLLARS", "what a kilowatt-hour costs")
        .value("--share", share, "PERCENT", "of the time that it is used, such as 33%")
        .value("--throughput", throughput, "N",
               "how fast it trains, of one V100 1; default: as the catalogue says of its GPUs");
  }

  Result<> number(const std::optional<std::string>& text, const char* option, const char* unit,
                  double most, double& out) const {
    if (!text) return ok();
    std::string plain = *text;
    double scale = 1;
    if (std::string_view(unit) == "W" && plain.ends_with("kW")) {
      plain.resize(plain.size() - 2);
      scale = 1000;
    } else if (*unit && plain.ends_with(unit)) {
      plain.resize(plain.size() - std::string_view(unit).size());
    }
    auto value = parse_number(plain);
    if (!value || *value * scale > most)
      return usage_error(option + (" " + shell_quote(*text)) + ": give a number from 0 to " +
                         std::to_string(static_cast<std::int64_t>(most)));
    out = *value * scale;
    return ok();
  }

  Result<> fill(OwnMachine& own) const {
    for (auto [text, option, to] : {std::tuple(&purchase, "--purchase", &own.purchase),
                                    std::tuple(&electricity, "--electricity", &own.electricity)}) {
      if (!*text) continue;
      auto amount = parse_dollars(**text);
      if (!amount || amount->nano == 0)
        return usage_error(option + (" " + shell_quote(**text)) +
                           ": give an amount of dollars above 0, such as 2000 or 0.30");
      *to = *amount;
    }
    if (auto read = number(years, "--years", "", 100, own.years); !read) return read;
    if (auto read = number(power, "--power", "W", 1e6, own.watts); !read) return read;
    if (auto read = number(throughput, "--throughput", "", 1e6, own.throughput); !read) return read;
    double percent = 0;
    if (auto read = number(share, "--share", "%", 100, percent); !read) return read;
    own.share = percent / 100;
    if (share && percent == 0)
      return usage_error("--share 0: a machine that is never used pays for nothing");
    if (power.has_value() != electricity.has_value())
      return usage_error(power ? "--power needs --electricity, what a kilowatt-hour costs"
                               : "--electricity needs --power, what the machine draws");
    return ok();
  }
};

/// What is known of a name: of a type there is, else of the catalogue's. What the catalogue says of
/// the price goes with how fast that is which has it.
struct Known {
  std::string name{};
  std::optional<Dollars> price{}, spot_price{};
  double throughput = 0;
  bool declared = false;
};

std::optional<Known> known_of(const std::vector<MachineTypeInfo>& types,
                              const std::vector<CatalogueEntry>& catalogue, const std::string& name,
                              bool with_price) {
  std::optional<Known> known;
  for (const auto& type : types)
    if (lower(type.name) == lower(name))
      known = {type.name, type.price, type.spot_price, type.throughput, type.declared};
  for (const auto& entry : catalogue) {
    if (known && known->price && known->throughput > 0) break;
    if (lower(entry.name) != lower(name) && lower(entry.instance) != lower(name)) continue;
    if (!known) known = {entry.name, {}, {}, 0, false};
    if (with_price && !known->price && !known->spot_price && (entry.price || entry.spot_price)) {
      known->price = entry.price, known->spot_price = entry.spot_price;
      known->throughput = entry.throughput;
    }
    if (known->throughput == 0) known->throughput = entry.throughput;
    break;
  }
  return known;
}

/// How fast a machine is: as types are that have its GPUs, and as many; 0: none says.
double throughput_of(const MachineInfo& machine, const std::vector<MachineTypeInfo>& types) {
  if (machine.gpus.empty()) return 0;
  const auto& gpu = machine.gpus.front();
  for (const auto& type : types)
    if (type.throughput > 0 && type.largest.gpus == machine.offered.gpus && type.gpu == gpu.name &&
        type.gpu_memory == gpu.memory)
      return type.throughput;
  return 0;
}

constexpr double no_hours = 1e9;  // more than a hundred thousand years

/// "2,723"
std::string hours_text(double hours) {
  if (!(hours < no_hours)) return "never";
  std::string text = std::to_string(std::llround(hours));
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), ",");
  return text + " h";
}

std::string days_text(const std::optional<double>& days) {
  if (!days) return "";
  if (!(*days < no_hours)) return "never";
  return *days < 365 ? count(std::llround(*days), "day")
                     : std::to_string(std::llround(*days / 36.525) / 10) + "." +
                           std::to_string(std::llround(*days / 36.525) % 10) + " years";
}

std::string number_text(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.3g", number);
  return text;
}

}  // namespace

Result<int> compare_machines(Context& context, const std::string& command) {
  Options options(
      command, "[OPTIONS] TYPE MINE",
      "Shows after how many hours of use a machine of your own is cheaper than the same "
      "work on a machine type.");
  Words words;
  options.words(words, "TYPE and MINE", 2, 2);
  ComparisonGiven given;
  given.define(options);
  options.notes(
      "MINE is a machine, a type, a name of the catalogue or any other. Hours = purchase / (price "
      "x "
      "throughput of MINE / throughput of TYPE - power).\n\n"
      "Example: spell machine-types compare V100 mybox --purchase 2000 --throughput 0.8\n");
  if (auto done = context.parse(options)) return *done;
  OwnMachine own;
  if (auto filled = given.fill(own); !filled) return filled.error();
  if (own.purchase.nano == 0)
    return usage_error("--purchase is missing: what " + words[1] + " cost, such as 2000");
  auto client = context.client();
  if (!client) return client.error();
  auto types = client->machine_types().list();
  if (!types) return types.error();
  auto catalogue = client->machine_types().catalogue();
  if (!catalogue) return catalogue.error();

  auto type = known_of(*types, *catalogue, words[0], true);
  if (!type) {
    std::vector<std::string> names;
    for (const auto& entry : *catalogue) names.push_back(entry.name);
    for (const auto& each : *types) names.push_back(each.name);
    std::string near = nearest(words[0], names);
    return Error("machine_type_not_found",
                 "neither a machine type nor the catalogue is called '" + words[0] + "'" +
                     (near.empty() ? "; spell machine-type prices shows the catalogue"
                                   : "; did you mean " + near + "?"));
  }
  if (!type->price && !type->spot_price)
    return Error("price_not_known",
                 "what an hour of " + type->name + " costs is not known: " +
                     (type->declared ? "spell machine-type set " + type->name + " --price says it"
                                     : "a price list with its name says it, see "
                                       "spell machine-type prices --help"));
  auto mine = known_of(*types, *catalogue, words[1], false);
  if (!mine) {
    auto machine = client->machines().get(words[1]);
    if (!machine && machine.error().code() != "machine_not_found") return machine.error();
    if (machine) mine = {machine->name, {}, {}, throughput_of(*machine, *types), false};
  }
  if (own.throughput == 0 && mine) own.throughput = mine->throughput;

  Comparison comparison;
  comparison.type = type->name;
  comparison.mine = mine ? mine->name : words[1];
  comparison.own = own;
  comparison.type_throughput = type->throughput;
  for (auto [kind, price] :
       {std::pair("on demand", &type->price), std::pair("spot", &type->spot_price)}) {
    if (!*price || (*price)->nano == 0) continue;
    auto even = break_even(own, **price, type->throughput);
    if (!even) return even.error();
    comparison.rows.push_back({kind, **price, *even});
  }
  if (comparison.rows.empty())
    return Error("price_not_known",
                 "an hour of " + type->name + " costs nothing: nothing is cheaper");
  auto& out = context.out;
  if (out.json()) return out.json_line(json_text(comparison)), 0;
  Table table;
  table.header = {type->name, "PRICE", "REPLACES", "CHEAPER AFTER"};
  table.right = {1, 2, 3};
  if (own.share > 0) {
    table.header.push_back("AT " + number_text(own.share * 100) + " %");
    table.right.push_back(4);
  }
  for (const auto& row : comparison.rows) {
    table.rows.push_back({{row.kind},
                          {format_hourly(row.price)},
                          {format_hourly(row.even.replaces)},
                          {hours_text(row.even.hours)}});
    if (own.share > 0) table.rows.back().push_back({days_text(row.even.days)});
  }
  out.table(table);
  bool both = own.throughput > 0 && type->throughput > 0;
  out.status(Mark::step,
             both ? comparison.mine + " does " +
                        number_text(own.throughput / type->throughput * 100) +
                        " % of the work of " + type->name + " in an hour"
                  : "How fast " + std::string(own.throughput > 0 ? type->name : comparison.mine) +
                        " is, is not known (--throughput): taken to be as fast as the other");
  auto& even = comparison.rows[0].even;
  if (even.power.nano > 0)
    out.status(Mark::step, "Its power costs " + format_dollars(even.power) + " an hour, included");
  if (even.own)
    out.status(Mark::step, "Over " + number_text(own.years) + " years an hour of it costs " +
                               format_dollars(*even.own) + " in all");
  return 0;
}

}  // namespace spell::cli
