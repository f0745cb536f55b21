#include "service/prices.hpp"

#include "base/text.hpp"
#include "model/gpu_name.hpp"
#include "model/run.hpp"

extern const char spell_machine_types[];
extern const unsigned long spell_machine_types_size;

namespace spell::service {

namespace {

/// What the pool of a type is told to launch; "": nothing that has a name.
std::string instance_of(const store::MachineTypeRecord& type) {
  const char* option = type.pool == "aws"   ? "instance_type"
                       : type.pool == "gcp" ? "machine_type"
                                            : "";
  if (!*option) return "";
  auto options = model::parse_json(type.pool_options);
  if (!options || !options->is_object()) return "";
  for (auto& [name, value] : options->items())
    if (base::lower(name) == option && value.is_string()) return value.get<std::string>();
  return "";
}

std::optional<Dollars> dollars(const std::optional<std::int64_t>& nano) {
  return nano ? std::optional(Dollars::nanos(*nano)) : std::nullopt;
}

std::optional<std::int64_t> nanos(const std::optional<Dollars>& amount) {
  return amount ? std::optional(amount->nano) : std::nullopt;
}

/// Whether what launches its machines may be paid for it: with "local" and "ssh", and without a
/// pool, machines are one's own.
bool is_bought(const store::MachineTypeRecord& type) {
  return !type.pool.empty() && type.pool != "local" && type.pool != "ssh";
}

/// " (aws, us-east-1)": whose prices the catalogue has.
std::string where_sold(const CatalogueEntry& entry) {
  if (entry.cloud.empty()) return "";
  return " (" + entry.cloud + (entry.cloud == "aws" ? ", us-east-1)" : ")");
}

/// The same, as it is sold: drivers and kernels keep some of it.
bool as_sold(std::int64_t is, std::int64_t sold) { return is * 100 >= sold * 93 && is <= sold; }

/// How fast machines with these GPUs are; 0: not known.
double throughput_of(const MachineTypeInfo& info) {
  for (auto& entry : catalogue().entries())
    if (entry.throughput > 0 && entry.gpus == info.largest.gpus &&
        model::is_gpu(info.gpu, entry.gpu) &&
        (entry.gpu_memory == 0 || info.gpu_memory == 0 ||
         as_sold(info.gpu_memory, entry.gpu_memory)))
      return entry.throughput;
  return 0;
}

}  // namespace

PriceLists to_price_lists(const std::vector<store::PriceRecord>& records) {
  PriceLists out;
  for (auto& record : records) out[record.owner][record.name] = {record.price, record.spot_price};
  return out;
}

const model::Catalogue& catalogue() {
  // A test reads the file that is built in: it has no wrong line.
  static const model::Catalogue parsed =
      model::Catalogue::parse({spell_machine_types, spell_machine_types_size}).value();
  return parsed;
}

const CatalogueEntry* known_as(const store::MachineTypeRecord& type) {
  if (auto instance = instance_of(type); !instance.empty())
    return catalogue().find_instance(instance);
  std::string_view name = type.name, cloud;
  if (type.pool == "aws" || type.pool == "gcp") cloud = type.pool;
  if (auto* entry = catalogue().find(name, cloud)) return entry;
  if (type.spot && name.ends_with("-spot"))
    return catalogue().find(name.substr(0, name.size() - 5), cloud);
  return nullptr;
}

TypePrice price_of(const store::MachineTypeRecord& type, const PriceList& list) {
  auto* entry = known_as(type);
  auto listed = [&](const std::string& name) {
    return name.empty() ? list.end() : list.find(base::lower(name));
  };
  HourlyPrices in_list, sold;
  if (!list.empty()) {
    auto found = listed(type.name);
    if (found == list.end()) found = listed(instance_of(type));
    if (found == list.end() && entry) found = listed(entry->instance);
    if (found == list.end() && entry) found = listed(entry->name);
    if (found != list.end()) in_list = found->second;
  }
  if (entry && is_bought(type)) sold = {nanos(entry->price), nanos(entry->spot_price)};

  TypePrice out;
  std::string price_from, spot_from;
  auto take = [&](const std::optional<std::int64_t>& price,
                  const std::optional<std::int64_t>& spot_price, const std::string& from) {
    if (!out.price && price) out.price = price, price_from = from;
    if (!out.spot_price && spot_price) out.spot_price = spot_price, spot_from = from;
  };
  take(type.price, type.spot_price, "set");
  take(in_list.price, in_list.spot_price, "price list");
  take(sold.price, sold.spot_price, entry ? "catalogue" + where_sold(*entry) : "");
  out.from = (type.spot && out.spot_price) || !out.price ? spot_from : price_from;
  return out;
}

void show_price(MachineTypeInfo& info, const TypePrice& price) {
  info.price = dollars(price.price);
  info.spot_price = dollars(price.spot_price);
  info.hourly = dollars(price.hourly(info.spot));
  info.price_from = price.from;
}

void show_catalogue(MachineTypeInfo& info, const store::MachineTypeRecord& record) {
  auto* entry = known_as(record);
  if (entry) info.catalogue = entry->name;
  if (info.machines > 0) {
    info.throughput = throughput_of(info);
    return;
  }
  if (!entry) return;
  info.largest = {entry->cpus, entry->memory, entry->gpus};
  info.gpu = entry->gpu;
  info.gpu_memory = entry->gpu_memory;
  info.throughput = entry->throughput;
}

std::vector<CatalogueEntry> priced_catalogue(const PriceList& list) {
  auto out = catalogue().entries();
  auto take = [](CatalogueEntry& entry, const HourlyPrices& prices) {
    if (prices.price) entry.price = dollars(prices.price);
    if (prices.spot_price) entry.spot_price = dollars(prices.spot_price);
    entry.price_from = "price list";
  };
  for (auto& entry : out) {
    auto found = entry.instance.empty() ? list.end() : list.find(base::lower(entry.instance));
    // A name means the first of its name.
    if (found == list.end() &&
        catalogue().find(entry.name) == catalogue().entries().data() + (&entry - out.data()))
      found = list.find(base::lower(entry.name));
    if (found != list.end()) take(entry, found->second);
  }
  for (auto& [name, prices] : list) {
    if (catalogue().find(name) || catalogue().find_instance(name)) continue;
    CatalogueEntry entry;
    entry.name = name;
    take(entry, prices);
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace spell::service
