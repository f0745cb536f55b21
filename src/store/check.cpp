// Whether the database is what was written, and what is hurt where it is not.
#include "base/error.hpp"
#include "base/text.hpp"
#include "store/impl.hpp"
#include "store/pages.hpp"
#include "store/wal.hpp"

namespace spell::store {

namespace {

std::string list_of(const std::vector<std::uint32_t>& pages) {
  constexpr std::size_t most = 10;
  std::vector<std::string> shown;
  for (std::size_t i = 0; i < pages.size() && i < most; ++i)
    shown.push_back(std::to_string(pages[i]));
  if (pages.size() > most) shown.push_back("…");
  return base::join(shown, ", ");
}

/// The tables and indexes that cannot be read whole; the runs that lost something by it go to
/// `out`.
std::vector<std::string> unreadable(Reader& reader, Reader::Impl& impl, DatabaseCheck& out) {
  std::vector<std::string> parts;
  std::vector<std::pair<std::string, std::string>> names;
  bool runs = false, events = false;
  if (!impl.each("SELECT type, name FROM sqlite_schema WHERE rootpage > 0",
                 [&](Statement& row) { names.emplace_back(row.text(0), row.text(1)); }))
    return {"nothing of it"};
  // Not every build of SQLite has it.
  bool named = impl.each("SELECT 1 FROM dbstat LIMIT 1", [](Statement&) {}).ok() ||
               sqlite3_errcode(impl.db.get()) != SQLITE_ERROR;
  if (!named) {
    names.clear();
    runs = events = true;
  }
  for (auto& [type, name] : names) {
    if (impl.each(
            "SELECT count(*) FROM dbstat WHERE name = ?", [](Statement&) {}, name))
      continue;
    parts.push_back(type + " " + name);
    runs = runs || name == "run";
    events = events || name == "event";
  }
  if (!runs && !events) return parts;
  std::vector<std::pair<std::string, std::int64_t>> all;
  // Stands in an index, which is read alone.
  (void)impl.each("SELECT owner, number FROM run ORDER BY owner, number",
                  [&](Statement& row) { all.emplace_back(row.text(0), row.integer(1)); });
  for (auto& [owner, number] : all) {
    auto run = reader.find_run(owner, number);
    bool whole = run.ok();
    if (whole && events && *run)
      whole = impl.each(
                      "SELECT sum(length(text)) FROM event WHERE run = ?", [](Statement&) {},
                      (*run)->id)
                  .ok();
    if (!whole) out.hurt.push_back({"", owner, number});
  }
  return parts;
}

}  // namespace

Result<DatabaseCheck> Reader::check() {
  const char* file = sqlite3_db_filename(impl_->db.get(), "main");
  std::string path = file ? file : "";
  // Holds what is read now, so that the file's pages are not written meanwhile.
  SPELL_TRY(impl_->run("BEGIN"));
  auto look = [&]() -> Result<DatabaseCheck> {
    DatabaseCheck out;
    auto begun = impl_->each("SELECT 1 FROM meta LIMIT 1", [](Statement&) {});
    auto log = read_wal(path);
    if (!log) return log.error();
    if (!log->damage.empty()) out.damaged.push_back(log->damage);
    auto read = read_pages(impl_->db.get(), log->pages);
    if (!read) return read.error();
    out.pages = read->pages + static_cast<std::int64_t>(log->pages.size());
    bool sound = read->wrong.empty() && begun.ok();
    // Of pages that are known to be wrong it would tell what follows from that.
    if (sound) {
      auto structure = impl_->each("PRAGMA integrity_check(20)", [&](Statement& row) {
        if (auto line = row.text(0); line != "ok")
          out.damaged.push_back("the database " + path + ": " + line);
      });
      sound = structure && out.damaged.empty();
    }
    if (sound) return out;
    auto parts = base::join(unreadable(*this, *impl_, out), ", ");
    if (!read->wrong.empty())
      out.damaged.push_back("the database " + path + ": what stands in page " +
                            list_of(read->wrong) + " is not what was written" +
                            (parts.empty() ? "" : " (" + parts + ")") +
                            ": restore it from a backup (spelld restore)");
    else if (!parts.empty())
      out.damaged.push_back("the database " + path + " cannot be read whole (" + parts +
                            "): restore it from a backup (spelld restore)");
    else if (out.damaged.empty())
      out.damaged.push_back("the database " + path + " cannot be read whole");
    return out;
  };
  auto out = look();
  (void)impl_->run("COMMIT");
  return out;
}

}  // namespace spell::store
