// Files of SQLite whose pages are checked: the last 8 bytes of each page of the database, which
// SQLite leaves to others ("reserved bytes"), hold the XXH3 of the rest, mixed with the page's
// number. They are written with the page and looked at when it is read, and so is each frame of
// the write-ahead log, by SQLite's own sums, at which it looks itself only after a crash. (Which
// page a frame is of is in that sum, but not held against the page that was asked for.) What is
// wrong is SQLITE_NOTADB, never data. The idea is that of sqlite.org/cksumvfs.html. Private to this
// folder.
//
// Another program that opens a database after a kill copies its log back without these sums. Such
// pages say so (pages.cpp), are taken as they are, and get a sum when they are next written, or by
// sum_pages. A database without reserved bytes (schema 5 and older) is read as it is.
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

/// Gives a sum to each page of the file that says it has none; with `holes` to those that are all
/// zero, too (in a file that SQLite wrote without a log, what was freed before it was ever
/// written). Durable. Nobody else uses the database, and its log is empty.
Result<> sum_pages(sqlite3*, bool holes);

}  // namespace spell::store
