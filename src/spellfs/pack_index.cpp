#include "spellfs/pack_index.hpp"

#include <sqlite3.h>

#include <algorithm>

#include "base/error.hpp"

namespace spell::spellfs {

namespace {

constexpr int schema_version = 2;
constexpr const char* schema = R"(
  CREATE TABLE owner(number INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
  CREATE TABLE pack(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
                    size INTEGER NOT NULL, objects INTEGER NOT NULL);
  -- `owner` is who sent it first, 0 if that does not count; the others are in `sent`.
  CREATE TABLE object(name BLOB PRIMARY KEY, kind INTEGER NOT NULL, owner INTEGER NOT NULL,
                      pack INTEGER NOT NULL, place INTEGER NOT NULL, codec INTEGER NOT NULL,
                      raw INTEGER NOT NULL, stored INTEGER NOT NULL, level INTEGER NOT NULL,
                      size INTEGER NOT NULL, files INTEGER NOT NULL, depth INTEGER NOT NULL)
    WITHOUT ROWID;
  CREATE TABLE sent(owner INTEGER NOT NULL, name BLOB NOT NULL, PRIMARY KEY(owner, name))
    WITHOUT ROWID;
  PRAGMA user_version = 2;
)";

}  // namespace

/// A prepared statement; parameters and columns are used in order.
class PackIndex::Statement {
 public:
  Statement(sqlite3* db, const char* sql) {
    sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  bool valid() const { return statement_ != nullptr; }

  Statement& start() {
    sqlite3_reset(statement_);
    parameter_ = 0;
    return *this;
  }
  Statement& bind(std::int64_t value) {
    sqlite3_bind_int64(statement_, ++parameter_, value);
    return *this;
  }
  Statement& bind(std::string_view text) {
    sqlite3_bind_text(statement_, ++parameter_, text.data(), static_cast<int>(text.size()),
                      SQLITE_STATIC);
    return *this;
  }
  Statement& bind_blob(std::string_view bytes) {
    // A null pointer would bind NULL, not an empty blob.
    sqlite3_bind_blob(statement_, ++parameter_, bytes.empty() ? "" : bytes.data(),
                      static_cast<int>(bytes.size()), SQLITE_STATIC);
    return *this;
  }
  Statement& bind(const Name& name) {
    return bind_blob({reinterpret_cast<const char*>(name.digest.data()), name.digest.size()});
  }
  /// SQLITE_ROW, SQLITE_DONE or an error.
  int step() {
    column_ = 0;
    return sqlite3_step(statement_);
  }
  /// For statements without rows. Nothing stays open behind it.
  bool run() {
    int code = step();
    sqlite3_reset(statement_);
    return code == SQLITE_DONE;
  }
  void stop() { sqlite3_reset(statement_); }
  std::int64_t integer() { return sqlite3_column_int64(statement_, column_++); }
  std::string text() {
    auto* bytes = sqlite3_column_text(statement_, column_);
    auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column_++));
    return bytes ? std::string(reinterpret_cast<const char*>(bytes), size) : std::string();
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int parameter_ = 0, column_ = 0;
};

PackIndex::PackIndex(sqlite3* db) : db_(db) {}

PackIndex::~PackIndex() {
  for (auto* statement : {&find_, &find_sent_, &add_owner_, &add_pack_, &add_object_, &add_sent_,
                          &move_, &remove_object_, &remove_sent_, &drop_, &disown_})
    statement->reset();
  sqlite3_close(db_);
}

Error PackIndex::error(const char* what) const {
  int code = db_ ? sqlite3_errcode(db_) & 0xff : SQLITE_NOMEM;
  std::string message = std::string("cannot ") + what +
                        " the index of the packs: " + (db_ ? sqlite3_errmsg(db_) : "out of memory");
  if (code == SQLITE_FULL) return base::error("disk_full", message);
  // SQLITE_ERROR: the file is a database, but not with our tables.
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR)
    return base::error("damaged_index", message);
  return base::error("io_error", message);
}

Result<> PackIndex::run(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error("use");
  return ok();
}

