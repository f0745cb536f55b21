#include "store/store.hpp"

#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "model/status.hpp"
#include "store/copy_file.hpp"
#include "store/impl.hpp"
#include "store/pages.hpp"
#include "store/schema.hpp"
#include "store/wal.hpp"

namespace spell::store {

std::vector<std::string> split_labels(const std::string& labels) {
  std::vector<std::string> out;
  for (auto& part : base::split(labels, '\n'))
    if (!part.empty()) out.push_back(part);
  return out;
}

std::string join_labels(const std::vector<std::string>& labels) {
  if (labels.empty()) return {};
  return "\n" + base::join(labels, "\n") + "\n";
}

#define COST_COLUMNS                                                                             \
  "leased_us, cost_type, price, on_demand, spot, saved_us, said_us, billed_ms, billed_lost_ms, " \
  "allowed_ms, ordered_ms, limited_by, held, chain_cost"

// Column order of every query that yields a RunRecord.
#define RUN_COLUMNS                                                                             \
  "id, owner, number, status, version, archived, created_us, placed_us, started_us, ended_us, " \
  "creator, machine, "                                                                          \
  "reason_code, reason, exit_code, signal, log_bytes, outputs, output_files, output_bytes, "    \
  "epoch, entries, taken, "                                                                     \
  "wanted, project, labels, identity, mounts, takes_cpus, takes_memory, takes_gpus, workflow, " \
  "name, manages, resumed_from, resumed_as, restored, fruitless, not_before_us, " COST_COLUMNS  \
  ", request"

namespace {

/// COST_COLUMNS, from this one on.
RunCost read_cost(Statement& row, int i) {
  return {row.integer(i),           row.text(i + 1),         row.optional_wide(i + 2),
          row.optional_wide(i + 3), row.integer(i + 4) != 0, row.integer(i + 5),
          row.integer(i + 6),       row.integer(i + 7),      row.integer(i + 8),
          row.integer(i + 9),       row.integer(i + 10),     row.text(i + 11),
          row.integer(i + 12) != 0, row.integer(i + 13)};
}

RunRecord read_run(Statement& row) {
  RunRecord run;
  int i = 0;
  run.id = row.text(i++);
  run.owner = row.text(i++);
  run.number = row.integer(i++);
  run.status = row.text(i++);
  run.version = row.integer(i++);
  run.archived = row.integer(i++) != 0;
  run.created_us = row.integer(i++);
  run.placed_us = row.integer(i++);
  run.started_us = row.integer(i++);
  run.ended_us = row.integer(i++);
  run.creator = row.text(i++);
  run.machine = row.text(i++);
  run.reason_code = row.text(i++);
  run.reason = row.text(i++);
  run.exit_code = row.optional_integer(i++);
  run.signal = row.optional_integer(i++);
  run.log_bytes = row.integer(i++);
  run.outputs = row.text(i++);
  run.output_files = row.integer(i++);
  run.output_bytes = row.integer(i++);
  run.epoch = row.integer(i++);
  run.entries = row.integer(i++);
  run.taken = row.integer(i++);
  run.wanted = row.text(i++);
  run.project = row.text(i++);
  run.labels = row.text(i++);
  run.identity = row.text(i++);
  run.mounts = row.text(i++);
  run.takes.cpus = row.integer(i++);
  run.takes.memory = row.integer(i++);
  run.takes.gpus = row.integer(i++);
  run.workflow = row.integer(i++);
  run.name = row.text(i++);
  run.manages = row.integer(i++) != 0;
  run.resumed_from = row.integer(i++);
  run.resumed_as = row.integer(i++);
  run.restored = row.text(i++);
  run.fruitless = row.integer(i++);
  run.not_before_us = row.integer(i++);
  run.cost = read_cost(row, i);
  i += 14;
  run.takes.managing = run.manages && !run.nested() ? 1 : 0;
  std::string request = row.text(i++);
  if (auto body = model::parse_json(request))
    if (auto parsed = model::parse_run_request(*body)) run.request = std::move(*parsed);
  return run;
}

ProjectRecord read_project(Statement& row) {
  return {row.text(0),    row.text(1),    row.integer(2) != 0, row.integer(3),
          row.integer(4), row.integer(5), row.integer(6),      row.text(7)};
}

UploadRecord read_upload(Statement& row) {
  return {row.text(0),    row.text(1),    row.text(2),    row.text(3),
          row.integer(4), row.integer(5), row.integer(6), row.integer(7),
          row.integer(8), row.text(9),    row.integer(10)};
}

LinkRecord read_link(Statement& row) {
  return {row.text(0), row.text(1), row.integer(2), row.text(3)};
}

}  // namespace

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader::~Reader() = default;

Result<Reader> Reader::open(const std::string& path) {
  auto db = Connection::open(path, true);
  if (!db) return db.error();
  SPELL_TRY(db->execute("PRAGMA cache_size = -1024"));
  auto impl = std::make_unique<Impl>();
  impl->db = std::move(*db);
  return Reader(std::move(impl));
}

Result<std::optional<RunRecord>> Reader::find_run(const std::string& owner, std::int64_t number) {
  std::optional<RunRecord> run;
  SPELL_TRY(impl_->each(
      "SELECT " RUN_COLUMNS " FROM run WHERE owner = ? AND number = ?",
      [&](Statement& row) { run = read_run(row); }, owner, number));
  return run;
}

Result<std::optional<RunRecord>> Reader::find_run(const std::string& id) {
  std::optional<RunRecord> run;
  SPELL_TRY(impl_->each(
      "SELECT " RUN_COLUMNS " FROM run WHERE id = ?", [&](Statement& row) { run = read_run(row); },
      id));
  return run;
}

Result<std::vector<RunRecord>> Reader::list_runs(const RunQuery& q) {
  std::vector<RunRecord> runs;
  std::string label = q.label.empty() ? "" : "\n" + q.label + "\n";
  SPELL_TRY(impl_->each(
      "SELECT " RUN_COLUMNS
      " FROM run WHERE owner = ?1 AND number < ?2 AND (?3 = '' OR instr(labels, ?3) > 0)"
      " AND (?4 = '' OR project = ?4) AND (?5 = '' OR workspace = ?5 OR json_extract(request, "
      "'$.code.repository') = ?5)"
      " AND (?6 = 0 OR final = 0) AND archived <= ?7 AND (?9 = 0 OR workflow = ?9)"
      " ORDER BY number DESC LIMIT ?8",
      [&](Statement& row) { runs.push_back(read_run(row)); }, q.owner, q.below, label, q.project,
      q.repository, q.active, q.archived, q.limit, q.workflow));
  return runs;
}

Result<std::optional<RunRecord>> Reader::find_same(const std::string& owner,
                                                   const std::string& identity) {
  std::optional<RunRecord> run;
  SPELL_TRY(impl_->each(
      "SELECT " RUN_COLUMNS
      " FROM run WHERE owner = ? AND identity = ? AND"
      " (final = 0 OR (status = 'complete' AND exit_code = 0)) ORDER BY number DESC LIMIT 1",
      [&](Statement& row) { run = read_run(row); }, owner, identity));
  return run;
}

Result<std::vector<Event>> Reader::events(const std::string& run, std::int64_t after, int limit) {
  std::vector<Event> out;
  SPELL_TRY(impl_->each(
      "SELECT number, time_us, status, text, flags, log_offset FROM event WHERE run = ? AND number "
      "> ? ORDER BY number LIMIT ?",
      [&](Statement& row) {
        auto flags = row.integer(4);
        out.push_back({row.integer(0), row.integer(1), row.text(2), row.text(3), (flags & 1) != 0,
                       (flags & 2) != 0, row.integer(5)});
      },
      run, after, limit));
  return out;
}

Result<std::optional<KeyRecord>> Reader::find_key(const std::string& owner,
                                                  const std::string& key) {
  std::optional<KeyRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT run, body_hash, time_us FROM key WHERE owner = ? AND key = ?",
      [&](Statement& row) {
        found = KeyRecord{row.text(0), row.text(1), row.integer(2)};
      },
      owner, key));
  return found;
}

