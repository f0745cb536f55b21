// What a durable submission costs the database alone: three small rows, sixteen submissions a
// transaction, each synced. Prints the seconds for all.
//
//     spell_bench_floor_submit FILE COUNT
#include <sqlite3.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int group = 16;

void must(sqlite3* db, int code) {
  if (code == SQLITE_OK || code == SQLITE_DONE) return;
  std::fprintf(stderr, "spell_bench_floor_submit: %s\n", sqlite3_errmsg(db));
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: spell_bench_floor_submit FILE COUNT\n", stderr), 2;
  sqlite3* db = nullptr;
  must(db, sqlite3_open(argv[1], &db));
  must(db,
       sqlite3_exec(
           db,
           "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;"
           "CREATE TABLE run (id INTEGER PRIMARY KEY, request TEXT NOT NULL);"
           "CREATE TABLE event (run INTEGER, number INTEGER, text TEXT NOT NULL, PRIMARY KEY (run, "
           "number)) WITHOUT ROWID;"
           "CREATE TABLE key (key INTEGER PRIMARY KEY, run INTEGER NOT NULL, hash TEXT NOT NULL);",
           nullptr, nullptr, nullptr));
  sqlite3_stmt *run, *event, *key;
  must(db, sqlite3_prepare_v2(db, "INSERT INTO run VALUES (?1, printf('%.300c', 'r'))", -1, &run,
                              nullptr));
  must(db, sqlite3_prepare_v2(db, "INSERT INTO event VALUES (?1, 1, printf('%.60c', 'e'))", -1,
                              &event, nullptr));
  must(db, sqlite3_prepare_v2(db, "INSERT INTO key VALUES (?1, ?1, printf('%.64c', 'k'))", -1, &key,
                              nullptr));
  int count = std::atoi(argv[2]);
  auto start = std::chrono::steady_clock::now();
  for (int n = 0; n < count;) {
    must(db, sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr));
    for (int last = n + group; n < last && n < count; ++n)
      for (auto* statement : {run, event, key}) {
        sqlite3_bind_int(statement, 1, n);
        must(db, sqlite3_step(statement));
        sqlite3_reset(statement);
      }
    must(db, sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr));
  }
  std::printf("%f\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
