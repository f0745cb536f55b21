// Files of SQLite whose pages are checked: the last 8 bytes of each page of the database, which
// SQLite leaves to others ("reserved bytes"), hold the XXH3 of the rest, mixed with the page's
// number. They are written with the page and looked at when it is read, and so is each frame of
// the write-ahead log, by SQLite's own sums, at which it looks itself only after a crash. What is
// wrong is SQLITE_IOERR_DATA, never data. The idea is that of sqlite.org/cksumvfs.html. Private to
// this folder.
//
// A page that is all zero was never written. A database without reserved bytes (schema 5 and
// older) is read as it is.
#pragma once
#include <sqlite3.h>

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "spell/result.hpp"

namespace spell::store {

/// What a connection is to be opened with. Thread-safe.
const char* checked_files();
/// To be called for each connection before anything else: a database that it makes is checked.
void reserve_for_checks(sqlite3*);

struct PagesRead {
  std::int64_t pages = 0;
  std::vector<std::uint32_t> wrong;
};
/// All pages of the file but `others`, of which a newer version is in the log. The caller is within
/// a transaction, so that none of them is written meanwhile.
Result<PagesRead> read_pages(sqlite3*, const std::unordered_set<std::uint32_t>& others);

}  // namespace spell::store