Result<std::vector<ProjectRecord>> Reader::projects(const std::string& owner, bool with_archived) {
  std::vector<ProjectRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT name, description, archived, created_us,"
      " (SELECT count(*) FROM run WHERE run.owner = project.owner AND run.project = project.name "
      "AND run.project <> ''), keep_days, keep_runs, creator"
      " FROM project WHERE owner = ? AND archived <= ? ORDER BY name",
      [&](Statement& row) { out.push_back(read_project(row)); }, owner, with_archived));
  return out;
}

Result<std::optional<ProjectRecord>> Reader::find_project(const std::string& owner,
                                                          const std::string& name) {
  std::optional<ProjectRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT name, description, archived, created_us,"
      " (SELECT count(*) FROM run WHERE run.owner = project.owner AND run.project = project.name "
      "AND run.project <> ''), keep_days, keep_runs, creator"
      " FROM project WHERE owner = ? AND name = ?",
      [&](Statement& row) { found = read_project(row); }, owner, name));
  return found;
}

Result<std::vector<RepositoryRecord>> Reader::repositories(const std::string& owner) {
  std::vector<RepositoryRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT r.workspace, r.name, r.used_us, (SELECT count(*) FROM run WHERE run.owner = r.owner "
      "AND"
      " run.workspace = r.workspace) FROM repository r WHERE owner = ? ORDER BY name, workspace",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.integer(2), row.integer(3)});
      },
      owner));
  return out;
}

