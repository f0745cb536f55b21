// Workflows, and their runs as a graph.
#include "base/error.hpp"
#include "model/mount.hpp"
#include "store/impl.hpp"

namespace spell::store {

#define WORKFLOW_COLUMNS                                                                       \
  "id, owner, number, status, description, creator, run, exit_code, commits, key, body_hash, " \
  "created_us, ended_us"

namespace {

WorkflowRecord read_workflow(Statement& row) {
  WorkflowRecord out;
  int i = 0;
  out.id = row.text(i++);
  out.owner = row.text(i++);
  out.number = row.integer(i++);
  out.status = row.text(i++);
  out.description = row.text(i++);
  out.creator = row.text(i++);
  out.run = row.integer(i++);
  out.exit_code = row.optional_integer(i++);
  out.commits = row.text(i++);
  out.key = row.text(i++);
  out.body_hash = row.text(i++);
  out.created_us = row.integer(i++);
  out.ended_us = row.integer(i++);
  return out;
}

}  // namespace

Result<std::optional<WorkflowRecord>> Reader::find_workflow(const std::string& owner,
                                                            std::int64_t number) {
  std::optional<WorkflowRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT " WORKFLOW_COLUMNS " FROM workflow WHERE owner = ? AND number = ?",
      [&](Statement& row) { found = read_workflow(row); }, owner, number));
  return found;
}

Result<std::optional<WorkflowRecord>> Reader::find_workflow_of_key(const std::string& owner,
                                                                   const std::string& key) {
  std::optional<WorkflowRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT " WORKFLOW_COLUMNS " FROM workflow WHERE owner = ? AND key = ? AND key <> ''",
      [&](Statement& row) { found = read_workflow(row); }, owner, key));
  return found;
}

Result<std::vector<WorkflowRecord>> Reader::workflows(const std::string& owner, std::int64_t below,
                                                      int limit) {
  std::vector<WorkflowRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT " WORKFLOW_COLUMNS
      " FROM workflow WHERE owner = ? AND number < ? ORDER BY number DESC LIMIT ?",
      [&](Statement& row) { out.push_back(read_workflow(row)); }, owner, below, limit));
  return out;
}

Result<std::map<std::string, std::int64_t>> Reader::workflow_statuses(const std::string& owner,
                                                                      std::int64_t number) {
  std::map<std::string, std::int64_t> out;
  SPELL_TRY(impl_->each(
      "SELECT status, count(*) FROM run WHERE workflow = ? AND workflow <> 0 AND owner = ?"
      " GROUP BY status",
      [&](Statement& row) { out[row.text(0)] = row.integer(1); }, number, owner));
  return out;
}

Result<std::vector<WorkflowNode>> Reader::workflow_graph(const std::string& owner,
                                                         std::int64_t number) {
  std::vector<WorkflowNode> out;
  std::string damaged;
  SPELL_TRY(impl_->each(
      "SELECT number, name, status, exit_code, manages, mounts FROM run WHERE workflow = ?"
      " AND workflow <> 0 AND owner = ? ORDER BY number",
      [&](Statement& row) {
        WorkflowNode run;
        run.run = row.integer(0);
        run.name = row.text(1);
        run.status = row.text(2);
        run.exit_code = row.optional_integer(3);
        run.manages = row.integer(4) != 0;
        auto mounts = model::read_mounts(row.text(5));
        if (!mounts)
          damaged = mounts.error().message();
        else
          run.mounts = model::runs_mounted(*mounts);
        out.push_back(std::move(run));
      },
      number, owner));
  if (!damaged.empty()) return base::error("damaged", damaged);
  return out;
}

Result<> Writer::put_workflow(const WorkflowRecord& w) {
  return impl_->run("INSERT OR REPLACE INTO workflow (" WORKFLOW_COLUMNS
                    ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                    w.id, w.owner, w.number, w.status, w.description, w.creator, w.run, w.exit_code,
                    w.commits, w.key, w.body_hash, w.created_us, w.ended_us);
}

Result<> Writer::delete_workflow(const std::string& owner, std::int64_t number) {
  SPELL_TRY(impl_->run("UPDATE run SET workflow = 0, name = '' WHERE owner = ? AND workflow = ?",
                       owner, number));
  std::string uploads = "workflows/" + std::to_string(number) + "/";
  SPELL_TRY(impl_->run("DELETE FROM upload WHERE owner = ?1 AND substr(name, 1, length(?2)) = ?2",
                       owner, uploads));
  return impl_->run("DELETE FROM workflow WHERE owner = ? AND number = ?", owner, number);
}

Result<std::int64_t> Writer::next_workflow_number(const std::string& owner) {
  SPELL_TRY(
      impl_->run("INSERT INTO owner (name, last_number, last_workflow) VALUES (?, 0, 1)"
                 " ON CONFLICT (name) DO UPDATE SET last_workflow = last_workflow + 1",
                 owner));
  std::int64_t number = 0;
  SPELL_TRY(impl_->each(
      "SELECT last_workflow FROM owner WHERE name = ?",
      [&](Statement& row) { number = row.integer(0); }, owner));
  return number;
}

}  // namespace spell::store
