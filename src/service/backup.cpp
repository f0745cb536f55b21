#include "service/backup.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "model/cost.hpp"
#include "service/storage.hpp"
#include "service/team_data.hpp"
#include "spell/version.hpp"

namespace spell::service {

namespace {

using nlohmann::json;

constexpr int format = 1;
constexpr const char* record_name = "backup.json";
constexpr const char* folders[] = {"objects", "logs", "code", "keys"};

/// What backup.json says.
struct Record {
  std::string incarnation, database, digest, owner;
  std::int64_t time_us = 0;
};

Error not_a_backup(const std::string& folder, const std::string& why) {
  return base::error("not_a_backup", folder + " " + why);
}

/// None: there is no backup in the folder.
Result<std::optional<Record>> read_record(const std::string& folder) {
  auto text = base::read_file(folder + "/" + record_name, 1 << 20);
  if (!text && text.error().code() == "not_found") return std::optional<Record>();
  if (!text) return text.error();
  json j = json::parse(*text, nullptr, false);
  auto is_text = [&](const char* name) { return j.contains(name) && j[name].is_string(); };
  bool whole = j.is_object() && j.contains("format") && j["format"].is_number_integer() &&
               j.contains("time_us") && j["time_us"].is_number_integer() &&
               is_text("incarnation") && is_text("database") && is_text("database_sha256");
  if (!whole) return not_a_backup(folder, "has a backup.json that is damaged");
  if (j["format"] > format)
    return base::error("newer_data", folder + " was made by a newer version of spell: upgrade it");
  Record record{j["incarnation"], j["database"], j["database_sha256"], j.value("owner", ""),
                j["time_us"]};
  if (record.database.find('/') != std::string::npos)
    return not_a_backup(folder, "has a backup.json that is damaged");
  return std::optional(record);
}

Result<> write_record(const std::string& folder, const Record& record) {
  json j{{"format", format},
         {"time", base::rfc3339(record.time_us)},
         {"time_us", record.time_us},
         {"version", version()},
         {"schema", store::schema_version},
         {"owner", record.owner},
         {"incarnation", record.incarnation},
         {"database", record.database},
         {"database_sha256", record.digest}};
  return base::write_file(folder + "/" + record_name, j.dump(2) + "\n");
}

Result<std::string> digest_of(const std::string& path) {
  auto file = base::open(path, O_RDONLY);
  if (!file) return file.error();
  base::Sha256 hash;
  std::string piece(1 << 20, '\0');
  for (std::int64_t at = 0;;) {
    auto read = base::pread_full(file->get(), piece.data(), piece.size(), at);
    if (!read) return read.error();
    if (*read == 0) return base::hex(hash.finish());
    hash.update({piece.data(), *read});
    at += static_cast<std::int64_t>(*read);
  }
}

Result<base::Fd> lock(const std::string& folder) {
  auto file = base::open(folder + "/lock", O_RDWR | O_CREAT);
  if (!file) return file.error();
  if (::flock(file->get(), LOCK_EX | LOCK_NB) != 0)
    return base::error("backup_running", "another backup into " + folder + " is going on");
  return file;
}

bool is_empty(const std::string& folder) {
  std::error_code problem;
  return std::filesystem::is_empty(folder, problem) || problem;
}

bool lies_in(const std::string& path, const std::string& folder) {
  std::error_code problem;
  auto is = std::filesystem::weakly_canonical(path, problem).string() + "/";
  auto of = std::filesystem::weakly_canonical(folder, problem).string() + "/";
  return is.starts_with(of) || of.starts_with(is);
}

/// Files of runs and their code first, and what names them last: whoever named them before the
/// database was read finds them.
Result<> take_files(Mirror& mirror) {
  SPELL_TRY(mirror.take("objects/packs"));
  SPELL_TRY(mirror.take("logs"));
  SPELL_TRY(mirror.take("code", {"objects"}));
  SPELL_TRY(mirror.take("keys"));
  return mirror.take("spelld.toml");
}

}  // namespace

Result<BackupDone> back_up(const std::string& state_folder, Readers& readers,
                           const std::string& folder, const std::string& owner, std::int64_t now_us,
                           std::stop_token stop) {
  if (!folder.starts_with('/'))
    return base::error("invalid_request", "the folder of a backup must be an absolute path");
  if (lies_in(folder, state_folder))
    return base::error("invalid_request", folder + " and the data that is to be backed up (" +
                                              state_folder + ") lie in each other");
  bool fresh = is_empty(folder);
  if (!fresh) {
    auto before = read_record(folder);
    if (!before) return before.error();
    bool unfinished = base::exists(folder + "/lock");  // of a first backup that was cut off
    if (!*before && !unfinished)
      return not_a_backup(folder, "is not empty and holds no backup; choose another folder");
  }
  SPELL_TRY(base::make_folders(folder));
  auto held = lock(folder);
  if (!held) return held.error();
  auto incarnation = readers.with([](store::Reader& reader) { return reader.incarnation(); });
  if (!incarnation) return incarnation.error();
  auto before = read_record(folder);
  if (!before) return before.error();
  if (*before && (*before)->incarnation != *incarnation)
    return not_a_backup(folder, "holds a backup of other data; choose another folder");

  // Most of the bytes, so that little is left to do after the database was read.
  Mirror first(state_folder, folder, stop);
  SPELL_TRY(take_files(first));
  Record record{*incarnation, "db-" + std::to_string(now_us) + ".sqlite", "", owner, now_us};
  std::string database = folder + "/" + record.database;
  auto copied = readers.with([&](store::Reader& reader) { return reader.copy_to(database); });
  if (!copied) return copied.error();
  auto digest = digest_of(database);
  if (!digest) return digest.error();
  record.digest = *digest;
  // What the database names is there now, whatever came between.
  Mirror mirror(state_folder, folder, stop);
  SPELL_TRY(take_files(mirror));
  SPELL_TRY(base::sync_folder(folder));
  SPELL_TRY(write_record(folder, record));

  for (auto* part : folders) SPELL_TRY(mirror.drop_others(part));
  std::error_code problem;
  for (auto& entry : std::filesystem::directory_iterator(folder, problem))
    if (std::string name = entry.path().filename();
        name.starts_with("db-") && name != record.database)
      SPELL_TRY(base::remove_tree(entry.path()));
  BackupDone done{folder, now_us, mirror.mirrored()};
  done.mirrored.new_files += first.mirrored().new_files;
  done.mirrored.new_bytes += first.mirrored().new_bytes;
  done.database_bytes = static_cast<std::int64_t>(std::filesystem::file_size(database, problem));
  return done;
}

Result<BackupDone> back_up_at_rest(const std::string& state_folder, const std::string& folder,
                                   const std::string& owner, std::int64_t now_us) {
  // Brings what the last service left of its database into one piece, and refuses newer data.
  auto writer = store::Writer::open(state_folder + "/spell.db");
  if (!writer) return writer.error();
  Readers readers(state_folder + "/spell.db");
  return back_up(state_folder, readers, folder, owner, now_us);
}

json backup_json(const BackupDone& done) {
  return {{"folder", done.folder},
          {"time", base::rfc3339(done.time_us)},
          {"files", done.mirrored.files},
          {"bytes", done.mirrored.bytes + done.database_bytes},
          {"new_files", done.mirrored.new_files},
          {"new_bytes", done.mirrored.new_bytes + done.database_bytes}};
}

namespace {

/// Ends the workflow that this run manages; its credentials are void.
Result<> interrupt_workflow(store::Writer& writer, const store::RunRecord& run,
                            std::int64_t now_us) {
  SPELL_TRY(writer.delete_tokens_of_run(run.id));
  auto workflow = writer.find_workflow(run.owner, run.workflow);
  if (!workflow) return workflow.error();
  if (!*workflow || (*workflow)->run != run.number) return ok();
  (*workflow)->status = run.status;
  (*workflow)->ended_us = now_us;
  return writer.put_workflow(**workflow);
}

/// What it has cost as far as the backup knows; its machine may come back and tell the rest, which
/// stays reserved where something is.
Result<> bill(store::Writer& writer, store::RunRecord& run, std::int64_t backup_us) {
  auto& cost = run.cost;
  if (cost.leased_us == 0 || run.manages) return ok();
  auto until_us = std::max(cost.said_us, backup_us);
  cost.billed_ms = model::ms_between(cost.leased_us, until_us);
  if (cost.allowed_ms >= 0) cost.billed_ms = std::min(cost.billed_ms, cost.allowed_ms);
  cost.held = cost.allowed_ms > cost.billed_ms;
  cost.billed_lost_ms = std::min(
      cost.billed_ms, model::ms_between(std::max(cost.leased_us, cost.saved_us), until_us));
  using base::day_us;
  if (!cost.price) return writer.add_unpriced(run.owner, until_us / day_us, cost.type);
  model::CostEntry entry;
  for (auto [number, kind, name] : {std::tuple(&entry.user, "user", &run.creator),
                                    std::tuple(&entry.project, "project", &run.project),
                                    std::tuple(&entry.type, "type", &cost.type),
                                    std::tuple(&entry.machine, "machine", &run.machine)}) {
    if (name->empty()) continue;
    auto known = writer.make_cost_number(run.owner, kind, *name);
    if (!known) return known.error();
    *number = *known;
  }
  entry.spot = cost.spot;
  entry.run = run.number;
  entry.workflow = run.workflow;
  entry.began_ms = cost.leased_us / 1000;
  entry.ms = cost.billed_ms;
  entry.lost_ms = cost.billed_lost_ms;
  entry.price = *cost.price;
  entry.on_demand = cost.on_demand;
  std::string bytes;
  model::append(bytes, entry);
  return writer.add_costs(run.owner, entry.began_ms + entry.ms, bytes);
}

/// Ends what had not ended.
Result<> interrupt_runs(store::Writer& writer, std::int64_t backup_us, std::int64_t now_us,
                        std::vector<std::string>& interrupted) {
  auto active = writer.active_runs();
  if (!active) return active.error();
  for (auto& run : *active) {
    run.status = "interrupted";
    run.reason_code = "service_restored";
    run.reason = "the service was restored from a backup of " + base::rfc3339(backup_us) +
                 "; what became of the run since is not known (spell rerun " +
                 std::to_string(run.number) + " runs it again)";
    run.wanted.clear();
    run.ended_us = now_us;
    SPELL_TRY(bill(writer, run, backup_us));
    ++run.version;
    store::Event event;
    event.number = ++run.entries;
    event.time_us = now_us;
    event.status = run.status;
    event.text = "Run " + std::to_string(run.number) + " interrupted: " + run.reason;
    event.step = event.important = true;
    event.log_offset = run.log_bytes;
    SPELL_TRY(writer.add_event(run.id, event));
    if (run.manages) SPELL_TRY(interrupt_workflow(writer, run, now_us));
    SPELL_TRY(writer.update_run(run));
    interrupted.push_back(run.owner + " " + std::to_string(run.number));
  }
  return ok();
}

Result<> renew(const std::string& database, std::int64_t skip, std::int64_t now_us, Restored& out) {
  auto writer = store::Writer::open(database);
  if (!writer) return writer.error();
  auto runs = writer->count_runs();
  if (!runs) return runs.error();
  out.runs = *runs;
  auto change = [&]() -> Result<> {
    SPELL_TRY(writer->begin());
    SPELL_TRY(writer->renew_incarnation());
    SPELL_TRY(writer->skip_numbers(skip));
    SPELL_TRY(interrupt_runs(*writer, out.time_us, now_us, out.interrupted));
    SPELL_TRY(writer->add_audit({0, now_us, local_user, "service.restore",
                                 base::rfc3339(out.time_us), "the backup's time", ""}));
    return writer->commit();
  };
  return change();
}

}  // namespace

Result<Restored> restore(const std::string& folder, const std::string& data, std::int64_t skip,
                         std::int64_t now_us) {
  auto record = read_record(folder);
  if (!record) return record.error();
  if (!*record)
    return not_a_backup(folder, base::exists(folder) ? "holds no whole backup" : "does not exist");
  if (base::exists(data) && !is_empty(data))
    return base::error("file_exists",
                       data + " is not empty; a backup is restored into a new folder");
  if (lies_in(data, folder))
    return base::error("invalid_request", data + " and " + folder + " lie in each other");
  auto held = lock(folder);
  if (!held) return held.error();

  // An earlier attempt that was cut off is begun anew.
  std::string half = data + ".restoring";
  SPELL_TRY(base::remove_tree(half));
  SPELL_TRY(base::make_folders(half));
  Restored out;
  out.time_us = (*record)->time_us;
  out.numbers_skipped = skip;
  Mirror mirror(folder, half);
  SPELL_TRY(take_files(mirror));
  SPELL_TRY(mirror.take((*record)->database));
  auto digest = digest_of(half + "/" + (*record)->database);
  if (!digest) return digest.error();
  if (*digest != (*record)->digest)
    return base::error("damaged", folder + "/" + (*record)->database +
                                      " is damaged: it is not what the backup wrote");
  if (::rename((half + "/" + (*record)->database).c_str(), (half + "/spell.db").c_str()) != 0)
    return base::errno_error("make " + half + "/spell.db");
  SPELL_TRY(renew(half + "/spell.db", skip, now_us, out));
  out.bytes = mirror.mirrored().bytes;

  {
    auto opened = StorageAtRest::open(half, (*record)->owner);
    if (!opened) return opened.error();
    auto checked = (*opened)->storage().check();
    if (!checked) return checked.error();
    out.missing = checked->damaged;
    out.missing.insert(out.missing.end(), checked->hurt.begin(), checked->hurt.end());
  }
  SPELL_TRY(base::sync_folder(half));
  if (base::exists(data) && ::rmdir(data.c_str()) != 0) return base::errno_error("replace " + data);
  if (::rename(half.c_str(), data.c_str()) != 0) return base::errno_error("make " + data);
  auto slash = data.rfind('/');
  SPELL_TRY(base::sync_folder(slash == 0 ? "/" : data.substr(0, slash)));
  return out;
}

}  // namespace spell::service