Result<std::map<std::string, std::int64_t>> Reader::count_by_status(const std::string& owner) {
  std::map<std::string, std::int64_t> out;
  auto take = [&](Statement& row) { out[row.text(0)] = row.integer(1); };
  SPELL_TRY(owner.empty()
                ? impl_->each("SELECT status, count(*) FROM run GROUP BY status", take)
                : impl_->each("SELECT status, count(*) FROM run WHERE owner = ? GROUP BY status",
                              take, owner));
  return out;
}

Result<std::vector<RunRecord>> Reader::runs_with_outputs(const std::string& owner,
                                                         std::int64_t after, int limit) {
  std::vector<RunRecord> runs;
  SPELL_TRY(impl_->each(
      "SELECT " RUN_COLUMNS
      " FROM run WHERE owner = ? AND number > ? AND outputs <> '' ORDER BY number LIMIT ?",
      [&](Statement& row) { runs.push_back(read_run(row)); }, owner, after, limit));
  return runs;
}

Result<std::vector<LeasedRun>> Reader::leased_runs(const std::string& owner) {
  std::vector<LeasedRun> out;
  SPELL_TRY(impl_->each(
      "SELECT number, workflow, creator, project, machine, " COST_COLUMNS
      " FROM run INDEXED BY run_active WHERE final = 0 AND leased_us > 0 AND owner = ?",
      [&](Statement& row) {
        out.push_back({row.integer(0), row.integer(1), row.text(2), row.text(3), row.text(4),
                       read_cost(row, 5)});
      },
      owner));
  return out;
}

Result<std::vector<RunRecord>> Reader::held_runs() {
  std::vector<RunRecord> out;
  SPELL_TRY(impl_->each("SELECT " RUN_COLUMNS " FROM run INDEXED BY run_held WHERE held = 1",
                        [&](Statement& row) { out.push_back(read_run(row)); }));
  return out;
}

#define UPLOAD_COLUMNS \
  "owner, name, type, node, size, files, mode, modified_us, created_us, creator, modified_ns"

Result<std::optional<UploadRecord>> Reader::find_upload(const std::string& owner,
                                                        const std::string& name) {
  std::optional<UploadRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT " UPLOAD_COLUMNS " FROM upload WHERE owner = ? AND name = ?",
      [&](Statement& row) { found = read_upload(row); }, owner, name));
  return found;
}

Result<std::vector<UploadRecord>> Reader::uploads(const std::string& owner,
                                                  const std::string& after, int limit) {
  std::vector<UploadRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT " UPLOAD_COLUMNS " FROM upload WHERE owner = ? AND name > ? ORDER BY name LIMIT ?",
      [&](Statement& row) { out.push_back(read_upload(row)); }, owner, after, limit));
  return out;
}

