// What users may use and do use, and what there is to keep.
#include "base/error.hpp"
#include "store/impl.hpp"

namespace spell::store {

// Files that a run goes on with as another are that one's.
#define OWN_BYTES "iif(resumed_as = 0, output_bytes, 0) + log_bytes"

Result<std::vector<QuotaRecord>> Reader::quotas() {
  std::vector<QuotaRecord> out;
  SPELL_TRY(impl_->each("SELECT owner, user, name, amount FROM quota ORDER BY owner, user, name",
                        [&](Statement& row) {
                          out.push_back({row.text(0), row.text(1), row.text(2), row.integer(3)});
                        }));
  return out;
}

Result<std::int64_t> Reader::runs_of(const std::string& owner, const std::string& user,
                                     const std::string& type) {
  std::int64_t runs = 0;
  SPELL_TRY(impl_->each(
      "SELECT count(*) FROM run WHERE final = 0 AND machine <> '' AND manages = 0 AND owner = ?1"
      " AND creator = ?2 AND (?3 = ''"
      " OR lower(coalesce(json_extract(request, '$.machine_type'), 'cpu')) = ?3)",
      [&](Statement& row) { runs = row.integer(0); }, owner, user, type));
  return runs;
}

Result<std::int64_t> Reader::bytes_of(const std::string& owner, const std::string& user) {
  std::int64_t bytes = 0;
  auto add = [&](Statement& row) { bytes += row.integer(0); };
  SPELL_TRY(impl_->each("SELECT total(" OWN_BYTES ") FROM run WHERE owner = ? AND creator = ?", add,
                        owner, user));
  SPELL_TRY(impl_->each("SELECT total(size) FROM upload WHERE owner = ? AND creator = ?", add,
                        owner, user));
  return bytes;
}

Result<Queue> Reader::queue() {
  Queue out;
  SPELL_TRY(
      impl_->each("SELECT count(*), min(created_us) FROM run WHERE final = 0 AND machine = ''",
                  [&](Statement& row) {
                    out = {row.integer(0), row.integer(1)};
                  }));
  return out;
}

Result<std::vector<KeptRun>> Reader::kept_runs() {
  std::vector<KeptRun> out;
  SPELL_TRY(impl_->each("SELECT owner, number, ended_us, " OWN_BYTES ", labels <> '' FROM run "
                        "WHERE final = 1",
                        [&](Statement& row) {
                          out.push_back({row.text(0), row.integer(1), row.integer(2),
                                         row.integer(3), row.integer(4) != 0});
                        }));
  return out;
}

Result<> Writer::put_quota(const QuotaRecord& quota) {
  return impl_->run("INSERT OR REPLACE INTO quota (owner, user, name, amount) VALUES (?,?,?,?)",
                    quota.owner, quota.user, quota.name, quota.amount);
}

Result<> Writer::delete_quota(const QuotaRecord& quota) {
  return impl_->run("DELETE FROM quota WHERE owner = ? AND user = ? AND name = ?", quota.owner,
                    quota.user, quota.name);
}

}  // namespace spell::store
