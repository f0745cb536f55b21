#include "model/cost.hpp"

#include <algorithm>

namespace spell::model {

namespace {

constexpr Units units_a_nano = 3'600'000;  // milliseconds of an hour
constexpr std::int64_t most_nano = 9'000'000'000LL * 1'000'000'000;

constexpr std::int64_t flag_taken_back = 1, flag_spot = 2, flag_on_demand = 4;

/// Seven bits a byte, the lowest first; the eighth: more follow.
void put_varint(std::string& bytes, std::int64_t value) {
  auto rest = static_cast<std::uint64_t>(std::max<std::int64_t>(0, value));
  for (; rest >= 0x80; rest >>= 7) bytes += static_cast<char>(rest | 0x80);
  bytes += static_cast<char>(rest);
}

bool get(const char*& at, const char* end, std::int64_t& value) {
  std::uint64_t out = 0;
  for (int shift = 0; at != end && shift < 63; shift += 7) {
    auto byte = static_cast<unsigned char>(*at++);
    out |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) {
      value = static_cast<std::int64_t>(out);
      return true;
    }
  }
  return false;
}

}  // namespace

Dollars rounded(Units amount) {
  if (amount <= 0) return {};
  Units nano = (amount + units_a_nano / 2) / units_a_nano;
  return Dollars::nanos(static_cast<std::int64_t>(std::min<Units>(nano, most_nano)));
}

std::int64_t price_of_share(std::int64_t price, const Amounts& takes, const Amounts& usual) {
  Units most = 0;
  bool known = false;
  for (auto part : {&Amounts::cpus, &Amounts::memory, &Amounts::gpus}) {
    if (usual.*part <= 0) continue;
    known = true;
    Units share = Units{price} * std::max<std::int64_t>(0, takes.*part);
    most = std::max(most, (share + usual.*part / 2) / (usual.*part));
  }
  return known ? static_cast<std::int64_t>(std::min<Units>(most, INT64_MAX)) : price;
}

void append(std::string& bytes, const CostEntry& entry) {
  put_varint(bytes, (entry.taken_back ? flag_taken_back : 0) | (entry.spot ? flag_spot : 0) |
                        (entry.on_demand ? flag_on_demand : 0));
  for (auto value : {entry.run, entry.workflow, entry.user, entry.project, entry.type,
                     entry.machine, entry.began_ms, entry.ms, entry.lost_ms, entry.price})
    put_varint(bytes, value);
  if (entry.on_demand) put_varint(bytes, *entry.on_demand);
}

bool take(std::string_view& bytes, CostEntry& entry) {
  const char *at = bytes.data(), *end = at + bytes.size();
  std::int64_t flags = 0;
  bool whole = get(at, end, flags) && flags <= (flag_taken_back | flag_spot | flag_on_demand);
  for (auto* value : {&entry.run, &entry.workflow, &entry.user, &entry.project, &entry.type,
                      &entry.machine, &entry.began_ms, &entry.ms, &entry.lost_ms, &entry.price})
    whole = whole && get(at, end, *value);
  entry.on_demand.reset();
  if (whole && (flags & flag_on_demand) != 0) whole = get(at, end, entry.on_demand.emplace());
  if (!whole) return false;
  entry.taken_back = (flags & flag_taken_back) != 0;
  entry.spot = (flags & flag_spot) != 0;
  bytes.remove_prefix(static_cast<std::size_t>(at - bytes.data()));
  return true;
}

}  // namespace spell::model
