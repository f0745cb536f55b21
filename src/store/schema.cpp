#include "store/schema.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "store/copy_file.hpp"
#include "store/pages.hpp"
#include "store/store.hpp"

namespace spell::store {

namespace {

/// Step N brings version N to N + 1.
constexpr const char* steps[] = {
    R"(
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE owner (name TEXT PRIMARY KEY, last_number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE run (
  id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, number INTEGER NOT NULL,
  status TEXT NOT NULL, final INTEGER NOT NULL, version INTEGER NOT NULL, archived INTEGER NOT NULL,
  created_us INTEGER NOT NULL, placed_us INTEGER NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,
  creator TEXT NOT NULL, machine TEXT NOT NULL, reason_code TEXT NOT NULL, reason TEXT NOT NULL,
  exit_code INTEGER, signal INTEGER, log_bytes INTEGER NOT NULL,
  outputs TEXT NOT NULL, output_files INTEGER NOT NULL, output_bytes INTEGER NOT NULL,
  epoch INTEGER NOT NULL, entries INTEGER NOT NULL, taken INTEGER NOT NULL, wanted TEXT NOT NULL,
  project TEXT NOT NULL, labels TEXT NOT NULL, identity TEXT NOT NULL, workspace TEXT NOT NULL, request TEXT NOT NULL,
  PRIMARY KEY (owner, number));
CREATE INDEX run_active ON run (created_us) WHERE final = 0;
CREATE INDEX run_identity ON run (owner, identity);
CREATE INDEX run_project ON run (owner, project) WHERE project <> '';
CREATE TABLE event (
  run TEXT NOT NULL, number INTEGER NOT NULL, time_us INTEGER NOT NULL, status TEXT NOT NULL, text TEXT NOT NULL,
  flags INTEGER NOT NULL, log_offset INTEGER NOT NULL, PRIMARY KEY (run, number)) WITHOUT ROWID;
CREATE TABLE key (
  owner TEXT NOT NULL, key TEXT NOT NULL, run TEXT NOT NULL, body_hash TEXT NOT NULL, time_us INTEGER NOT NULL,
  PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX key_time ON key (time_us);
CREATE TABLE project (
  owner TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, archived INTEGER NOT NULL, created_us INTEGER NOT NULL,
  PRIMARY KEY (owner, name)) WITHOUT ROWID;
CREATE TABLE repository (
  owner TEXT NOT NULL, workspace TEXT NOT NULL, name TEXT NOT NULL, used_us INTEGER NOT NULL,
  PRIMARY KEY (owner, workspace)) WITHOUT ROWID;
)",
    // Uploads, link aliases, what a run's mounts were resolved to, and how long projects keep runs.
    R"(
CREATE TABLE upload (
  owner TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, node TEXT NOT NULL,
  size INTEGER NOT NULL, files INTEGER NOT NULL, mode INTEGER NOT NULL, modified_us INTEGER NOT NULL,
  created_us INTEGER NOT NULL, creator TEXT NOT NULL, PRIMARY KEY (owner, name)) WITHOUT ROWID;
CREATE TABLE link (
  owner TEXT NOT NULL, alias TEXT NOT NULL, resource TEXT NOT NULL, created_us INTEGER NOT NULL,
  PRIMARY KEY (owner, alias)) WITHOUT ROWID;
ALTER TABLE run ADD COLUMN mounts TEXT NOT NULL DEFAULT '';
ALTER TABLE project ADD COLUMN keep_days INTEGER NOT NULL DEFAULT 0;
ALTER TABLE project ADD COLUMN keep_runs INTEGER NOT NULL DEFAULT 0;
)",
    // People and their tokens, machines and their types, secrets, quotas, and who did what.
    // Times are microseconds of Unix time, 0: never. Tokens are stored as the hex SHA-256 of what
    // is shown.
    R"(
CREATE TABLE user (
  name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, disabled INTEGER NOT NULL,
  created_us INTEGER NOT NULL, seen_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE token (
  id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, user TEXT NOT NULL, machine TEXT NOT NULL,
  name TEXT NOT NULL, created_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, used_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX token_user ON token (user);
CREATE INDEX token_machine ON token (machine) WHERE machine <> '';
CREATE TABLE machine (
  owner TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL UNIQUE, serves TEXT NOT NULL,
  cpus INTEGER NOT NULL, memory INTEGER NOT NULL, gpus INTEGER NOT NULL, allow TEXT NOT NULL, drained INTEGER NOT NULL,
  key TEXT NOT NULL, created_us INTEGER NOT NULL, joined_us INTEGER NOT NULL, seen_us INTEGER NOT NULL,
  lost_after INTEGER NOT NULL, hello TEXT NOT NULL, PRIMARY KEY (owner, name)) WITHOUT ROWID;
ALTER TABLE run ADD COLUMN takes_cpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN takes_memory INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN takes_gpus INTEGER NOT NULL DEFAULT 0;
CREATE INDEX run_lost ON run (machine) WHERE reason_code = 'machine_lost';
CREATE TABLE machine_type (
  owner TEXT NOT NULL, name TEXT NOT NULL, spot INTEGER NOT NULL, auto_resume INTEGER NOT NULL,
  cpus INTEGER NOT NULL, memory INTEGER NOT NULL, gpus INTEGER NOT NULL, lost_after INTEGER NOT NULL,
  created_us INTEGER NOT NULL, PRIMARY KEY (owner, name)) WITHOUT ROWID;
CREATE TABLE secret (
  owner TEXT NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, created_us INTEGER NOT NULL,
  PRIMARY KEY (owner, user, name)) WITHOUT ROWID;
CREATE TABLE quota (
  owner TEXT NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (owner, user, name)) WITHOUT ROWID;
CREATE TABLE audit (
  number INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, user TEXT NOT NULL, action TEXT NOT NULL, thing TEXT NOT NULL,
  detail TEXT NOT NULL, request TEXT NOT NULL);
ALTER TABLE link ADD COLUMN creator TEXT NOT NULL DEFAULT '';
ALTER TABLE project ADD COLUMN creator TEXT NOT NULL DEFAULT '';
)",
    // The time of an upload that is one file or folder, beyond the microsecond.
    R"(
ALTER TABLE upload ADD COLUMN modified_ns INTEGER NOT NULL DEFAULT 0;
)",
    // Which users belong to which owners; owner '': the one that the service was made for.
    R"(
CREATE TABLE member (owner TEXT NOT NULL, user TEXT NOT NULL, PRIMARY KEY (owner, user)) WITHOUT ROWID;
INSERT INTO member SELECT '', name FROM user;
)"
    // Workflows; which runs are theirs, under what name, and which of those manage them. A token of
    // kind "workflow" belongs to the run that shows it.
    R"(
CREATE TABLE workflow (
  owner TEXT NOT NULL, number INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
  description TEXT NOT NULL, creator TEXT NOT NULL, run INTEGER NOT NULL, exit_code INTEGER,
  commits TEXT NOT NULL, key TEXT NOT NULL, body_hash TEXT NOT NULL,
  created_us INTEGER NOT NULL, ended_us INTEGER NOT NULL, PRIMARY KEY (owner, number)) WITHOUT ROWID;
CREATE UNIQUE INDEX workflow_key ON workflow (owner, key) WHERE key <> '';
ALTER TABLE owner ADD COLUMN last_workflow INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN workflow INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN manages INTEGER NOT NULL DEFAULT 0;
CREATE INDEX run_workflow ON run (workflow) WHERE workflow <> 0;
ALTER TABLE token ADD COLUMN run TEXT NOT NULL DEFAULT '';
)",
    // Runs that go on after an interruption. Pages carry sums (pages.hpp): the file is written anew
    // with room for them.
    R"(
ALTER TABLE run ADD COLUMN resumed_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN resumed_as INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN restored TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN fruitless INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN not_before_us INTEGER NOT NULL DEFAULT 0;
)",
    // Pools, which launch and end machines for a type, and machines that are about to go.
    R"(