Result<std::optional<LinkRecord>> Reader::find_link(const std::string& owner,
                                                    const std::string& alias) {
  std::optional<LinkRecord> found;
  SPELL_TRY(impl_->each(
      "SELECT alias, resource, created_us, creator FROM link WHERE owner = ? AND alias = ?",
      [&](Statement& row) { found = read_link(row); }, owner, alias));
  return found;
}

Result<std::vector<LinkRecord>> Reader::links(const std::string& owner) {
  std::vector<LinkRecord> out;
  SPELL_TRY(impl_->each(
      "SELECT alias, resource, created_us, creator FROM link WHERE owner = ? ORDER BY alias",
      [&](Statement& row) { out.push_back(read_link(row)); }, owner));
  return out;
}

Result<std::vector<RootRecord>> Reader::roots() {
  std::vector<RootRecord> out;
  std::string damaged;
  // One transaction: what moves from an upload into a run's mounts is in one of the two.
  SPELL_TRY(impl_->run("BEGIN"));
  auto read = [&]() -> Result<> {
    SPELL_TRY(impl_->each("SELECT owner, number, outputs FROM run WHERE outputs <> ''",
                          [&](Statement& row) {
                            out.push_back({row.text(0), "runs/" + row.text(1), row.text(2)});
                          }));
    SPELL_TRY(impl_->each("SELECT owner, name, node FROM upload WHERE node <> ''", [&](Statement&
                                                                                           row) {
      bool shared = row.text(0) == "public";
      out.push_back({row.text(0), (shared ? "public/" : "uploads/") + row.text(1), row.text(2)});
    }));
    SPELL_TRY(
        impl_->each("SELECT owner, name, node FROM layer WHERE node <> ''", [&](Statement& row) {
          out.push_back({row.text(0), "environment " + row.text(1), row.text(2)});
        }));
    return impl_->each("SELECT owner, number, mounts FROM run WHERE final = 0 AND mounts <> ''",
                       [&](Statement& row) {
                         auto mounts = model::parse_json(row.text(2));
                         if (!mounts || !mounts->is_array()) return void(damaged = row.text(1));
                         for (auto& mount : *mounts)
                           if (auto node = mount.find("node");
                               node != mount.end() && node->is_string())
                             if (auto name = node->get<std::string>(); !name.empty())
                               out.push_back({row.text(0), "", name});
                       });
  };
  auto done = read();
  auto ended = impl_->run("COMMIT");
  SPELL_TRY(done);
  SPELL_TRY(ended);
  if (!damaged.empty())
    return base::error("damaged", "the mounts of run " + damaged + " cannot be read");
  return out;
}

Result<std::vector<std::string>> Reader::commits(const std::string& owner,
                                                 const std::string& workspace) {
  std::vector<std::string> out;
  SPELL_TRY(impl_->each(
      "SELECT json_extract(request, '$.code.commit') FROM run WHERE owner = ?1 AND workspace = ?2"
      " UNION SELECT json_extract(code.value, '$.commit') FROM workflow, json_each(commits) AS code"
      " WHERE owner = ?1 AND commits <> '' AND json_extract(code.value, '$.workspace') = ?2",
      [&](Statement& row) { out.push_back(row.text(0)); }, owner, workspace));
  return out;
}

Result<std::vector<RunName>> Reader::runs_of_commit(const std::string& owner,
                                                    const std::string& workspace,
                                                    const std::string& commit) {
  std::vector<RunName> out;
  SPELL_TRY(impl_->each(
      "SELECT id, owner, number FROM run WHERE owner = ? AND workspace = ?"
      " AND json_extract(request, '$.code.commit') = ? ORDER BY number",
      [&](Statement& row) {
        out.push_back({row.text(0), row.text(1), row.integer(2)});
      },
      owner, workspace, commit));
  return out;
}

#define KEPT_RUN \
  "final = 1 AND labels = '' AND run.owner = project.owner AND run.project = project.name"

