// A thin, typed layer over SQLite: connections, prepared statements, one translation of its errors.
// Private to this folder.
#pragma once
#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "spell/result.hpp"

namespace spell::store {

/// Says the way out.
Error damaged(const std::string& path, std::string_view how);
Error sqlite_error(sqlite3* db, std::string_view what);

/// A parameter that is bound as bytes, not as text.
struct Blob {
  std::string_view bytes;
};

class Statement {
 public:
  Statement() = default;
  Statement(sqlite3* db, const char* sql);
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(Statement&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept {
    std::swap(statement_, other.statement_);
    return *this;
  }

  /// Binds the parameters in order; text must live until the statement is reset.
  template <class... T>
  Statement& bind(const T&... values) {
    sqlite3_reset(statement_);
    int index = 0;
    (bind_one(++index, values), ...);
    return *this;
  }
  /// True: there is a row. Errors are those of sqlite3_step.
  Result<bool> step();
  /// Runs a statement that has no rows.
  Result<> run();

  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string text(int column) const {
    auto* p = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return p ? std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
             : std::string();
  }
  std::string blob(int column) const {
    auto* p = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    return p ? std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
             : std::string();
  }
  /// Until the next step.
  std::string_view bytes(int column) const {
    auto* p = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    return p ? std::string_view(p,
                                static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
             : std::string_view();
  }
  std::optional<int> optional_integer(int column) const {
    if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
    return sqlite3_column_int(statement_, column);
  }
  std::optional<std::int64_t> optional_wide(int column) const {
    if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
    return integer(column);
  }
  void reset() { sqlite3_reset(statement_); }

 private:
  template <class T>
  void bind_one(int index, const T& value) {
    if constexpr (std::is_integral_v<T>) {
      sqlite3_bind_int64(statement_, index, static_cast<std::int64_t>(value));
    } else if constexpr (std::is_same_v<T, std::optional<int>> ||
                         std::is_same_v<T, std::optional<std::int64_t>>) {
      if (value)
        sqlite3_bind_int64(statement_, index, *value);
      else
        sqlite3_bind_null(statement_, index);
    } else if constexpr (std::is_same_v<T, Blob>) {
      sqlite3_bind_blob(statement_, index, value.bytes.data(), static_cast<int>(value.bytes.size()),
                        SQLITE_STATIC);
    } else {
      std::string_view text(value);
      sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()),
                        SQLITE_STATIC);
    }
  }
  sqlite3_stmt* statement_ = nullptr;
};

class Connection {
 public:
  static Result<Connection> open(const std::string& path, bool read_only);
  Result<> execute(const char* sql);
  Result<Statement> prepare(const char* sql);
  sqlite3* get() const { return db_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace spell::store
