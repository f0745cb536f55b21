// What Reader and Writer hold: one connection and its prepared statements. Private to this folder.
#pragma once
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

  template <class... T>
  Result<> run(const char* sql, const T&... values) {
    auto statement = get(sql);
    if (!statement) return statement.error();
    return (*statement)->bind(values...).run();
  }

  /// Calls `row` for each row.
  template <class Row, class... T>
  Result<> each(const char* sql, Row&& row, const T&... values) {
    auto statement = get(sql);
    if (!statement) return statement.error();
    (*statement)->bind(values...);
    for (;;) {
      auto more = (*statement)->step();
      if (!more) return more.error();
      if (!*more) return ok();
      row(**statement);
    }
  }
};

}  // namespace spell::store
