#include "model/catalogue.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/csv.hpp"
#include "model/machine_request.hpp"
#include "model/money.hpp"

namespace spell::model {

namespace {

constexpr std::size_t most_lines = 10'000;
constexpr std::string_view columns[] = {
    "name", "cloud", "instance",   "gpu",      "gpus",  "gpu_memory", "cpus",       "memory",
    "disk", "specs", "throughput", "measured", "price", "priced",     "spot_price", "spot_priced"};

/// "3.06", "$3.06", "3.06/h".
std::optional<Dollars> parse_hourly(std::string_view text) {
  if (text.starts_with('$')) text.remove_prefix(1);
  if (text.ends_with("/h")) text.remove_suffix(2);
  auto price = parse_dollars(text);
  return price && *price <= most_an_hour ? price : std::nullopt;
}

/// "2026", "2026-02", "2026-02-09".
bool is_day(std::string_view text) {
  if (text.size() != 4 && text.size() != 7 && text.size() != 10) return false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    bool dash = at == 4 || at == 7;
    if (dash ? text[at] != '-' : text[at] < '0' || text[at] > '9') return false;
  }
  auto number = [&](std::size_t at) { return base::parse_int(text.substr(at, 2)).value_or(0); };
  bool month = text.size() < 7 || (number(5) >= 1 && number(5) <= 12);
  return month && (text.size() < 10 || (number(8) >= 1 && number(8) <= 31));
}

std::string not_a_price(const std::string& text) {
  return in_quotes(text) + " is not a price of an hour, such as 3.06, from 0 to " +
         dollars_text(most_an_hour) + " dollars";
}

/// The values of one line of the catalogue by their columns.
class Line {
 public:
  Line(const CsvLine& line, const std::map<std::string, std::string>& sources)
      : line_(line), sources_(sources) {}

  std::string_view text(std::string_view column) const {
    auto at = std::find(std::begin(columns), std::end(columns), column) - std::begin(columns);
    return line_.values[static_cast<std::size_t>(at)];
  }
  Result<> number(std::string_view column, std::int64_t& out) const {
    return read(column, out, base::parse_int(text(column)));
  }
  Result<> size(std::string_view column, std::int64_t& out) const {
    return read(column, out, base::parse_size(text(column)));
  }
  Result<> price(std::string_view column, std::optional<Dollars>& out) const {
    if (text(column).empty()) return ok();
    out = parse_hourly(text(column));
    if (!out) return wrong_line(line_.number, not_a_price(std::string(text(column))));
    return ok();
  }
  Result<> throughput(double& out) const {
    auto given = text("throughput");
    if (given.empty()) return ok();
    auto [end, problem] = std::from_chars(given.data(), given.data() + given.size(), out);
    if (problem != std::errc() || end != given.data() + given.size() || !(out > 0 && out < 1e6))
      return wrong("throughput");
    return ok();
  }
  /// What the columns of figures are from goes to `entry`.
  Result<> source(std::string_view column, bool figures, CatalogueEntry& entry) const {
    auto given = text(column);
    if (given.empty() && figures)
      return wrong_line(line_.number, "figures without a source: give " + std::string(column));
    if (given.empty()) return ok();
    for (auto& id : base::split(given, '+')) {
      auto found = sources_.find(id);
      if (found == sources_.end())
        return wrong_line(line_.number, "there is no source " + in_quotes(id));
      if (std::find(entry.sources.begin(), entry.sources.end(), found->second) ==
          entry.sources.end())
        entry.sources.push_back(found->second);
    }
    return ok();
  }

 private:
  Result<> wrong(std::string_view column) const {
    return wrong_line(line_.number, std::string(column) + " " +
                                        in_quotes(std::string(text(column))) +
                                        " is not what belongs there");
  }
  Result<> read(std::string_view column, std::int64_t& out,
                std::optional<std::int64_t> value) const {
    if (text(column).empty()) return ok();
    if (!value || *value < 0 || *value > integer_limit) return wrong(column);
    out = *value;
    return ok();
  }

  const CsvLine& line_;
  const std::map<std::string, std::string>& sources_;
};

Result<CatalogueEntry> read_entry(const Line& line) {
  CatalogueEntry entry;
  entry.name = line.text("name");
  entry.cloud = line.text("cloud");
  entry.instance = line.text("instance");
  entry.gpu = line.text("gpu");
  entry.price_from = "catalogue";
  SPELL_TRY(line.number("gpus", entry.gpus));
  SPELL_TRY(line.size("gpu_memory", entry.gpu_memory));
  SPELL_TRY(line.number("cpus", entry.cpus));
  SPELL_TRY(line.size("memory", entry.memory));
  SPELL_TRY(line.size("disk", entry.disk));
  SPELL_TRY(line.throughput(entry.throughput));
  SPELL_TRY(line.price("price", entry.price));
  SPELL_TRY(line.price("spot_price", entry.spot_price));
  bool specs = entry.gpus > 0 || entry.gpu_memory > 0 || entry.cpus > 0 || entry.memory > 0 ||
               entry.disk > 0;
  SPELL_TRY(line.source("specs", specs, entry));
  SPELL_TRY(line.source("measured", entry.throughput > 0, entry));
  SPELL_TRY(line.source("priced", entry.price.has_value(), entry));
  SPELL_TRY(line.source("spot_priced", entry.spot_price.has_value(), entry));
  if (!entry.price && !entry.spot_price) entry.price_from.clear();
  return entry;
}

}  // namespace