Result<std::vector<std::pair<std::string, std::int64_t>>> Reader::expired_runs(
    std::int64_t now_us) {
  std::vector<std::pair<std::string, std::int64_t>> out;
  SPELL_TRY(impl_->each(
      "SELECT owner, number FROM (SELECT run.owner AS owner, number, ended_us, keep_days, "
      "keep_runs,"
      " row_number() OVER (PARTITION BY run.owner, project.name ORDER BY number DESC) AS place"
      " FROM project JOIN run ON " KEPT_RUN
      ") WHERE (keep_days > 0 AND ended_us < ?1 - keep_days * 86400000000)"
      " OR (keep_runs > 0 AND place > keep_runs)",
      [&](Statement& row) { out.emplace_back(row.text(0), row.integer(1)); }, now_us));
  return out;
}

Result<std::int64_t> Reader::next_expiry_us(std::int64_t now_us) {
  std::int64_t next = 0;
  SPELL_TRY(impl_->each(
      "SELECT min(ended_us + keep_days * 86400000000) FROM project JOIN run ON " KEPT_RUN
      " WHERE keep_days > 0 AND ended_us + keep_days * 86400000000 > ?",
      [&](Statement& row) { next = row.integer(0); }, now_us));
  return next;
}

Result<bool> Reader::projects_keep() {
  bool found = false;
  SPELL_TRY(impl_->each("SELECT 1 FROM project WHERE keep_days > 0 OR keep_runs > 0 LIMIT 1",
                        [&](Statement&) { found = true; }));
  return found;
}

Result<std::vector<std::pair<std::string, std::int64_t>>> Reader::living_runs() {
  std::vector<std::pair<std::string, std::int64_t>> out;
  SPELL_TRY(impl_->each("SELECT id, created_us FROM run WHERE final = 0",
                        [&](Statement& row) { out.emplace_back(row.text(0), row.integer(1)); }));
  return out;
}

Result<std::vector<std::pair<RunName, std::int64_t>>> Reader::log_lengths() {
  std::vector<std::pair<RunName, std::int64_t>> out;
  SPELL_TRY(
      impl_->each("SELECT id, owner, number, log_bytes FROM run WHERE final = 1"
                  " ORDER BY owner, number",
                  [&](Statement& row) {
                    out.push_back({{row.text(0), row.text(1), row.integer(2)}, row.integer(3)});
                  }));
  return out;
}

Result<bool> Reader::has_run(const std::string& id) {
  bool found = false;
  SPELL_TRY(impl_->each(
      "SELECT 1 FROM run WHERE id = ?", [&](Statement&) { found = true; }, id));
  return found;
}

Result<std::optional<std::int64_t>> Reader::active_of_chain(const std::string& owner,
                                                            std::int64_t number) {
  std::optional<std::int64_t> found;
  SPELL_TRY(impl_->each(
      "WITH RECURSIVE chain (number) AS (VALUES (?2) UNION SELECT resumed_as FROM run JOIN chain"
      " USING (number) WHERE owner = ?1 AND resumed_as <> 0)"
      " SELECT number FROM run JOIN chain USING (number) WHERE owner = ?1 AND final = 0",
      [&](Statement& row) { found = row.integer(0); }, owner, number));
  return found;
}

Result<std::int64_t> Reader::note(const std::string& key) {
  std::int64_t value = 0;
  SPELL_TRY(impl_->each(
      "SELECT value FROM meta WHERE key = ?", [&](Statement& row) { value = row.integer(0); },
      key));
  return value;
}

void Reader::Impl::checkpoint_after(int pages) {
  checkpoint_every = checkpoint_at = pages;
  auto committed = [](void* to, sqlite3* on, const char* name, int frames) {
    auto& impl = *static_cast<Impl*>(to);
    if (frames < impl.checkpoint_at) return SQLITE_OK;
    int code = sqlite3_wal_checkpoint_v2(on, name, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    impl.checkpoint_at = impl.checkpoint_every;
    if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY) return SQLITE_OK;
    impl.checkpoint_at = frames + impl.checkpoint_every;
    impl.checkpoint_failed = sqlite_error(on, "copy the log of the database back into it");
    return SQLITE_OK;  // the commit is whole
  };
  sqlite3_wal_hook(db.get(), committed, this);
}