ALTER TABLE machine ADD COLUMN pool TEXT NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN phase TEXT NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN phase_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE machine ADD COLUMN going_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE machine ADD COLUMN going TEXT NOT NULL DEFAULT '';
ALTER TABLE machine_type ADD COLUMN pool TEXT NOT NULL DEFAULT '';
ALTER TABLE machine_type ADD COLUMN pool_options TEXT NOT NULL DEFAULT '';
ALTER TABLE machine_type ADD COLUMN min_machines INTEGER NOT NULL DEFAULT 0;
ALTER TABLE machine_type ADD COLUMN max_machines INTEGER NOT NULL DEFAULT 0;
ALTER TABLE machine_type ADD COLUMN idle_timeout INTEGER NOT NULL DEFAULT 0;
ALTER TABLE machine_type ADD COLUMN launch_timeout INTEGER NOT NULL DEFAULT 0;
)",
    // Prices, in billionths of a dollar an hour; null: not known. Those of the list count for types
    // that have none of their own.
    R"(
ALTER TABLE machine_type ADD COLUMN price INTEGER;
ALTER TABLE machine_type ADD COLUMN spot_price INTEGER;
CREATE TABLE price (
  owner TEXT NOT NULL, name TEXT NOT NULL, price INTEGER, spot_price INTEGER, PRIMARY KEY (owner, name)) WITHOUT ROWID;
)"
    // What runs cost: see RunCost. Of those that have ended entries of model/cost.hpp stand in
    // "cost", many together, with numbers for names; until_ms: when the last of them ended.
    R"(
