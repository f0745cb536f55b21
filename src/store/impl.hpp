// What Reader and Writer hold: one connection and its prepared statements. Private to this folder.
#pragma once
#include <optional>
#include <unordered_map>

#include "store/sqlite.hpp"
#include "store/store.hpp"

namespace spell::store {

struct Reader::Impl {
  Connection db;
  std::unordered_map<const char*, Statement> statements;  // keyed by the literal's address

  Result<Statement*> get(const char* sql) {
    auto found = statements.find(sql);
    if (found == statements.end()) {
      auto made = db.prepare(sql);
      if (!made) return made.error();
      found = statements.emplace(sql, std::move(*made)).first;
    }
    return &found->second;
  }

  // From begin() to commit() or rollback(). SQLite takes back all of a transaction at some errors,
  // and leaves half of a statement at damage. What comes then would be committed without what came
  // before it, and what is read lacks that: both are refused, and commit() says why.
  bool in_batch = false;
  std::optional<Error> spoilt;

  Result<> noted(Result<> done, bool writes) {
    if (done || !in_batch || spoilt) return done;
    if (sqlite3_get_autocommit(db.get()) || (writes && done.error().code() == "damaged"))
      spoilt = done.error();
    return done;
  }

  /// What changes something.
  template <class... T>
  Result<> run(const char* sql, const T&... values) {
    if (spoilt) return *spoilt;
    auto statement = get(sql);
    if (!statement) return noted(statement.error(), true);
    return noted((*statement)->bind(values...).run(), true);
  }

  /// Calls `row` for each row of what changes nothing.
  template <class Row, class... T>
  Result<> each(const char* sql, Row&& row, const T&... values) {
    if (spoilt) return *spoilt;
    auto statement = get(sql);
    if (!statement) return noted(statement.error(), false);
    (*statement)->bind(values...);
    for (;;) {
      auto more = (*statement)->step();
      if (!more) return noted(more.error(), false);
      if (!*more) return ok();
      row(**statement);
    }
  }

  // The log is copied back when it has so many pages; no more often after that failed.
  int checkpoint_every = 0, checkpoint_at = 0;
  std::optional<Error> checkpoint_failed;
  void checkpoint_after(int pages);
};

}  // namespace spell::store