namespace {

// A checkpoint copies the log back into the database; every 4,000 pages (16 MB) keeps it off the
// common path.
constexpr int everyday_checkpoint = 4000;

/// Before SQLite sees them: it forgets what stands behind a frame that is wrong, and a log whose
/// database is not there.
Result<Wal> sound_log(const std::string& path) {
  auto log = read_wal(path);
  if (!log) return log;
  if (!log->damage.empty())
    return base::error("damaged", log->damage +
                                      ": restore it from a backup (spelld restore), or go on "
                                      "without the " +
                                      base::count(log->lost, "page") +
                                      " of changes behind it (spelld fsck --accept-log)");
  std::error_code none;
  auto size = std::filesystem::file_size(path, none);
  if (!log->pages.empty() && (none || size == 0))
    return damaged(path, "it is not there, its log " + path + "-wal is");
  return log;
}

}  // namespace

Result<std::optional<AcceptedLog>> accept_log(const std::string& path) {
  auto log = read_wal(path);
  if (!log) return log.error();
  if (log->damage.empty()) return std::optional<AcceptedLog>();
  AcceptedLog out{path + "-wal.damaged-" + base::hex(base::random_bytes(4)), log->lost};
  SPELL_TRY(copy_file(path + "-wal", out.kept));
  // Without the note SQLite reads it as far as it is whole.
  auto remove = [](const std::string& name) -> Result<> {
    if (::unlink(name.c_str()) == 0 || errno == ENOENT) return ok();
    return base::errno_error("remove " + name);
  };
  if (!log->begun) SPELL_TRY(remove(path + "-wal"));
  SPELL_TRY(remove(path + "-synced"));
  SPELL_TRY(base::sync_folder(folder_of(path)));
  return std::optional(out);
}

Result<Writer> Writer::open(const std::string& path) {
  auto log = sound_log(path);
  if (!log) return log.error();
  auto db = open_current(path);
  if (!db) return db.error();
  // Another program copied the log of a killed service back, without sums.
  if (log->pages.empty() && base::exists(path + "-synced")) SPELL_TRY(sum_pages(db->get(), false));
  // Pages of a transaction go to the log at its end alone: SQLite writes frames over that went
  // there earlier, and makes their sums right at the end, so that they could not be checked. It
  // holds what one transaction changes in memory for that: at most what the pages take that the
  // commands of one batch touch.
  SPELL_TRY(
      db->execute("PRAGMA cache_size = -4096; PRAGMA cache_spill = OFF;"
                  "PRAGMA foreign_keys = ON;"));
  auto impl = std::make_unique<Impl>();
  impl->db = std::move(*db);
  impl->checkpoint_after(everyday_checkpoint);
  Writer writer{Reader(std::move(impl))};
  SPELL_TRY(writer.impl_->each("SELECT value FROM meta WHERE key = 'incarnation'",
                               [&](Statement& row) { writer.incarnation_ = row.text(0); }));
  return writer;
}

Result<> Writer::begin() {
  auto begun = impl_->run("BEGIN IMMEDIATE");
  impl_->in_batch = true;
  if (!begun) impl_->spoilt = begun.error();
  return begun;
}
Result<> Writer::commit() {
  SPELL_TRY(impl_->run("COMMIT"));
  impl_->in_batch = false;
  return ok();
}
void Writer::rollback() {
  impl_->in_batch = false;
  impl_->spoilt.reset();
  if (!sqlite3_get_autocommit(impl_->db.get())) (void)impl_->run("ROLLBACK");
}

std::optional<Error> Writer::take_trouble() {
  return std::exchange(impl_->checkpoint_failed, std::nullopt);
}

Result<> Writer::save_space(bool wanted) {
  // The log is copied back and cut, and then again and again: the next pages go where the last ones
  // were.
  impl_->checkpoint_after(wanted ? 16 : everyday_checkpoint);
  return wanted ? impl_->db.execute("PRAGMA wal_checkpoint(TRUNCATE)") : ok();
}