ALTER TABLE run ADD COLUMN leased_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN cost_type TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN price INTEGER;
ALTER TABLE run ADD COLUMN on_demand INTEGER;
ALTER TABLE run ADD COLUMN spot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN saved_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN said_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN billed_ms INTEGER NOT NULL DEFAULT -1;
ALTER TABLE run ADD COLUMN billed_lost_ms INTEGER NOT NULL DEFAULT 0;
CREATE TABLE cost (
  id INTEGER PRIMARY KEY, owner TEXT NOT NULL, until_ms INTEGER NOT NULL, entries BLOB NOT NULL);
CREATE TABLE cost_name (
  id INTEGER PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL);
CREATE INDEX cost_name_of ON cost_name (owner, kind, name);
CREATE TABLE cost_unpriced (
  owner TEXT NOT NULL, day INTEGER NOT NULL, type TEXT NOT NULL, PRIMARY KEY (owner, day, type)) WITHOUT ROWID;
CREATE TABLE machine_time (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, machine INTEGER NOT NULL, type INTEGER NOT NULL, price INTEGER NOT NULL,
  began_us INTEGER NOT NULL, joined_us INTEGER NOT NULL, ending_us INTEGER NOT NULL, ended_us INTEGER NOT NULL) WITHOUT ROWID;
)"
    // Layers of environments (node '': not built yet), and which of them a run was given.
    // `builder`: the run that builds it now, `made_by` the one that has.
    R"(
CREATE TABLE layer (
  owner TEXT NOT NULL, name TEXT NOT NULL, method TEXT NOT NULL, base TEXT NOT NULL, made_of TEXT NOT NULL,
  node TEXT NOT NULL, size INTEGER NOT NULL, files INTEGER NOT NULL, packages TEXT NOT NULL,
  builder TEXT NOT NULL, builder_epoch INTEGER NOT NULL, made_by TEXT NOT NULL,
  created_us INTEGER NOT NULL, used_us INTEGER NOT NULL, PRIMARY KEY (owner, name)) WITHOUT ROWID;
CREATE TABLE run_layer (
  run TEXT NOT NULL, method TEXT NOT NULL, layer TEXT NOT NULL, packages TEXT NOT NULL,
  PRIMARY KEY (run, method)) WITHOUT ROWID;
CREATE TRIGGER run_gone AFTER DELETE ON run BEGIN DELETE FROM run_layer WHERE run = OLD.id; END;
)",
    // Budgets, and what is reserved for runs, see RunCost. Of a chain that goes on the runs that are
    // still there tell what it has cost.
    R"(
ALTER TABLE run ADD COLUMN allowed_ms INTEGER NOT NULL DEFAULT -1;
ALTER TABLE run ADD COLUMN ordered_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN limited_by TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN chain_cost INTEGER NOT NULL DEFAULT 0;
CREATE INDEX run_held ON run (machine) WHERE held = 1;
CREATE TABLE budget (
  owner TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, amount INTEGER NOT NULL, monthly INTEGER NOT NULL,
  created_us INTEGER NOT NULL, told INTEGER NOT NULL, told_period INTEGER NOT NULL,
  PRIMARY KEY (owner, kind, name)) WITHOUT ROWID;
UPDATE run SET chain_cost = (
  WITH RECURSIVE earlier (number, cost) AS (
    SELECT run.resumed_from, 0
    UNION ALL
    SELECT r.resumed_from, CAST(r.price / 3600000.0 * max(r.billed_ms, 0) AS INTEGER) + 1
    FROM earlier JOIN run AS r ON r.owner = run.owner AND r.number = earlier.number)
  SELECT coalesce(sum(cost), 0) FROM earlier)
WHERE final = 0 AND resumed_from <> 0;
)"};
static_assert(std::size(steps) == schema_version);

std::string quoted(std::string text) {
  for (std::size_t at = 0; (at = text.find('\'', at)) != text.npos; at += 2) text.insert(at, "'");
  return text;
}

Result<int> version_of(Connection& db) {
  auto query = db.prepare("PRAGMA user_version");
  if (!query) return query.error();
  auto row = query->step();
  if (!row) return row.error();
  return static_cast<int>(query->integer(0));
}

Result<> refuse_newer(int version, const std::string& path) {
  if (version <= schema_version) return ok();
  return base::error("newer_data", path + " was written by a newer version of spell (schema " +
                                       std::to_string(version) + ", this program knows " +
                                       std::to_string(schema_version) + "): upgrade spell");
}

