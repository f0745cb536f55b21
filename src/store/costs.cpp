// What runs and machines cost: entries of model/cost.hpp, and what their numbers stand for.
//
// A transaction in which runs end adds one row for all of them; every 256 rows become one for each
// owner, so that a report of a million runs reads a few thousand. The row with the highest id stays
// where it is: no id is given twice.
#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "store/impl.hpp"

namespace spell::store {

namespace {

constexpr std::int64_t packed_together = 256;

/// The rows up to this one, which is of a round number.
Result<> pack(Writer::Impl& impl, std::int64_t last) {
  struct Packed {
    std::int64_t id = 0, until_ms = 0;
    std::string entries;
  };
  std::map<std::string, Packed> owners;
  std::int64_t first = last - packed_together + 1;
  SPELL_TRY(impl.each(
      "SELECT id, owner, until_ms, entries FROM cost WHERE id BETWEEN ? AND ? ORDER BY id",
      [&](Statement& row) {
        auto& packed = owners[row.text(1)];
        packed.id = row.integer(0);
        packed.until_ms = std::max(packed.until_ms, row.integer(2));
        packed.entries += row.bytes(3);
      },
      first, last));
  SPELL_TRY(impl.run("DELETE FROM cost WHERE id BETWEEN ? AND ?", first, last));
  for (auto& [owner, packed] : owners)
    SPELL_TRY(impl.run("INSERT INTO cost VALUES (?, ?, ?, ?)", packed.id, owner, packed.until_ms,
                       Blob{packed.entries}));
  return ok();
}

}  // namespace

Result<> Reader::at_one_moment(const std::function<Result<>()>& read) {
  SPELL_TRY(impl_->run("BEGIN"));
  auto done = read();
  if (done) done = impl_->run("COMMIT");
  // A reader that stays at one moment would keep the log from being taken in.
  if (!done) (void)impl_->run("ROLLBACK");
  return done;
}

Result<> Reader::costs(const std::string& owner, std::int64_t since_ms,
                       const std::function<Result<>(std::string_view)>& take) {
  Result<> taken = ok();
  SPELL_TRY(impl_->each(
      "SELECT entries FROM cost WHERE owner = ? AND until_ms >= ?",
      [&](Statement& row) {
        if (taken) taken = take(row.bytes(0));
      },
      owner, since_ms));
  return taken;
}

Result<std::string> Reader::cost_name(std::int64_t number) {
  std::string name;
  SPELL_TRY(impl_->each(
      "SELECT name FROM cost_name WHERE id = ?", [&](Statement& row) { name = row.text(0); },
      number));
  return name;
}

Result<std::vector<std::int64_t>> Reader::cost_numbers(const std::string& owner,
                                                       const std::string& kind,
                                                       const std::string& name) {
  std::vector<std::int64_t> out;
  SPELL_TRY(impl_->each(
      "SELECT id FROM cost_name WHERE owner = ? AND kind = ? AND name = ?",
      [&](Statement& row) { out.push_back(row.integer(0)); }, owner, kind, name));
  return out;
}

Result<std::vector<BudgetRecord>> Reader::budgets() {
  std::vector<BudgetRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT owner, kind, name, amount, monthly, created_us, told, told_period FROM budget",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.text(2), row.integer(3), row.integer(4) != 0,
                       row.integer(5), row.integer(6), row.integer(7)});
      }));
  return out;
}

Result<> Writer::put_budget(const BudgetRecord& b) {
  return impl_->run("INSERT OR REPLACE INTO budget VALUES (?, ?, ?, ?, ?, ?, ?, ?)", b.owner,
                    b.kind, b.name, b.amount, b.monthly, b.created_us, b.told, b.told_period);
}

Result<> Writer::delete_budget(const std::string& owner, const std::string& kind,
                               const std::string& name) {
  return impl_->run("DELETE FROM budget WHERE owner = ? AND kind = ? AND name = ?", owner, kind,
                    name);
}

Result<std::int64_t> Reader::cost_number(const std::string& owner, const std::string& kind,
                                         const std::string& name) {
  std::int64_t number = 0;
  SPELL_TRY(impl_->each(
      "SELECT min(id) FROM cost_name WHERE owner = ? AND kind = ? AND name = ?",
      [&](Statement& row) { number = row.integer(0); }, owner, kind, name));
  return number;
}