Result<> Writer::insert_run(const RunRecord& r) {
  std::string request = model::to_json(r.request).dump();
  std::string workspace = r.request.code ? r.request.code->workspace : "";
  return impl_->run(
      "INSERT INTO run (id, owner, number, status, final, version, archived, created_us, "
      "placed_us, started_us, ended_us, creator,"
      " machine, reason_code, reason, exit_code, signal, log_bytes, outputs, output_files, "
      "output_bytes, epoch, entries, taken,"
      " wanted, project, labels, identity, workspace, mounts, takes_cpus, takes_memory, "
      "takes_gpus, workflow, name, manages, resumed_from, resumed_as, restored, fruitless, "
      "not_before_us, " COST_COLUMNS
      ", request)"
      " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,"
      "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
      r.id, r.owner, r.number, r.status, model::is_final(r.status), r.version, r.archived,
      r.created_us, r.placed_us, r.started_us, r.ended_us, r.creator, r.machine, r.reason_code,
      r.reason, r.exit_code, r.signal, r.log_bytes, r.outputs, r.output_files, r.output_bytes,
      r.epoch, r.entries, r.taken, r.wanted, r.project, r.labels, r.identity, workspace, r.mounts,
      r.takes.cpus, r.takes.memory, r.takes.gpus, r.workflow, r.name, r.manages, r.resumed_from,
      r.resumed_as, r.restored, r.fruitless, r.not_before_us, r.cost.leased_us, r.cost.type,
      r.cost.price, r.cost.on_demand, r.cost.spot, r.cost.saved_us, r.cost.said_us,
      r.cost.billed_ms, r.cost.billed_lost_ms, r.cost.allowed_ms, r.cost.ordered_ms,
      r.cost.limited_by, r.cost.held, r.cost.chain_cost, request);
}

Result<> Writer::update_run(const RunRecord& r) {
  return impl_->run(
      "UPDATE run SET status = ?, final = ?, version = ?, archived = ?, placed_us = ?, started_us "
      "= ?, ended_us = ?, machine = ?,"
      " reason_code = ?, reason = ?, exit_code = ?, signal = ?, log_bytes = ?, outputs = ?, "
      "output_files = ?, output_bytes = ?,"
      " epoch = ?, entries = ?, taken = ?, wanted = ?, project = ?, labels = ?, mounts = ?, "
      "takes_cpus = ?, takes_memory = ?, takes_gpus = ?, resumed_from = ?, resumed_as = ?, "
      "not_before_us = ?, leased_us = ?, cost_type = ?, price = ?, on_demand = ?, spot = ?, "
      "saved_us = ?, said_us = ?, billed_ms = ?, billed_lost_ms = ?, allowed_ms = ?, "
      "ordered_ms = ?, limited_by = ?, held = ?, chain_cost = ? WHERE owner = ? AND number = ?",
      r.status, model::is_final(r.status), r.version, r.archived, r.placed_us, r.started_us,
      r.ended_us, r.machine, r.reason_code, r.reason, r.exit_code, r.signal, r.log_bytes, r.outputs,
      r.output_files, r.output_bytes, r.epoch, r.entries, r.taken, r.wanted, r.project, r.labels,
      r.mounts, r.takes.cpus, r.takes.memory, r.takes.gpus, r.resumed_from, r.resumed_as,
      r.not_before_us, r.cost.leased_us, r.cost.type, r.cost.price, r.cost.on_demand, r.cost.spot,
      r.cost.saved_us, r.cost.said_us, r.cost.billed_ms, r.cost.billed_lost_ms, r.cost.allowed_ms,
      r.cost.ordered_ms, r.cost.limited_by, r.cost.held, r.cost.chain_cost, r.owner, r.number);
}

Result<> Writer::put_request(const RunRecord& run) {
  return impl_->run("UPDATE run SET request = ? WHERE id = ?", model::to_json(run.request).dump(),
                    run.id);
}

Result<> Writer::delete_run(const std::string& id) {
  SPELL_TRY(impl_->run("DELETE FROM event WHERE run = ?", id));
  return impl_->run("DELETE FROM run WHERE id = ?", id);
}

Result<> Writer::add_event(const std::string& run, const Event& e) {
  return impl_->run(
      "INSERT INTO event (run, number, time_us, status, text, flags, log_offset) VALUES "
      "(?,?,?,?,?,?,?)",
      run, e.number, e.time_us, e.status, e.text, (e.step ? 1 : 0) | (e.important ? 2 : 0),
      e.log_offset);
}

