// Copies of the whole database, and what makes a copy a database of its own.
#include <fcntl.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/hash.hpp"
#include "store/impl.hpp"

namespace spell::store {

Result<std::string> Reader::incarnation() {
  std::string value;
  SPELL_TRY(impl_->each("SELECT value FROM meta WHERE key = 'incarnation'",
                        [&](Statement& row) { value = row.text(0); }));
  return value;
}

Result<> Reader::copy_to(const std::string& path) {
  // Made by us, so that nobody else can read it from the first byte on.
  if (auto file = base::open(path, O_RDWR | O_CREAT | O_EXCL); !file) return file.error();
  auto copy = Connection::open(path, false);
  if (!copy) return copy.error();
  sqlite3_backup* backup = sqlite3_backup_init(copy->get(), "main", impl_->db.get(), "main");
  if (!backup) return sqlite_error(copy->get(), "begin a copy of the database");
  // In one step: one moment of the database, and no writer is kept waiting by it.
  sqlite3_backup_step(backup, -1);
  if (sqlite3_backup_finish(backup) != SQLITE_OK)
    return sqlite_error(copy->get(), "copy the database to " + path);
  // One file, without a journal beside it.
  SPELL_TRY(copy->execute("PRAGMA journal_mode = DELETE"));
  auto checked = copy->prepare("PRAGMA quick_check(1)");
  if (!checked) return checked.error();
  auto row = checked->step();
  if (!row) return row.error();
  if (!*row || checked->text(0) != "ok")
    return base::error("damaged", "the copy of the database is damaged: " + checked->text(0));
  auto file = base::open(path, O_RDONLY);
  if (!file) return file.error();
  if (::fsync(file->get()) != 0) return base::errno_error("write " + path);
  return ok();
}

Result<std::int64_t> Reader::count_runs() {
  std::int64_t count = 0;
  SPELL_TRY(
      impl_->each("SELECT count(*) FROM run", [&](Statement& row) { count = row.integer(0); }));
  return count;
}

Result<> Writer::renew_incarnation() {
  incarnation_ = base::hex(base::random_bytes(16));
  return impl_->run("UPDATE meta SET value = ? WHERE key = 'incarnation'", incarnation_);
}

Result<> Writer::skip_numbers(std::int64_t skip) {
  return impl_->run(
      "UPDATE owner SET last_number = last_number + ?1, last_workflow = last_workflow + ?1", skip);
}

}  // namespace spell::store