Result<std::vector<MachineTimeRecord>> Reader::machine_times(const std::string& owner,
                                                             std::int64_t since_us) {
  std::vector<MachineTimeRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT id, owner, machine, type, price, began_us, joined_us, ending_us, ended_us"
      " FROM machine_time WHERE owner = ? AND (ended_us = 0 OR ended_us >= ?)",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.integer(2), row.integer(3), row.integer(4),
                       row.integer(5), row.integer(6), row.integer(7), row.integer(8)});
      },
      owner, since_us));
  return out;
}

Result<std::vector<MachineStay>> Reader::machine_stays(const std::string& owner,
                                                       std::int64_t since_us) {
  std::vector<MachineStay> out;
  SPELL_TRY(impl_->each(
      "SELECT machine, iif(leased_us = 0, placed_us, leased_us),"
      " iif(final = 0, 0, max(ended_us, said_us)) FROM run"
      " WHERE owner = ? AND machine <> '' AND (final = 0 OR max(ended_us, said_us) >= ?)",
      [&](Statement& row) {
        if (row.integer(1) != 0) out.push_back({row.text(0), row.integer(1), row.integer(2)});
      },
      owner, since_us));
  return out;
}

Result<std::vector<std::string>> Reader::unpriced_types(const std::string& owner,
                                                        std::int64_t first_day,
                                                        std::int64_t last_day) {
  std::vector<std::string> out;
  SPELL_TRY(impl_->each(
      "SELECT DISTINCT type FROM cost_unpriced WHERE owner = ? AND day BETWEEN ? AND ? ORDER BY 1",
      [&](Statement& row) { out.push_back(row.text(0)); }, owner, first_day, last_day));
  return out;
}

Result<std::int64_t> Writer::make_cost_number(const std::string& owner, const std::string& kind,
                                              const std::string& name) {
  auto known = cost_number(owner, kind, name);
  if (!known || *known != 0) return known;
  SPELL_TRY(
      impl_->run("INSERT INTO cost_name (owner, kind, name) VALUES (?, ?, ?)", owner, kind, name));
  return sqlite3_last_insert_rowid(impl_->db.get());
}

Result<> Writer::rename_cost(const std::string& owner, const std::string& kind,
                             const std::string& from, const std::string& to) {
  return impl_->run("UPDATE cost_name SET name = ? WHERE owner = ? AND kind = ? AND name = ?", to,
                    owner, kind, from);
}

Result<> Writer::add_costs(const std::string& owner, std::int64_t until_ms,
                           const std::string& entries) {
  SPELL_TRY(impl_->run("INSERT INTO cost (owner, until_ms, entries) VALUES (?, ?, ?)", owner,
                       until_ms, Blob{entries}));
  auto id = sqlite3_last_insert_rowid(impl_->db.get());
  return id % packed_together == 0 ? pack(*impl_, id) : ok();
}

Result<> Writer::add_unpriced(const std::string& owner, std::int64_t day, const std::string& type) {
  return impl_->run("INSERT OR IGNORE INTO cost_unpriced VALUES (?, ?, ?)", owner, day, type);
}

Result<> Writer::add_machine_time(const MachineTimeRecord& time) {
  return impl_->run("INSERT OR REPLACE INTO machine_time VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    time.id, time.owner, time.machine, time.type, time.price, time.began_us,
                    time.joined_us, time.ending_us, time.ended_us);
}

Result<> Writer::set_machine_phase(const std::string& id, const std::string& phase,
                                   std::int64_t at_us) {
  if (phase == "up")
    return impl_->run(
        "UPDATE machine_time SET joined_us = iif(joined_us = 0, ?, joined_us), ending_us = 0"
        " WHERE id = ?",
        at_us, id);
  if (phase == "ending")
    return impl_->run(
        "UPDATE machine_time SET ending_us = iif(ending_us = 0, ?, ending_us)"
        " WHERE id = ?",
        at_us, id);
  return ok();
}

Result<> Writer::end_machine_time(const std::string& id, std::int64_t at_us) {
  return impl_->run("UPDATE machine_time SET ended_us = ? WHERE id = ? AND ended_us = 0", at_us,
                    id);
}

}  // namespace spell::store