/// In one transaction.
Result<> take_steps(Connection& db, int version) {
  SPELL_TRY(db.execute("BEGIN IMMEDIATE"));
  auto all = [&]() -> Result<> {
    for (int step = version; step < schema_version; ++step) SPELL_TRY(db.execute(steps[step]));
    if (version == 0) {
      std::string sql =
          "INSERT INTO meta VALUES ('incarnation', '" + base::hex(base::random_bytes(16)) + "')";
      SPELL_TRY(db.execute(sql.c_str()));
    }
    std::string sql = "PRAGMA user_version = " + std::to_string(schema_version) + "; COMMIT";
    return db.execute(sql.c_str());
  };
  auto done = all();
  if (!done) (void)db.execute("ROLLBACK");
  return done;
}

/// Of an attempt that ended early.
Result<> drop(const std::string& path) {
  for (auto* end : {"", "-journal"})
    if (::unlink((path + end).c_str()) != 0 && errno != ENOENT)
      return base::errno_error("remove " + path + end);
  return ok();
}

/// Whole and durable when it returns.
Result<> make_anew(Connection& old, int version, const std::string& path) {
  SPELL_TRY(drop(path));
  SPELL_TRY(old.execute(("VACUUM INTO '" + quoted(path) + "'").c_str()));
  {
    auto db = Connection::open(path, false);
    if (!db) return db.error();
    SPELL_TRY(take_steps(*db, version));
    SPELL_TRY(sum_pages(db->get(), true));
  }
  return sync_file(path);
}

/// The old file stays beside the new one: by another name, or as a copy where there can be none.
Result<> keep(const std::string& path, int version) {
  namespace fs = std::filesystem;
  fs::path file(path);
  std::string begin = file.filename().string() + ".v" + std::to_string(version) + "-";
  std::error_code none;
  for (auto& entry : fs::directory_iterator(folder_of(path), none))
    if (entry.path().filename().string().starts_with(begin) &&
        fs::equivalent(entry.path(), file, none))
      return ok();  // of a start that was killed
  std::string name = folder_of(path) + begin + base::hex(base::random_bytes(4));
  if (::link(path.c_str(), name.c_str()) == 0) return base::sync_folder(folder_of(path));
  if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK)
    return copy_file(path, name);
  return base::errno_error("keep " + path + " as " + name);
}

/// Killed at any point, the next start finds the old file or the new one, whole.
Result<> replace(Connection old, int version, const std::string& path) {
  std::string anew = path + ".new";
  auto all = [&]() -> Result<> {
    SPELL_TRY(make_anew(old, version, anew));
    // One file, without a log that the new one would be taken for.
    {
      Connection closing = std::move(old);
      auto mode = closing.prepare("PRAGMA journal_mode = DELETE");
      if (!mode) return mode.error();
      if (auto row = mode->step(); !row) return row.error();
      if (mode->text(0) != "delete")
        return base::error("internal", path + " is in use by another program");
    }
    SPELL_TRY(keep(path, version));
    if (::rename(anew.c_str(), path.c_str()) != 0) return base::errno_error("replace " + path);
    return base::sync_folder(folder_of(path));
  };
  auto done = all();
  if (done) return done;
  (void)drop(anew);
  if (done.error().code() != "disk_full") return done;
  std::error_code none;
  auto size = static_cast<std::int64_t>(std::filesystem::file_size(path, none));
  return base::error("disk_full", "the disk is full: to take over " + path +
                                      " of an older version another " + base::format_size(size) +
                                      " are needed beside it");
}

/// Whether a file that holds nothing yet has no room for sums: an older program was killed while it
/// made it.
bool lacks_room(const std::string& path) {
  char header[100];
  auto file = base::open(path, O_RDONLY);
  if (!file) return false;
  auto read = base::pread_full(file->get(), header, sizeof header, 0);
  return read && *read == sizeof header && header[20] == 0;  // sqlite.org/fileformat2.html, 1.3
}

}  // namespace

Result<Connection> open_current(const std::string& path) {
  auto db = Connection::open(path, false);
  if (!db) return db;
  auto version = version_of(*db);
  if (!version) return version.error();
  SPELL_TRY(refuse_newer(*version, path));
  if (*version == schema_version) (void)drop(path + ".new");  // of a loss of power
  bool made = *version > 0 || lacks_room(path);
  if (made && *version < schema_version) {
    SPELL_TRY(replace(std::move(*db), *version, path));
    db = Connection::open(path, false);
    if (!db) return db;
  }
  SPELL_TRY(db->execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"));
  if (!made) SPELL_TRY(take_steps(*db, 0));
  return db;
}

}  // namespace spell::store
