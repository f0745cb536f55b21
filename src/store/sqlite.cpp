#include "store/sqlite.hpp"

#include <cerrno>

#include "base/error.hpp"
#include "store/pages.hpp"

namespace spell::store {

Error damaged(const std::string& path, std::string_view how) {
  return base::error("damaged", "the database " + path + " is damaged (" + std::string(how) +
                                    "): restore it from a backup (spelld restore)");
}

Error sqlite_error(sqlite3* db, std::string_view what) {
  int extended = sqlite3_extended_errcode(db), code = extended & 0xff;
  std::string text = std::string(what) + ": " + sqlite3_errmsg(db);
  // The system's error may be an older one: first what needs none.
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB || extended == SQLITE_IOERR_CORRUPTFS) {
    const char* file = sqlite3_db_filename(db, "main");
    return damaged(file ? file : "",
                   code == SQLITE_NOTADB ? "what stands in it is not what was written" : text);
  }
  // The index of the log could not grow, and the system's error is that of what came after it.
  bool no_room = extended == SQLITE_IOERR_SHMSIZE || sqlite3_system_errno(db) == ENOSPC;
  if (code == SQLITE_FULL || (code == SQLITE_IOERR && no_room))
    return base::error("disk_full", "the disk is full: " + text);
  return base::error("internal", "database: " + text);
}

Statement::Statement(sqlite3* db, const char* sql) {
  sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
}

Result<bool> Statement::step() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      sqlite3_reset(statement_);
      return false;
  }
  Error e = sqlite_error(sqlite3_db_handle(statement_), "step");
  sqlite3_reset(statement_);
  return e;
}

Result<> Statement::run() {
  auto row = step();
  if (!row) return row.error();
  sqlite3_reset(statement_);
  return ok();
}

Result<Connection> Connection::open(const std::string& path, bool read_only) {
  Connection connection;
  sqlite3* db = nullptr;
  int flags = SQLITE_OPEN_NOMUTEX |
              (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  int code = sqlite3_open_v2(path.c_str(), &db, flags, checked_files());
  connection.db_.reset(db);
  if (code != SQLITE_OK) return sqlite_error(db, "open " + path);
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, 10'000);
  reserve_for_checks(db);
  return connection;
}

Result<> Connection::execute(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return sqlite_error(db_.get(), sql);
  return ok();
}

Result<Statement> Connection::prepare(const char* sql) {
  sqlite3_stmt* probe = nullptr;
  if (sqlite3_prepare_v2(db_.get(), sql, -1, &probe, nullptr) != SQLITE_OK)
    return sqlite_error(db_.get(), sql);
  sqlite3_finalize(probe);
  return Statement(db_.get(), sql);
}

}  // namespace spell::store
