#include "store/schema.hpp"

#include "base/error.hpp"
#include "base/hash.hpp"
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
    // Runs that go on after an interruption.
    R"(
ALTER TABLE run ADD COLUMN resumed_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN resumed_as INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN restored TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN fruitless INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN not_before_us INTEGER NOT NULL DEFAULT 0;
)"};
static_assert(std::size(steps) == schema_version);

Result<int> version_of(Connection& db) {
  auto query = db.prepare("PRAGMA user_version");
  if (!query) return query.error();
  auto row = query->step();
  if (!row) return row.error();
  return static_cast<int>(query->integer(0));
}

}  // namespace

Result<> refuse_newer(Connection& db, const std::string& path) {
  auto version = version_of(db);
  if (!version) return version.error();
  if (*version <= schema_version) return ok();
  return base::error("newer_data", path + " was written by a newer version of spell (schema " +
                                       std::to_string(*version) + ", this program knows " +
                                       std::to_string(schema_version) + "): upgrade spell");
}

Result<> migrate(Connection& db, const std::string& path) {
  auto version = version_of(db);
  if (!version) return version.error();
  if (*version == schema_version) return ok();
  if (*version > 0) {
    std::string copy = "VACUUM INTO '" + path + ".v" + std::to_string(*version) + "-" +
                       base::hex(base::random_bytes(4)) + "'";
    SPELL_TRY(db.execute(copy.c_str()));
  }
  SPELL_TRY(db.execute("BEGIN IMMEDIATE"));
  for (int step = *version; step < schema_version; ++step) {
    auto done = db.execute(steps[step]);
    if (done && step == 0) {
      std::string sql =
          "INSERT INTO meta VALUES ('incarnation', '" + base::hex(base::random_bytes(16)) + "')";
      done = db.execute(sql.c_str());
    }
    if (!done) {
      (void)db.execute("ROLLBACK");
      return done.error();
    }
  }
  std::string sql = "PRAGMA user_version = " + std::to_string(schema_version);
  SPELL_TRY(db.execute(sql.c_str()));
  return db.execute("COMMIT");
}

}  // namespace spell::store
