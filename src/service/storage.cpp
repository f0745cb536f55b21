#include "service/storage.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/clock.hpp"
#include "base/count.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "git/store.hpp"
#include "model/status.hpp"
#include "service/resource_path.hpp"
#include "service/team_data.hpp"

namespace spell::service {

std::string Storage::shown(const std::string& owner, const std::string& resource) const {
  return owner == owner_ || owner == public_owner ? resource : owner + ": " + resource;
}

std::vector<Storage::Code> Storage::code() const {
  namespace fs = std::filesystem;
  constexpr std::string_view ending = ".git";
  std::vector<Code> found;
  std::error_code ignored;
  for (auto& owner : fs::directory_iterator(folder_ + "/code", ignored))
    for (auto& store : fs::directory_iterator(owner.path(), ignored)) {
      std::string name = store.path().filename();
      if (name.ends_with(ending) && git::Store::exists(store.path()))
        found.push_back(
            {owner.path().filename(), name.substr(0, name.size() - ending.size()), store.path()});
    }
  return found;
}

Result<> Storage::collect_code(const Code& code, std::chrono::seconds spare, std::stop_token stop,
                               Collected& out) {
  auto store = git::Store::open(code.path);
  if (!store) return store.error();
  auto freed = store->collect(
      [&] {
        return readers_.with(
            [&](store::Reader& reader) { return reader.commits(code.owner, code.workspace); });
      },
      spare, stop);
  if (!freed) return freed.error();
  out.objects += freed->objects;
  // A few objects less in a pack may take more than they took.
  std::int64_t bytes = std::max<std::int64_t>(0, freed->bytes);
  out.bytes += bytes;
  out.code_bytes += bytes;
  out.code_spared = out.code_spared || freed->spared;
  return ok();
}

Result<> Storage::check_code(const Code& code, std::stop_token stop, StorageCheck& out) {
  auto commits = readers_.with(
      [&](store::Reader& reader) { return reader.commits(code.owner, code.workspace); });
  if (!commits) return commits.error();
  auto store = git::Store::open(code.path);
  if (!store) return store.error();
  auto checked = store->check(*commits, stop);
  if (!checked) return checked.error();
  out.packs += checked->packs;
  out.objects += checked->objects;
  out.bytes += checked->bytes;
  out.damaged.insert(out.damaged.end(), checked->damaged.begin(), checked->damaged.end());
  for (auto& commit : checked->hurt) {
    auto runs = readers_.with([&](store::Reader& reader) {
      return reader.runs_of_commit(code.owner, code.workspace, commit);
    });
    if (!runs) return runs.error();
    for (auto& run : *runs)
      out.hurt.push_back(shown(run.owner, "runs/" + std::to_string(run.number)) +
                         ": its code (commit " + commit + ") is damaged or missing");
    if (runs->empty())
      out.hurt.push_back(shown(code.owner, "a workflow") + ": its code (commit " + commit +
                         ") is damaged or missing");
  }
  return ok();
}

Result<std::vector<spellfs::Root>> Storage::roots() {
  auto records = readers_.with([](store::Reader& reader) { return reader.roots(); });
  if (!records) return records.error();
  std::vector<spellfs::Root> out;
  out.reserve(records->size());
  for (auto& record : *records) {
    auto node = spellfs::Name::parse(record.node);
    if (!node)
      return base::error("damaged", "'" + record.node + "' of " + record.resource +
                                        " in the database is no name of an object");
    out.push_back({*node, shown(record.owner, record.resource)});
  }
  return out;
}

Result<Collected> Storage::collect(std::chrono::seconds spare, std::chrono::seconds spare_code,
                                   std::stop_token stop, const Others& others) {
  Collected out;
  auto began = std::chrono::steady_clock::now();
  // First the logs: a full disk has room for nothing else then.
  auto logs = logs_.sweep([this](const std::string& run) {
    return readers_.with([&](store::Reader& reader) { return reader.has_run(run); });
  });
  if (!logs) return logs.error();
  spellfs::CollectOptions options;
  // It was reckoned from before that.
  options.spare =
      spare + std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now() - began);
  options.stop = stop;
  auto all = [&]() -> Result<std::vector<spellfs::Root>> {
    auto all_roots = roots();
    if (all_roots && others)
      for (auto& root : others()) all_roots->push_back(std::move(root));
    return all_roots;
  };
  auto freed = objects_.collect(all, options);
  if (!freed) return freed.error();
  out.log_bytes = *logs;
  out.objects = freed->objects;
  out.bytes = freed->bytes + *logs;
  for (auto& repository : code())
    if (auto done = collect_code(repository, spare_code, stop, out); !done) {
      if (done.error().code() == "canceled") return done.error();
      out.problems.push_back("the code in " + repository.path +
                             " was not collected: " + done.error().message());
    }
  return out;
}