Result<Catalogue> Catalogue::parse(std::string_view csv) {
  auto lines = parse_csv(csv);
  if (!lines) return lines.error();
  if (lines->size() > most_lines) return wrong_line(lines->back().number, "too many lines");
  Catalogue out;
  std::map<std::string, std::string> sources;
  bool header = false;
  for (auto& line : *lines) {
    auto& values = line.values;
    if (values[0].starts_with('@')) {
      if (values.size() != 3 || !is_day(values[1]) || values[2].empty())
        return wrong_line(line.number, "a source is @id,day,where with a day such as 2026-02-09");
      if (!sources.emplace(values[0].substr(1), values[2] + ", " + values[1]).second)
        return wrong_line(line.number, "the source " + in_quotes(values[0]) + " is there twice");
      continue;
    }
    if (!header) {
      if (!std::equal(values.begin(), values.end(), std::begin(columns), std::end(columns)))
        return wrong_line(line.number, "the columns are not those of a catalogue");
      header = true;
      continue;
    }
    if (values.size() != std::size(columns))
      return wrong_line(line.number, std::to_string(values.size()) + " values in place of " +
                                         std::to_string(std::size(columns)));
    if (!base::valid_name(values[0]))
      return wrong_line(line.number, in_quotes(values[0]) + " is not a name");
    auto entry = read_entry(Line(line, sources));
    if (!entry) return entry.error();
    std::size_t index = out.entries_.size();
    if (!entry->instance.empty() &&
        !out.instances_.emplace(base::lower(entry->instance), index).second)
      return wrong_line(line.number, in_quotes(entry->instance) + " is there twice");
    out.names_[base::lower(entry->name)].push_back(index);
    out.entries_.push_back(std::move(*entry));
  }
  return out;
}

const CatalogueEntry* Catalogue::find(std::string_view name, std::string_view cloud) const {
  auto found = names_.find(base::lower(name));
  if (found == names_.end()) return nullptr;
  for (auto index : found->second)
    if (cloud.empty() || entries_[index].cloud == cloud) return &entries_[index];
  return nullptr;
}

const CatalogueEntry* Catalogue::find_instance(std::string_view instance) const {
  auto found = instances_.find(base::lower(instance));
  return found == instances_.end() ? nullptr : &entries_[found->second];
}

Result<std::vector<ListedPrice>> parse_price_list(std::string_view csv) {
  auto lines = parse_csv(csv);
  if (!lines) return lines.error();
  std::vector<ListedPrice> out;
  if (lines->empty()) return out;
  if (lines->size() > most_lines) return wrong_line(lines->back().number, "too many lines");

  constexpr std::string_view known[] = {"name", "price", "spot_price"};
  auto& header = lines->front();
  std::size_t at[std::size(known)];
  std::fill(std::begin(at), std::end(at), header.values.size());
  for (std::size_t column = 0; column < header.values.size(); ++column) {
    auto found = std::find(std::begin(known), std::end(known), base::lower(header.values[column]));
    if (found == std::end(known))
      return wrong_line(header.number, "there is no column " + in_quotes(header.values[column]) +
                                           "; a price list has name, price, spot_price");
    auto& place = at[found - std::begin(known)];
    if (place != header.values.size())
      return wrong_line(header.number, "the column " + std::string(*found) + " is there twice");
    place = column;
  }
  if (at[0] == header.values.size()) return wrong_line(header.number, "the column name is missing");

  std::map<std::string, int> seen;
  for (std::size_t index = 1; index < lines->size(); ++index) {
    auto& line = (*lines)[index];
    if (line.values.size() != header.values.size())
      return wrong_line(line.number, std::to_string(line.values.size()) + " values in place of " +
                                         std::to_string(header.values.size()));
    ListedPrice listed;
    listed.name = base::lower(line.values[at[0]]);
    if (!base::valid_name(listed.name))
      return wrong_line(line.number, in_quotes(line.values[at[0]]) + " is not a name");
    if (auto [twice, added] = seen.emplace(listed.name, line.number); !added)
      return wrong_line(line.number, in_quotes(listed.name) + " is in line " +
                                         std::to_string(twice->second) + " already");
    for (auto [column, to] :
         {std::pair(at[1], &listed.price), std::pair(at[2], &listed.spot_price)}) {
      if (column == header.values.size() || line.values[column].empty()) continue;
      auto price = parse_hourly(line.values[column]);
      if (!price) return wrong_line(line.number, not_a_price(line.values[column]));
      *to = price->nano;
    }
    if (!listed.price && !listed.spot_price)
      return wrong_line(line.number, in_quotes(listed.name) + " has no price");
    out.push_back(std::move(listed));
  }
  return out;
}

}  // namespace spell::model