Result<> Writer::put_key(const std::string& owner, const std::string& key, const KeyRecord& k) {
  return impl_->run("INSERT INTO key (owner, key, run, body_hash, time_us) VALUES (?,?,?,?,?)",
                    owner, key, k.run, k.body_hash, k.time_us);
}

Result<> Writer::drop_keys_before(std::int64_t time_us) {
  // The names that runs have in a workflow count as long as that goes on.
  return impl_->run(
      "DELETE FROM key WHERE time_us < ? AND run NOT IN (SELECT run.id FROM run JOIN workflow ON"
      " run.workflow = workflow.number AND run.owner = workflow.owner"
      " WHERE run.workflow <> 0 AND workflow.ended_us = 0)",
      time_us);
}

Result<std::vector<RunRecord>> Writer::active_runs() {
  std::vector<RunRecord> runs;
  SPELL_TRY(each_active_run([&](RunRecord run) { runs.push_back(std::move(run)); }));
  return runs;
}

Result<> Writer::each_active_run(const std::function<void(RunRecord)>& take) {
  return impl_->each("SELECT " RUN_COLUMNS " FROM run WHERE final = 0 ORDER BY created_us, number",
                     [&](Statement& row) { take(read_run(row)); });
}

Result<std::int64_t> Writer::last_number(const std::string& owner) {
  std::int64_t number = 0;
  SPELL_TRY(impl_->each(
      "SELECT last_number FROM owner WHERE name = ?",
      [&](Statement& row) { number = row.integer(0); }, owner));
  return number;
}

Result<> Writer::set_last_number(const std::string& owner, std::int64_t number) {
  return impl_->run(
      "INSERT INTO owner (name, last_number) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET "
      "last_number = "
      "excluded.last_number",
      owner, number);
}

Result<> Writer::put_project(const std::string& owner, const std::string& name,
                             const ProjectRecord& p) {
  return impl_->run(
      "INSERT INTO project (owner, name, description, archived, created_us, keep_days, keep_runs,"
      " creator) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (owner, name) DO UPDATE SET"
      " description = excluded.description, archived = excluded.archived,"
      " keep_days = excluded.keep_days, keep_runs = excluded.keep_runs",
      owner, name, p.description, p.archived, p.created_us, p.keep_days, p.keep_runs, p.creator);
}

Result<> Writer::rename_project(const std::string& owner, const std::string& from,
                                const std::string& to) {
  SPELL_TRY(
      impl_->run("UPDATE project SET name = ? WHERE owner = ? AND name = ?", to, owner, from));
  SPELL_TRY(rename_cost(owner, "project", from, to));
  return impl_->run("UPDATE run SET project = ? WHERE owner = ? AND project = ?", to, owner, from);
}

Result<> Writer::put_upload(const UploadRecord& u) {
  return impl_->run("INSERT OR REPLACE INTO upload (" UPLOAD_COLUMNS
                    ") VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                    u.owner, u.name, u.type, u.node, u.size, u.files, u.mode, u.modified_us,
                    u.created_us, u.creator, u.modified_ns);
}

Result<> Writer::delete_upload(const std::string& owner, const std::string& name) {
  return impl_->run("DELETE FROM upload WHERE owner = ? AND name = ?", owner, name);
}

Result<> Writer::put_link(const std::string& owner, const LinkRecord& link) {
  return impl_->run(
      "INSERT OR REPLACE INTO link (owner, alias, resource, created_us, creator) VALUES "
      "(?,?,?,?,?)",
      owner, link.alias, link.resource, link.created_us, link.creator);
}

Result<> Writer::delete_link(const std::string& owner, const std::string& alias) {
  return impl_->run("DELETE FROM link WHERE owner = ? AND alias = ?", owner, alias);
}

Result<> Writer::set_note(const std::string& key, std::int64_t value) {
  return impl_->run("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", key,
                    std::to_string(value));
}

Result<> Writer::use_repository(const std::string& owner, const std::string& workspace,
                                const std::string& name, std::int64_t now_us) {
  return impl_->run(
      "INSERT INTO repository VALUES (?,?,?,?) ON CONFLICT (owner, workspace) DO UPDATE SET"
      " name = excluded.name, used_us = excluded.used_us",
      owner, workspace, name, now_us);
}

}  // namespace spell::store
