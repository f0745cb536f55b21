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
  bool in_transaction = false;                            ///< of a Writer
  std::optional<Error> gave_up;  ///< why SQLite has rolled it back by itself: nothing is written

  Result<Statement*> get(const char* sql) {
    auto found = statements.find(sql);
    if (found == statements.end()) {
      auto made = db.prepare(sql);
      if (!made) return made.error();
      found = statements.emplace(sql, std::move(*made)).first;
    }
    return &found->second;
  }

  Error failed(const Error& error) {
    if (in_transaction && sqlite3_get_autocommit(db.get())) gave_up = error;
    return error;
  }

  template <class... T>
  Result<> run(const char* sql, const T&... values) {
    if (gave_up) return *gave_up;
    auto statement = get(sql);
    if (!statement) return statement.error();
    auto done = (*statement)->bind(values...).run();
    return done ? done : Result<>(failed(done.error()));
  }

  /// Calls `row` for each row.
  template <class Row, class... T>
  Result<> each(const char* sql, Row&& row, const T&... values) {
    if (gave_up) return *gave_up;
    auto statement = get(sql);
    if (!statement) return statement.error();
    (*statement)->bind(values...);
    for (;;) {
      auto more = (*statement)->step();
      if (!more) return failed(more.error());
      if (!*more) return ok();
      row(**statement);
    }
  }
};

}  // namespace spell::store