Result<StorageCheck> Storage::check(std::stop_token stop) {
  StorageCheck out;
  auto database = readers_.with([](store::Reader& reader) { return reader.check(); });
  if (!database) return database.error();
  out.damaged = database->damaged;
  for (auto& run : database->hurt)
    out.hurt.push_back(shown(run.owner, "runs/" + std::to_string(run.number)) +
                       ": what the database knows of it is damaged");
  auto what_it_names = [&]() -> Result<> {
    spellfs::CheckOptions options;
    options.stop = stop;
    auto checked = objects_.check([this] { return roots(); }, options);
    if (!checked) return checked.error();
    out.packs = checked->packs;
    out.objects = checked->objects;
    out.bytes = checked->bytes;
    for (auto& damage : checked->damaged)
      out.damaged.push_back("pack " + damage.pack + ": " + damage.what +
                            (damage.name ? " (object " + damage.name->text() + ")" : ""));
    for (auto& hurt : checked->hurt)
      out.hurt.push_back(hurt.label + ": " +
                         base::count(static_cast<std::int64_t>(hurt.names.size()), "object") +
                         (hurt.names.size() >= 100 ? " or more" : "") + " damaged or missing");
    for (auto& repository : code()) SPELL_TRY(check_code(repository, stop, out));
    // Of an ended run it is known how long its log was.
    auto runs = readers_.with([](store::Reader& reader) { return reader.log_lengths(); });
    if (!runs) return runs.error();
    for (auto& [run, length] : *runs) {
      auto log = logs_.check(run.id, stop),
           metrics = logs_.check(LogStore::metrics_of(run.id), stop);
      if (!log) return log.error();
      if (!metrics) return metrics.error();
      std::string name = shown(run.owner, "runs/" + std::to_string(run.number));
      if (log->output < length) {
        auto there = readers_.with([&](store::Reader& reader) { return reader.has_run(run.id); });
        if (!there) return there.error();
        if (!*there) continue;  // removed meanwhile
        out.hurt.push_back(name + ": of its log " + std::to_string(log->output) + " bytes of " +
                           std::to_string(length) + " are there and sound");
      }
      if (metrics->damaged)
        out.hurt.push_back(name + ": its metrics are damaged behind byte " +
                           std::to_string(metrics->output));
      if (!log->parts || !metrics->parts)
        out.damaged.push_back("the index of the log of " + name +
                              " (made anew when the log is next opened)");
    }
    return ok();
  };
  auto rest = what_it_names();
  if (!rest && (out.damaged.empty() || rest.error().code() == "canceled")) return rest.error();
  if (!rest)
    out.damaged.push_back("not all that the database names could be looked at: " +
                          rest.error().message());
  return out;
}

Result<Room> Storage::of(std::string name, const std::vector<spellfs::Name>& nodes) {
  Room room{std::move(name)};
  if (nodes.empty()) return room;
  auto used = objects_.usage(nodes);
  if (!used) return used.error();
  room.bytes = used->bytes;
  room.files = used->files;
  room.stored = used->stored;
  return room;
}

Result<Room> Storage::of_tree(std::string name, const spellfs::Name& tree) {
  constexpr std::size_t most_known = 64 << 10;
  {
    std::lock_guard lock(mutex_);
    if (auto it = known_.find(tree); it != known_.end()) {
      Room room = it->second;
      room.name = std::move(name);
      return room;
    }
  }
  auto room = of({}, {tree});
  if (!room) return room;
  std::lock_guard lock(mutex_);
  if (known_.size() >= most_known) known_.clear();
  known_[tree] = *room;
  room->name = std::move(name);
  return room;
}

