#include "client/machine_ranking.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <set>
#include <tuple>

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/gpu_name.hpp"

namespace spell::detail {

namespace {

/// As people write it: "16 GB", "1.5 GB".
std::string bytes_text(std::int64_t bytes) {
  std::int64_t tenths = (bytes * 10 + (1 << 29)) >> 30;
  std::string text = std::to_string(tenths / 10);
  if (tenths % 10 != 0) text += "." + std::to_string(tenths % 10);
  return text + " GB";
}

/// "$3.06", "$0.918": cents at least, four digits at most.
std::string price_text(const Dollars& amount) {
  auto parts = (amount.nano + 50'000) / 100'000;
  std::string part = std::to_string(10'000 + parts % 10'000).substr(1);
  while (part.size() > 2 && part.back() == '0') part.pop_back();
  return "$" + std::to_string(parts / 10'000) + "." + part;
}

/// Three digits.
std::string number_text(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.3g", number);
  return text;
}

/// The most that a run of the type can have.
Amounts most_of(const MachineTypeInfo& type) {
  if (type.machines > 0) return type.largest;
  Amounts most = type.gives;
  for (auto part : {&Amounts::cpus, &Amounts::memory, &Amounts::gpus})
    most.*part = std::max(most.*part, type.largest.*part);
  return most;
}

/// Sizes as they are sold: kernels and drivers keep up to 7 % for themselves.
bool enough(std::int64_t there, std::int64_t wanted) {
  return there >= wanted || (there > 0 && there >= wanted - wanted / 100 * 7);
}

enum class Lack {
  nothing,
  no_gpu,
  few_gpus,
  other_gpu,
  gpu_memory,
  cpus,
  memory,
  spot,
  price,
  machine
};

/// A query with its GPUs read once.
struct Wish {
  const MachineQuery& query;
  std::vector<WantedGpu> gpus;
};

Result<Wish> wish_of(const MachineQuery& query) {
  if (query.gpus < 0 || query.gpu_memory < 0 || query.cpus < 0 || query.memory < 0)
    return base::error("invalid_request", "what a run needs of a machine must not be below 0");
  if (query.max_price && query.max_price->nano < 0)
    return base::error("invalid_request", "a price must not be below 0");
  std::int64_t otherwise =
      std::max<std::int64_t>(query.gpus, query.gpu_memory > 0 || !query.gpu.empty() ? 1 : 0);
  auto gpus = parse_wanted_gpus(query.gpu, otherwise);
  if (!gpus) return gpus.error();
  return Wish{query, std::move(*gpus)};
}

bool is_wanted(const MachineTypeInfo& type, const WantedGpu& wanted) {
  return wanted.name.empty() || model::is_gpu(type.gpu, wanted.name);
}

/// The first of those that will do which the type has; null: it has none.
const WantedGpu* fitting(const MachineTypeInfo& type, std::int64_t there, const Wish& wish) {
  for (auto& wanted : wish.gpus)
    if (there >= wanted.count && is_wanted(type, wanted)) return &wanted;
  return nullptr;
}

/// Of the GPUs; `nothing` if one of those that will do is there.
Lack lacks_gpus(const MachineTypeInfo& type, std::int64_t there, const Wish& wish) {
  if (fitting(type, there, wish)) return Lack::nothing;
  Lack lack = Lack::other_gpu;
  for (auto& wanted : wish.gpus) {
    if (there >= wanted.count) continue;
    if (there == 0) return Lack::no_gpu;
    if (is_wanted(type, wanted)) lack = Lack::few_gpus;
  }
  return lack;
}

/// Machines that cost nothing more when a run is there, unless somebody says what.
bool is_own(const MachineTypeInfo& type) {
  return type.pool == "local" || type.pool == "ssh" || (type.pool.empty() && type.machines > 0);
}

/// What counts as the price of an hour; none: it is not known.
std::optional<std::int64_t> price_of(const MachineTypeInfo& type) {
  if (type.hourly) return type.hourly->nano;
  return is_own(type) ? std::optional<std::int64_t>(0) : std::nullopt;
}

/// 0: its machines are there, or its pool launches some; 1: they are away; 2: nothing serves it.
int distance_of(const MachineTypeInfo& type) {
  if (type.connected > 0 || (!type.pool.empty() && type.max_machines > 0)) return 0;
  return type.machines > 0 ? 1 : 2;
}

Lack lacks(const MachineTypeInfo& type, const Wish& wish) {
  auto& query = wish.query;
  auto most = most_of(type);
  if (auto lack = lacks_gpus(type, most.gpus, wish); lack != Lack::nothing) return lack;
  if (!enough(type.gpu_memory, query.gpu_memory)) return Lack::gpu_memory;
  if (query.cpus > most.cpus) return Lack::cpus;
  if (!enough(most.memory, query.memory)) return Lack::memory;
  if (query.spot == Spot::only ? !type.spot : query.spot == Spot::never && type.spot)
    return Lack::spot;
  if (query.max_price)
    if (auto price = price_of(type); !price || *price > query.max_price->nano) return Lack::price;
  if (query.provided && distance_of(type) == 2) return Lack::machine;
  return Lack::nothing;
}

std::string lack_text(const MachineTypeInfo& type, const Wish& wish, Lack lack) {
  auto most = most_of(type);
  switch (lack) {
    case Lack::nothing:
      return "";
    case Lack::no_gpu:
      return "no GPU";
    case Lack::few_gpus: {
      std::int64_t least = std::numeric_limits<std::int64_t>::max();
      for (auto& wanted : wish.gpus)
        if (wanted.count > most.gpus) least = std::min(least, wanted.count);
      return "at most " + std::to_string(most.gpus) + " of " + std::to_string(least) + " GPUs";
    }
    case Lack::other_gpu:
      return type.gpu.empty() ? "its GPUs are not known" : "its GPUs are " + type.gpu;
    case Lack::gpu_memory:
      return type.gpu_memory == 0 ? "the memory of its GPUs is not known"
                                  : bytes_text(type.gpu_memory) + " a GPU";
    case Lack::cpus:
      return std::to_string(most.cpus) + " cores";
    case Lack::memory:
      return bytes_text(most.memory) + " of memory";
    case Lack::spot:
      return type.spot ? "spot" : "not spot";
    case Lack::price:
      return type.hourly ? price_text(*type.hourly) + " an hour" : "its price is not known";
    case Lack::machine:
      return "no machine serves it";
  }
  return "";
}

/// Of `there` GPUs those that a run has.
std::int64_t gpus_of_run(const MachineTypeInfo& type, std::int64_t there, const Wish& wish) {
  auto* wanted = fitting(type, there, wish);
  if (wanted && wanted->count > 0) return wanted->count;
  return std::min(there, type.gives.gpus > 0 ? type.gives.gpus : 1);
}

/// As RunSpec::gpu says it. The service looks for the name in the driver's as it is written: where
/// it is not there ("2080ti"), the number is enough, since the type is named.
std::string run_gpu_of(const MachineTypeInfo& type, const Wish& wish) {
  auto* wanted = fitting(type, most_of(type).gpus, wish);
  if (!wanted || wanted->count == 0) return "";
  std::string count = std::to_string(wanted->count);
  bool as_written = !wanted->name.empty() &&
                    base::lower(type.gpu).find(base::lower(wanted->name)) != std::string::npos;
  return as_written ? wanted->name + ":" + count : count;
}

/// How fast each type is: as measured, else as the catalogue says, brought to the measure of those
/// types of which both are known.
class Throughputs {
 public:
  Throughputs(const std::vector<MachineTypeInfo>& types, const MeasuredTypes& measured)
      : measured_(measured) {
    if (measured.empty()) return;
    double sum = 0;
    int both = 0;
    for (auto& type : types)
      if (auto* own = of_runs(type); own && type.throughput > 0) {
        sum += std::log(own->value / type.throughput);
        ++both;
      }
    scale_ = both > 0 ? std::exp(sum / both) : 0;
  }
  const Measured* of_runs(const MachineTypeInfo& type) const {
    if (measured_.empty()) return nullptr;
    auto found = measured_.find(base::lower(type.name));
    return found == measured_.end() || !(found->second.value > 0) ? nullptr : &found->second;
  }
  /// 0: not known.
  double of(const MachineTypeInfo& type) const {
    auto* own = of_runs(type);
    return own ? own->value : type.throughput * scale_;
  }
  /// Of the share of its GPUs that a run gets.
  double of_run(const MachineTypeInfo& type, const Wish& wish) const {
    auto there = most_of(type).gpus;
    double all = of(type);
    if (there < 2) return all;
    return all * static_cast<double>(gpus_of_run(type, there, wish)) / static_cast<double>(there);
  }

 private:
  const MeasuredTypes& measured_;
  double scale_ = 1;
};

/// The lower the better.
struct Rank {
  int distance = 0;
  bool needless = false;  ///< it has GPUs, and none are asked for
  double preferred = 0, second = 0, third = 0, fourth = 0;
  bool unknown_price = false;
  std::int64_t price = 0;
  std::array<std::int64_t, 4> least{};
  bool spot = false;
  std::size_t index = 0;
};

Rank rank_of(const MachineTypeInfo& type, const Wish& wish, double throughput) {
  using Prefer = MachineQuery::Prefer;
  auto prefer = wish.query.prefer;
  auto most = most_of(type);
  auto price = price_of(type);
  Rank rank;
  rank.distance = distance_of(type);
  // The others are about GPUs.
  bool of_all = prefer == Prefer::price || prefer == Prefer::availability;
  auto* wanted = fitting(type, most.gpus, wish);
  rank.needless = of_all && most.gpus > 0 && wanted && wanted->count == 0;
  rank.unknown_price = !price;
  rank.price = price.value_or(0);
  rank.least = {most.gpus, type.gpu_memory, most.cpus, most.memory};
  rank.spot = type.spot;
  if (prefer == Prefer::availability) {
    rank.preferred = static_cast<double>(-type.connected);
  } else if (prefer == Prefer::power) {
    rank.preferred = -static_cast<double>(most.gpus) * static_cast<double>(type.gpu_memory);
    rank.second = static_cast<double>(-most.gpus);
    rank.third = static_cast<double>(-most.cpus);
    rank.fourth = static_cast<double>(-most.memory);
  } else if (prefer == Prefer::fastest) {
    rank.preferred = -throughput;
  } else if (prefer == Prefer::value) {
    bool known = throughput > 0 && price;
    rank.preferred = !known            ? 1
                     : rank.price == 0 ? -std::numeric_limits<double>::infinity()
                                       : -throughput / (static_cast<double>(rank.price) * 1e-9);
    rank.second = -throughput;
  }
  return rank;
}

bool before(const Rank& a, const Rank& b, const std::vector<MachineTypeInfo>& types) {
  auto key = [](const Rank& r) {
    return std::tie(r.distance, r.needless, r.preferred, r.second, r.third, r.fourth,
                    r.unknown_price, r.price, r.least, r.spot);
  };
  if (key(a) != key(b)) return key(a) < key(b);
  return types[a.index].name < types[b.index].name;
}

std::vector<std::size_t> sorted(const std::vector<MachineTypeInfo>& types, const Wish& wish,
                                const Throughputs& throughputs) {
  std::vector<Rank> ranks;
  ranks.reserve(types.size());
  for (std::size_t index = 0; index < types.size(); ++index) {
    if (lacks(types[index], wish) != Lack::nothing) continue;
    ranks.push_back(rank_of(types[index], wish, throughputs.of_run(types[index], wish)));
    ranks.back().index = index;
  }
  std::sort(ranks.begin(), ranks.end(), [&](auto& a, auto& b) { return before(a, b, types); });
  std::vector<std::size_t> out;
  out.reserve(ranks.size());
  for (auto& rank : ranks) out.push_back(rank.index);
  return out;
}

std::string reason_of(const MachineTypeInfo& type, const Wish& wish,
                      const Throughputs& throughputs) {
  auto& query = wish.query;
  auto most = most_of(type);
  std::string text;
  if (most.gpus > 0) {
    text = std::to_string(most.gpus) + " x " + (type.gpu.empty() ? "GPU" : type.gpu);
    if (type.gpu_memory > 0) text += " of " + bytes_text(type.gpu_memory);
    text += ", ";
  }
  if (most.cpus > 0 || type.catalogue.empty())
    text += std::to_string(most.cpus) + (most.cpus == 1 ? " core, " : " cores, ");
  if (most.memory > 0) text += bytes_text(most.memory) + ", ";
  if (type.machines > 0)
    text += std::to_string(type.connected) + " of " + std::to_string(type.machines) +
            (type.machines == 1 ? " machine connected" : " machines connected");
  else if (!type.pool.empty() && type.max_machines > 0)
    text += "launched when wanted";
  else
    text += "no machine serves it yet";
  if (type.spot) text += ", spot";
  text += type.hourly    ? ", " + price_text(*type.hourly) + " an hour"
          : is_own(type) ? ", without a price"
                         : ", price not known";
  double throughput = throughputs.of(type);
  if (auto* own = throughputs.of_runs(type))
    text += ", " + number_text(own->value) + " " + query.measured + " in " +
            std::to_string(own->runs) + (own->runs == 1 ? " run" : " runs");
  else if (throughput > 0)
    text += query.measured.empty() || throughput == type.throughput
                ? ", " + number_text(throughput) + " x V100"
                : ", about " + number_text(throughput) + " " + query.measured;
  if (auto taken = gpus_of_run(type, most.gpus, wish); throughput > 0 && taken < most.gpus) {
    throughput = throughputs.of_run(type, wish);
    text += ", " + number_text(throughput) + " of it with " + std::to_string(taken) + " of " +
            std::to_string(most.gpus) + " GPUs";
  }
  if (query.prefer == MachineQuery::Prefer::value && throughput > 0 && type.hourly &&
      type.hourly->nano > 0)
    text += ", " + number_text(throughput / (static_cast<double>(type.hourly->nano) * 1e-9)) +
            " for a dollar an hour";
  return text;
}

constexpr std::size_t most_excluded = 12;  // in one message

/// A query without one of its wishes, and what that is called.
struct Relaxed {
  const char* wish;
  MachineQuery query;
};

std::vector<Relaxed> relaxed(const MachineQuery& query) {
  std::vector<Relaxed> out;
  auto without = [&](bool asked, const char* wish, auto drop) {
    if (!asked) return;
    out.push_back({wish, query});
    drop(out.back().query);
  };
  without(query.gpus > 0 || !query.gpu.empty(), "the GPUs",
          [](MachineQuery& q) { q.gpus = 0, q.gpu.clear(), q.gpu_memory = 0; });
  without(query.gpu_memory > 0, "the GPUs' memory",
          [](MachineQuery& q) { q.gpu_memory = 0, q.gpus = std::max<std::int64_t>(1, q.gpus); });
  without(query.cpus > 0, "the cores", [](MachineQuery& q) { q.cpus = 0; });
  without(query.memory > 0, "the memory", [](MachineQuery& q) { q.memory = 0; });
  without(query.spot == Spot::only, "spot only", [](MachineQuery& q) { q.spot = Spot::any; });
  without(query.spot == Spot::never, "no spot", [](MachineQuery& q) { q.spot = Spot::any; });
  without(query.max_price.has_value(), "the highest price",
          [](MachineQuery& q) { q.max_price.reset(); });
  return out;
}

/// Edits (insert, delete, replace) that turn one word into the other.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row.back();
}

/// Up to three of the names, the nearest first.
std::vector<std::string> nearest(const std::string& word, const std::set<std::string>& names) {
  std::vector<std::pair<std::size_t, std::string>> near;
  std::string wanted = base::lower(word).substr(0, 64);
  for (auto& name : names)
    if (auto distance = edits(wanted, base::lower(name));
        distance <= std::max<std::size_t>(1, wanted.size() / 2))
      near.emplace_back(distance, name);
  std::sort(near.begin(), near.end());
  std::vector<std::string> out;
  for (std::size_t i = 0; i < near.size() && i < 3; ++i) out.push_back(near[i].second);
  return out;
}

}  // namespace

Result<std::vector<WantedGpu>> parse_wanted_gpus(const std::string& text, std::int64_t otherwise) {
  if (text.empty()) return std::vector<WantedGpu>{{"", otherwise}};
  std::vector<WantedGpu> out;
  std::int64_t count = otherwise;
  auto parts = base::split(text, '|');
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    auto colon = part->rfind(':');
    std::string name(base::trim(std::string_view(*part).substr(0, colon)));
    if (colon != part->npos) {
      auto number = base::parse_int(std::string_view(*part).substr(colon + 1));
      if (!number || *number < 1 || *number > (1 << 20)) name.clear();
      count = number.value_or(0);
    }
    if (name.empty())
      return base::error("invalid_request", "GPUs '" + text +
                                                "': give NAME or NAME:N, several with | between "
                                                "them, such as V100|A100:4");
    out.push_back({std::move(name), count});
  }
  std::reverse(out.begin(), out.end());
  return out;
}

Result<std::vector<std::size_t>> order(const std::vector<MachineTypeInfo>& types,
                                       const MachineQuery& query, const MeasuredTypes& measured) {
  auto wish = wish_of(query);
  if (!wish) return wish.error();
  return sorted(types, *wish, Throughputs(types, measured));
}

Error nothing_fits(const std::vector<MachineTypeInfo>& types, const MachineQuery& query) {
  if (types.empty())
    return base::error("no_machine_type", "there is no machine type; spell machine add makes one");
  auto wish = wish_of(query);
  if (!wish) return wish.error();
  std::vector<std::string> excluded;
  for (auto& type : types) {
    if (excluded.size() == most_excluded) break;
    excluded.push_back(type.name + ": " + lack_text(type, *wish, lacks(type, *wish)));
  }
  if (types.size() > excluded.size())
    excluded.push_back("and " + std::to_string(types.size() - excluded.size()) + " more");
  std::string text = "no machine type fits: " + base::join(excluded, "; ");
  MeasuredTypes none;
  for (auto& [without, other] : relaxed(query)) {
    auto wider = wish_of(other);
    if (!wider) continue;
    auto fit = sorted(types, *wider, Throughputs(types, none));
    if (fit.empty()) continue;
    text += "; without " + std::string(without) + " " + types[fit[0]].name + " would do";
    if (fit.size() > 1) text += " (and " + std::to_string(fit.size() - 1) + " more)";
  }
  return base::error("no_machine_type", text);
}

Result<MachineSelection> explain(const std::vector<MachineTypeInfo>& types,
                                 const MachineQuery& query, const MeasuredTypes& measured) {
  auto wish = wish_of(query);
  if (!wish) return wish.error();
  Throughputs throughputs(types, measured);
  MachineSelection out;
  for (auto index : sorted(types, *wish, throughputs))
    out.fit.push_back({types[index], reason_of(types[index], *wish, throughputs),
                       run_gpu_of(types[index], *wish)});
  for (auto& type : types)
    if (auto lack = lacks(type, *wish); lack != Lack::nothing)
      out.excluded.push_back({type, lack_text(type, *wish, lack), ""});
  std::sort(out.excluded.begin(), out.excluded.end(),
            [](auto& a, auto& b) { return a.name < b.name; });
  return out;
}

Result<std::vector<RankedMachineType>> rank(const std::vector<MachineTypeInfo>& types,
                                            const MachineQuery& query,
                                            const MeasuredTypes& measured) {
  auto wish = wish_of(query);
  if (!wish) return wish.error();
  Throughputs throughputs(types, measured);
  auto best = sorted(types, *wish, throughputs);
  if (best.empty()) return nothing_fits(types, query);
  std::vector<RankedMachineType> out;
  out.reserve(best.size());
  for (auto index : best)
    out.push_back({types[index], reason_of(types[index], *wish, throughputs),
                   run_gpu_of(types[index], *wish)});
  return out;
}

Result<> check_gpu_names(const std::vector<MachineTypeInfo>& types, const MachineQuery& query,
                         const std::function<Result<std::vector<CatalogueEntry>>()>& catalogue) {
  auto wish = wish_of(query);
  if (!wish) return wish.error();
  std::optional<std::vector<CatalogueEntry>> sold;
  for (auto& wanted : wish->gpus) {
    if (wanted.name.empty()) continue;
    auto is_it = [&](auto& known) { return model::is_gpu(known.gpu, wanted.name); };
    if (std::any_of(types.begin(), types.end(), is_it)) continue;
    if (!sold) {
      auto asked = catalogue();
      if (!asked) return asked.error();
      sold = std::move(*asked);
    }
    if (std::any_of(sold->begin(), sold->end(), is_it)) continue;
    std::set<std::string> names;
    for (auto& type : types)
      if (!type.gpu.empty()) names.insert(type.gpu);
    for (auto& entry : *sold)
      if (!entry.gpu.empty()) names.insert(entry.gpu);
    auto near = nearest(wanted.name, names);
    return base::error(
        "unknown_gpu",
        "no GPU is called '" + wanted.name + "'" +
            (near.empty() ? "; there are " + base::join({names.begin(), names.end()}, ", ")
                          : "; did you mean " + base::join(near, " or ") + "?"));
  }
  return ok();
}

}  // namespace spell::detail
