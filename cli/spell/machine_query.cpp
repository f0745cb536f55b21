#include "machine_query.hpp"

#include "machine_text.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

/// "1.25": dollars and cents, or as exact as a billionth.
std::optional<Dollars> parse_dollars(std::string_view text) {
  auto dot = text.find('.');
  std::string digits(dot == text.npos ? "" : text.substr(dot + 1));
  if (digits.size() > 9 || (dot != text.npos && digits.empty())) return {};
  auto whole = parse_int(text.substr(0, dot));
  auto part = parse_int(digits + std::string(9 - digits.size(), '0'));
  if (!whole || !part || *whole < 0 || *part < 0 || *whole > 1'000'000'000) return {};
  return Dollars::nanos(*whole * 1'000'000'000 + *part);
}

}  // namespace

void MachineQueryOptions::define(Options& options) {
  options.value("--gpu", gpu, "[NAME:]N", "types whose runs can have so many GPUs, of that name")
      .value("--gpu-memory", gpu_memory, "SIZE", "memory of each GPU, such as 16G")
      .value("--cpus", cpus, "N", "cores")
      .value("--memory", memory, "SIZE", "memory, such as 16G")
      .flag("--spot", spot, "only machines that may be taken away at any time")
      .flag("--no-spot", no_spot, "none of those")
      .value("--max-price", max_price, "DOLLARS", "an hour; types of unknown price are left out")
      .value("--prefer", prefer, "price|availability|power", "what comes first (default price)");
}

Result<std::optional<MachineQuery>> MachineQueryOptions::query() const {
  bool any = gpu || gpu_memory || cpus || memory || max_price || prefer || spot || no_spot;
  if (!any) return std::optional<MachineQuery>();
  MachineQuery query;
  if (gpu) {
    auto colon = gpu->rfind(':');
    auto number = parse_int(gpu->substr(colon == gpu->npos ? 0 : colon + 1));
    if (colon != gpu->npos) query.gpu = gpu->substr(0, colon);
    if (!number || *number < 0 || colon == 0)
      return usage_error("--gpu " + shell_quote(*gpu) + ": give N or NAME:N, such as A100:2");
    query.gpus = *number;
  }
  if (gpu_memory) {
    auto bytes = parse_size(*gpu_memory);
    if (!bytes || *bytes < 0)
      return usage_error("--gpu-memory " + shell_quote(*gpu_memory) + ": give a size, such as 16G");
    query.gpu_memory = *bytes;
  }
  auto amounts = parse_amounts(cpus, memory, {}, "");
  if (!amounts) return amounts.error();
  query.cpus = amounts->cpus;
  query.memory = amounts->memory;
  if (spot && no_spot) return usage_error("--spot and --no-spot exclude each other");
  query.spot = spot ? Spot::only : no_spot ? Spot::never : Spot::any;
  if (max_price) {
    query.max_price = parse_dollars(*max_price);
    if (!query.max_price)
      return usage_error("--max-price " + shell_quote(*max_price) +
                         ": give dollars an hour, such as 1.50");
  }
  using Prefer = MachineQuery::Prefer;
  if (prefer == "availability")
    query.prefer = Prefer::availability;
  else if (prefer == "power")
    query.prefer = Prefer::power;
  else if (prefer && prefer != "price")
    return usage_error("--prefer " + shell_quote(*prefer) + ": give price, availability or power");
  return std::optional(query);
}

}  // namespace spell::cli