Result<std::unique_ptr<PackIndex>> PackIndex::open(const std::string& path) {
  sqlite3* db = nullptr;
  int code = sqlite3_open_v2(
      path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<PackIndex> index(new PackIndex(db));
  if (code != SQLITE_OK) return index->error("open");
  sqlite3_busy_timeout(db, 10'000);
  SPELL_TRY(index->run(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8000;"));
  std::int64_t version = 0;
  {
    Statement query(db, "PRAGMA user_version");
    if (!query.valid() || query.step() != SQLITE_ROW) return index->error("open");
    version = query.integer();
  }
  if (version == 0)
    SPELL_TRY(index->run((std::string("BEGIN IMMEDIATE;") + schema + "COMMIT;").c_str()));
  else if (version != schema_version)
    return base::error("damaged_index", path + " has another version's tables");
  SPELL_TRY(index->prepare());
  return index;
}

Result<> PackIndex::prepare() {
  struct {
    std::unique_ptr<Statement>& statement;
    const char* sql;
  } const all[] = {
      {find_,
       "SELECT pack, pack.id, kind, place, codec, raw, stored, level, object.size, files, depth"
       " FROM object JOIN pack ON pack.number = pack WHERE object.name = ?"},
      {find_sent_,
       "SELECT kind, level, size, files, depth FROM object WHERE name = ?1 AND"
       " (owner = (SELECT number FROM owner WHERE name = ?2) OR EXISTS"
       "  (SELECT 1 FROM sent WHERE sent.name = ?1 AND"
       "   sent.owner = (SELECT number FROM owner WHERE name = ?2)))"},
      {add_owner_, "INSERT OR IGNORE INTO owner(name) VALUES(?)"},
      {add_pack_, "INSERT INTO pack(id, size, objects) VALUES(?, ?, ?)"},
      {add_object_, "INSERT OR IGNORE INTO object VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
      {add_sent_, "INSERT OR IGNORE INTO sent VALUES(?, ?)"},
      {move_,
       "UPDATE object SET pack = ?1, place = ?2, codec = ?3, stored = ?4 WHERE name = ?5 AND"
       " pack = (SELECT number FROM pack WHERE id = ?6)"},
      {remove_object_, "DELETE FROM object WHERE name = ?"},
      {remove_sent_, "DELETE FROM sent WHERE name = ? AND owner IN (SELECT number FROM owner)"},
      {disown_, "UPDATE object SET owner = 0 WHERE name = ?"},
      {drop_, "DELETE FROM pack WHERE id = ?"},
  };
  for (auto& [statement, sql] : all) {
    statement = std::make_unique<Statement>(db_, sql);
    if (!statement->valid()) return error("read");
  }
  return ok();
}

Result<std::optional<Location>> PackIndex::find(const Name& name) {
  int code = find_->start().bind(name).step();
  std::optional<Location> found;
  if (code == SQLITE_ROW) {
    found.emplace();
    found->pack = find_->integer();
    found->pack_id = find_->text();
    auto& [frame, facts] = found->object;
    frame.name = name;
    frame.kind = facts.kind = static_cast<Kind>(find_->integer());
    frame.offset = find_->integer();
    frame.codec = static_cast<Codec>(find_->integer());
    frame.raw = static_cast<std::uint32_t>(find_->integer());
    frame.stored = static_cast<std::uint32_t>(find_->integer());
    facts.level = static_cast<int>(find_->integer());
    facts.totals.size = find_->integer();
    facts.totals.files = find_->integer();
    facts.totals.depth = static_cast<int>(find_->integer());
  } else if (code != SQLITE_DONE) {
    return error("read");
  }
  find_->stop();
  return found;
}

Result<std::optional<Facts>> PackIndex::find_sent(const std::string& owner, const Name& name) {
  int code = find_sent_->start().bind(name).bind_blob(owner).step();
  std::optional<Facts> found;
  if (code == SQLITE_ROW) {
    found.emplace();
    found->kind = static_cast<Kind>(find_sent_->integer());
    found->level = static_cast<int>(find_sent_->integer());
    found->totals.size = find_sent_->integer();
    found->totals.files = find_sent_->integer();
    found->totals.depth = static_cast<int>(find_sent_->integer());
  } else if (code != SQLITE_DONE) {
    return error("read");
  }
  find_sent_->stop();
  return found;
}

Result<> PackIndex::add(const std::string& pack_id, const std::string& owner, std::int64_t size,
                        std::vector<Indexed> objects) {
  // In the table's order, so that a large pack does not jump about in a large index.
  std::sort(objects.begin(), objects.end(),
            [](const Indexed& a, const Indexed& b) { return a.frame.name < b.frame.name; });
  SPELL_TRY(run("BEGIN IMMEDIATE"));
  auto done = insert(pack_id, owner, size, objects);
  if (done) done = run("COMMIT");
  if (!done) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  return done;
}

Result<> PackIndex::insert(const std::string& pack_id, const std::string& owner, std::int64_t size,
                           const std::vector<Indexed>& objects) {
  if (!add_owner_->start().bind_blob(owner).run()) return error("write");
  std::int64_t sender = 0;
  {
    Statement query(db_, "SELECT number FROM owner WHERE name = ?");
    if (!query.valid() || query.start().bind_blob(owner).step() != SQLITE_ROW)
      return error("write");
    sender = query.integer();
  }
  if (!add_pack_->start()
           .bind(pack_id)
           .bind(size)
           .bind(static_cast<std::int64_t>(objects.size()))
           .run())
    return error("write");
  std::int64_t pack = sqlite3_last_insert_rowid(db_);
  for (auto& [frame, facts] : objects) {
    if (frame.codec != Codec::elsewhere) {
      auto& totals = facts.totals;
      add_object_->start()
          .bind(frame.name)
          .bind(static_cast<std::int64_t>(frame.kind))
          .bind(sender);
      add_object_->bind(pack).bind(frame.offset).bind(static_cast<std::int64_t>(frame.codec));
      add_object_->bind(std::int64_t{frame.raw}).bind(std::int64_t{frame.stored});
      add_object_->bind(std::int64_t{facts.level}).bind(totals.size).bind(totals.files);
      if (!add_object_->bind(std::int64_t{totals.depth}).run()) return error("write");
      if (sqlite3_changes(db_) > 0) continue;
    }
    if (!add_sent_->start().bind(sender).bind(frame.name).run()) return error("write");
  }
  return ok();
}

template <class Change>
Result<> PackIndex::durably(Change change) {
  // FULL: what is removed from a disk next must not come back to the index after a power loss.
  SPELL_TRY(run("PRAGMA synchronous = FULL; BEGIN IMMEDIATE"));
  Result<> done = change();
  if (done) done = run("COMMIT");
  if (!done) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_exec(db_, "PRAGMA synchronous = NORMAL", nullptr, nullptr, nullptr);
  return done;
}

Result<> PackIndex::move(const std::string& old_id, const std::string& pack_id,
                         const std::string& owner, std::int64_t size,
                         const std::vector<Frame>& frames) {
  return durably([&]() -> Result<> {
    if (!add_owner_->start().bind_blob(owner).run()) return error("write");
    if (!add_pack_->start()
             .bind(pack_id)
             .bind(size)
             .bind(static_cast<std::int64_t>(frames.size()))
             .run())
      return error("write");
    std::int64_t pack = sqlite3_last_insert_rowid(db_);
    for (auto& frame : frames) {
      if (frame.codec == Codec::elsewhere) continue;
      move_->start().bind(pack).bind(frame.offset).bind(static_cast<std::int64_t>(frame.codec));
      if (!move_->bind(std::int64_t{frame.stored}).bind(frame.name).bind(old_id).run())
        return error("write");
    }
    if (!drop_->start().bind(old_id).run()) return error("write");
    return ok();
  });
}

Result<> PackIndex::drop(const std::string& pack_id) {
  return durably([&]() -> Result<> {
    return drop_->start().bind(pack_id).run() ? ok() : Result<>(error("write"));
  });
}

Result<> PackIndex::remove(const std::vector<Name>& names) {
  return durably([&]() -> Result<> {
    for (auto& name : names) {
      if (!remove_object_->start().bind(name).run()) return error("write");
      if (!remove_sent_->start().bind(name).run()) return error("write");
    }
    return ok();
  });
}

Result<> PackIndex::disown(const std::vector<Name>& names) {
  return durably([&]() -> Result<> {
    for (auto& name : names) {
      if (!disown_->start().bind(name).run()) return error("write");
      if (!remove_sent_->start().bind(name).run()) return error("write");
    }
    return ok();
  });
}

Result<std::vector<PackIndex::Pack>> PackIndex::packs(std::int64_t after) {
  Statement query(db_, "SELECT number, id FROM pack WHERE number > ? ORDER BY number");
  if (!query.valid()) return error("read");
  std::vector<Pack> out;
  query.start().bind(after);
  int code;
  while ((code = query.step()) == SQLITE_ROW) {
    Pack& pack = out.emplace_back();
    pack.number = query.integer();
    pack.id = query.text();
  }
  if (code != SQLITE_DONE) return error("read");
  return out;
}

Result<std::int64_t> PackIndex::number(const char* sql) {
  Statement query(db_, sql);
  if (!query.valid() || query.step() != SQLITE_ROW) return error("read");
  return query.integer();
}

Result<std::int64_t> PackIndex::stored_bytes() {
  return number("SELECT coalesce(sum(size), 0) FROM pack");
}
Result<std::int64_t> PackIndex::objects() {
  return number("SELECT coalesce(sum(objects), 0) FROM pack");
}

Result<std::int64_t> PackIndex::other_owners(const std::string& owner) {
  Statement query(db_, "SELECT count(*) FROM owner WHERE name NOT IN (?, x'')");
  if (!query.valid() || query.start().bind_blob(owner).step() != SQLITE_ROW) return error("read");
  return query.integer();
}

}  // namespace spell::spellfs
