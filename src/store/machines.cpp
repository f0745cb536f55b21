// Machines and their types.
#include "base/error.hpp"
#include "store/impl.hpp"

namespace spell::store {

Result<std::vector<MachineRecord>> Reader::machines() {
  std::vector<MachineRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT owner, name, id, serves, allow, cpus, memory, gpus, drained, key, created_us, "
      "joined_us, seen_us, lost_after, hello, pool, phase, phase_us, going_us, going FROM machine "
      "ORDER BY owner, name",
      [&](Statement& row) {
        out.push_back({row.text(0),
                       row.text(1),
                       row.text(2),
                       split_labels(row.text(3)),
                       split_labels(row.text(4)),
                       row.integer(5),
                       row.integer(6),
                       row.integer(7),
                       row.integer(8) != 0,
                       row.text(9),
                       row.integer(10),
                       row.integer(11),
                       row.integer(12),
                       row.integer(13),
                       row.text(14),
                       row.text(15),
                       row.text(16),
                       row.integer(17),
                       row.integer(18),
                       row.text(19)});
      }));
  return out;
}

Result<std::vector<MachineTypeRecord>> Reader::machine_types() {
  std::vector<MachineTypeRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT owner, name, spot, auto_resume, cpus, memory, gpus, lost_after, created_us, pool, "
      "pool_options, min_machines, max_machines, idle_timeout, launch_timeout, price, "
      "spot_price FROM machine_type ORDER BY owner, name",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.integer(2) != 0, row.integer(3) != 0,
                       row.integer(4), row.integer(5), row.integer(6), row.integer(7),
                       row.integer(8), row.text(9), row.text(10), row.integer(11), row.integer(12),
                       row.integer(13), row.integer(14), row.optional_wide(15),
                       row.optional_wide(16)});
      }));
  return out;
}

Result<std::vector<PriceRecord>> Reader::prices() {
  std::vector<PriceRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT owner, name, price, spot_price FROM price ORDER BY owner, name", [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.optional_wide(2), row.optional_wide(3)});
      }));
  return out;
}

Result<> Writer::put_machine(const MachineRecord& machine) {
  std::string serves = join_labels(machine.serves), allow = join_labels(machine.allow);
  // A renamed machine keeps its id but has another primary key.
  SPELL_TRY(delete_machine(machine.id));
  return impl_->run(
      "INSERT INTO machine VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      machine.owner, machine.name, machine.id, serves, machine.cpus, machine.memory, machine.gpus,
      allow, machine.drained, machine.key, machine.created_us, machine.joined_us, machine.seen_us,
      machine.lost_after, machine.hello, machine.pool, machine.phase, machine.phase_us,
      machine.going_us, machine.going);
}

Result<> Writer::delete_machine(const std::string& id) {
  return impl_->run("DELETE FROM machine WHERE id = ?", id);
}

Result<> Writer::put_machine_type(const MachineTypeRecord& type) {
  return impl_->run(
      "REPLACE INTO machine_type VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      type.owner, type.name, type.spot, type.auto_resume, type.cpus, type.memory, type.gpus,
      type.lost_after, type.created_us, type.pool, type.pool_options, type.min_machines,
      type.max_machines, type.idle_timeout, type.launch_timeout, type.price, type.spot_price);
}

Result<> Writer::delete_machine_type(const std::string& owner, const std::string& name) {
  return impl_->run("DELETE FROM machine_type WHERE owner = ? AND name = ?", owner, name);
}

Result<> Writer::delete_prices(const std::string& owner) {
  return impl_->run("DELETE FROM price WHERE owner = ?", owner);
}

Result<> Writer::put_price(const PriceRecord& price) {
  return impl_->run("REPLACE INTO price VALUES (?, ?, ?, ?)", price.owner, price.name, price.price,
                    price.spot_price);
}

}  // namespace spell::store