Result<Room> Storage::usage(const std::string& owner, const std::string& path) {
  auto place = readers_.with([&](store::Reader& reader) { return resolve(reader, owner, path); });
  if (!place) return place.error();
  if (place->kind == ResourcePath::Kind::tree) {
    if (!place->root && place->below.empty()) return Room{path};
    auto entry = entry_at(objects_, *place);
    if (!entry) return entry.error();
    if (entry->node == spellfs::Name{}) return Room{path, 0, 0, 1};
    return of_tree(path, entry->node);
  }
  auto records = readers_.with([](store::Reader& reader) { return reader.roots(); });
  if (!records) return records.error();
  std::string within = path.empty() ? "" : path + "/";
  std::vector<spellfs::Name> nodes;
  for (auto& record : *records) {
    bool visible = record.owner == owner || (record.owner == public_owner && !path.empty());
    if (!visible || record.resource.empty() || !record.resource.starts_with(within)) continue;
    if (auto node = spellfs::Name::parse(record.node)) nodes.push_back(*node);
  }
  return of(path, nodes);
}

Result<std::vector<Room>> Storage::usage_by_run(const std::string& owner, std::int64_t after,
                                                int limit) {
  auto runs = readers_.with(
      [&](store::Reader& reader) { return reader.runs_with_outputs(owner, after, limit); });
  if (!runs) return runs.error();
  std::vector<Room> out;
  for (auto& run : *runs) {
    auto node = spellfs::Name::parse(run.outputs);
    std::string name = "runs/" + std::to_string(run.number);
    auto room = node ? of_tree(name, *node) : Room{name};
    if (!room) return room.error();
    out.push_back(std::move(*room));
  }
  return out;
}

Result<std::vector<Room>> Storage::usage_by_kind(const std::string& owner) {
  auto outputs = usage(owner, "runs");
  if (!outputs) return outputs.error();
  auto uploads = usage(owner, "uploads");
  if (!uploads) return uploads.error();
  outputs->name = "outputs";
  Room code{"code"}, logs{"logs"};
  auto repositories =
      readers_.with([&](store::Reader& reader) { return reader.repositories(owner); });
  if (!repositories) return repositories.error();
  for (auto& repository : *repositories) {
    auto store = git::Store::open(folder_ + "/code/" + owner + "/" + repository.workspace + ".git");
    if (!store) return store.error();
    code.bytes += store->size();
    ++code.files;
  }
  code.stored = code.bytes;
  auto runs = readers_.with([](store::Reader& reader) { return reader.log_lengths(); });
  if (!runs) return runs.error();
  for (auto& [run, length] : *runs) {
    if (run.owner != owner) continue;
    logs.bytes += length;
    logs.stored += logs_.stored_bytes(run.id);
    if (length > 0) ++logs.files;
  }
  return std::vector<Room>{*outputs, *uploads, code, logs};
}

Result<std::optional<store::AcceptedLog>> accept_log(const std::string& folder) {
  constexpr std::int64_t skip = 1000;
  std::string database = folder + "/spell.db";
  auto accepted = store::accept_log(database);
  if (!accepted || !*accepted) return accepted;
  auto writer = store::Writer::open(database);
  if (!writer) return writer.error();
  SPELL_TRY(writer->begin());
  SPELL_TRY(writer->skip_numbers(skip));
  SPELL_TRY(
      writer->add_audit({0, base::unix_us(), local_user, "service.accept_log", (*accepted)->kept,
                         base::count((*accepted)->lost, "page") + " left out", ""}));
  SPELL_TRY(writer->commit());
  return accepted;
}

struct StorageAtRest::Impl {
  std::optional<store::Writer> writer;
  std::unique_ptr<spellfs::PackStore> objects;
  std::unique_ptr<LogStore> logs;
  std::unique_ptr<Readers> readers;
  std::unique_ptr<Storage> storage;
};

StorageAtRest::StorageAtRest(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StorageAtRest::~StorageAtRest() = default;
Storage& StorageAtRest::storage() { return *impl_->storage; }

Result<std::unique_ptr<StorageAtRest>> StorageAtRest::open(const std::string& folder,
                                                           const std::string& owner) {
  auto impl = std::make_unique<Impl>();
  auto writer = store::Writer::open(folder + "/spell.db");
  if (!writer) return writer.error();
  impl->writer.emplace(std::move(*writer));
  auto objects = spellfs::open_pack_store(folder + "/objects");
  if (!objects) return objects.error();
  impl->objects = std::move(*objects);
  impl->logs = std::make_unique<LogStore>(folder + "/logs");
  impl->readers = std::make_unique<Readers>(folder + "/spell.db");
  impl->storage =
      std::make_unique<Storage>(*impl->readers, *impl->objects, *impl->logs, folder, owner);
  return std::unique_ptr<StorageAtRest>(new StorageAtRest(std::move(impl)));
}

}  // namespace spell::service
