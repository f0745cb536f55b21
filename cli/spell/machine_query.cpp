#include "machine_query.hpp"

#include <algorithm>

#include "json_text.hpp"
#include "machine_text.hpp"
#include "money.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

Words split(const std::string& text, char separator) {
  Words parts;
  std::size_t at = 0;
  for (std::size_t end; (end = text.find(separator, at)) != text.npos; at = end + 1)
    parts.push_back(text.substr(at, end - at));
  parts.push_back(text.substr(at));
  return parts;
}

bool is_integer(const std::string& text) { return parse_int(text).has_value(); }

using Prefer = MachineQuery::Prefer;
constexpr std::pair<const char*, Prefer> preferences[] = {
    {"cheapest", Prefer::cheapest},         {"fastest", Prefer::fastest}, {"value", Prefer::value},
    {"availability", Prefer::availability}, {"power", Prefer::power},     {"price", Prefer::price}};

}  // namespace

void MachineQueryOptions::define(Options& options) {
  options
      .value("--gpu", gpu, "[NAME:]N",
             "types whose runs can have so many GPUs; V100|A100:4: of one of these names")
      .value("--cpus", cpus, "N", "cores")
      .value("--memory", memory, "SIZE", "memory, such as 16G");
  define_choice(options);
  options.flag("--no-spot", no_spot, "the same as --spot never");
}

void MachineQueryOptions::define_choice(Options& options) {
  options.value("--gpu-memory", gpu_memory, "SIZE", "memory of each GPU, such as 16G")
      .value("--spot", spot, "auto|only|never", "machines that may be taken away at any time")
      .value("--max-price", max_price, "DOLLARS", "an hour, such as 5/h; unknown prices are above")
      .value("--prefer", prefer, "HOW",
             "cheapest (the default), fastest, value, availability or power")
      .value("--measured", measured, "METRIC", "how fast: as runs say by this metric");
}

bool MachineQueryOptions::chooses() const { return !what_chooses().empty(); }

std::string MachineQueryOptions::what_chooses() const {
  if (gpu && (gpu->find('|') != gpu->npos || !is_integer(*gpu))) return "--gpu " + *gpu;
  const std::pair<const char*, const std::optional<std::string>*> rest[] = {
      {"--gpu-memory ", &gpu_memory},
      {"--spot ", &spot},
      {"--max-price ", &max_price},
      {"--prefer ", &prefer},
      {"--measured ", &measured}};
  for (auto [name, value] : rest)
    if (*value) return name + **value;
  return "";
}

Result<> read_gpus(const std::string& text, MachineQuery& query) {
  auto wrong = [&] {
    return usage_error("--gpu " + shell_quote(text) +
                       ": give N, NAME or NAME:N, several names with | between them, such as "
                       "V100|A100:4");
  };
  if (auto number = parse_int(text)) {
    if (*number < 0) return wrong();
    query.gpus = *number;
    return ok();
  }
  for (const auto& part : split(text, '|')) {
    auto colon = part.rfind(':');
    auto number = colon == part.npos ? 1 : parse_int(part.substr(colon + 1)).value_or(0);
    if (number < 1 || part.find_first_not_of(" :") == part.npos || colon == 0) return wrong();
  }
  query.gpu = text;
  return ok();
}

Result<std::optional<MachineQuery>> MachineQueryOptions::query() const {
  bool any = gpu || cpus || memory || no_spot || chooses();
  if (!any) return std::optional<MachineQuery>();
  MachineQuery query;
  if (gpu)
    if (auto read = read_gpus(*gpu, query); !read) return read.error();
  if (gpu_memory) {
    auto bytes = parse_size(*gpu_memory);
    if (!bytes || *bytes < 0)
      return usage_error("--gpu-memory " + shell_quote(*gpu_memory) + ": give a size, such as 16G");
    if (gpu && query.gpu.empty() && query.gpus == 0)
      return usage_error("--gpu 0 and --gpu-memory exclude each other");
    query.gpu_memory = *bytes;
  }
  auto amounts = parse_amounts(cpus, memory, {}, "");
  if (!amounts) return amounts.error();
  query.cpus = amounts->cpus;
  query.memory = amounts->memory;
  if (spot) {
    if (no_spot && *spot != "never") return usage_error("--spot and --no-spot exclude each other");
    if (*spot != "auto" && *spot != "only" && *spot != "never")
      return usage_error("--spot " + shell_quote(*spot) + ": give auto, only or never");
  }
  query.spot = spot == "only" ? Spot::only : no_spot || spot == "never" ? Spot::never : Spot::any;
  if (max_price) {
    auto price = parse_hourly("--max-price", *max_price);
    if (!price) return price.error();
    query.max_price = *price;
  }
  if (prefer) {
    auto* found = std::find_if(std::begin(preferences), std::end(preferences),
                               [&](auto& known) { return *prefer == known.first; });
    if (found == std::end(preferences))
      return usage_error("--prefer " + shell_quote(*prefer) +
                         ": give cheapest, fastest, value, availability or power");
    query.prefer = found->second;
  }
  query.measured = measured.value_or("");
  if (measured && measured->empty()) return usage_error("--measured: give the name of a metric");
  return std::optional(query);
}

std::string why_chosen(const MachineQuery& query, std::size_t fit) {
  if (fit == 1) return "the only one that fits";
  std::string first = query.prefer == Prefer::fastest        ? "fastest"
                      : query.prefer == Prefer::value        ? "most for its price"
                      : query.prefer == Prefer::availability ? "one of most machines"
                      : query.prefer == Prefer::power        ? "most powerful"
                                                             : "cheapest";
  return "the " + first + " of " + std::to_string(fit) + " that fit";
}

namespace {

Table table_of_types(const MachineSelection& selection) {
  Table table;
  table.header = {"TYPE", "FITS", "WHY"};
  table.flexible = 2;
  for (const auto& type : selection.fit)
    table.rows.push_back({{type.name}, {"yes", Colour::green}, {type.reason}});
  for (const auto& type : selection.excluded)
    table.rows.push_back({{type.name, Colour::dim}, {"no"}, {type.reason}});
  return table;
}

}  // namespace

void show_selection(Output& out, const MachineSelection& selection) {
  if (out.json()) return out.json_line(json_text("selection", selection));
  out.table(table_of_types(selection));
}

void show_selection_beside(Output& out, const MachineSelection& selection) {
  out.table_beside(table_of_types(selection));
}

}  // namespace spell::cli
