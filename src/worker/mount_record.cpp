#include "worker/mount_record.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "model/members.hpp"
#include "model/run.hpp"

namespace spell::model {

template <>
struct Table<exec::MountSpec> {
  static constexpr Field<exec::MountSpec> fields[] = {
      SPELL_REQUIRED(exec::MountSpec, from),
      SPELL_REQUIRED(exec::MountSpec, upper),
      SPELL_REQUIRED(exec::MountSpec, work),
      SPELL_REQUIRED(exec::MountSpec, to),
  };
};

template <>
struct Table<exec::BindSpec> {
  static constexpr Field<exec::BindSpec> fields[] = {
      SPELL_REQUIRED(exec::BindSpec, from),
      SPELL_REQUIRED(exec::BindSpec, to),
      SPELL_MEMBER(exec::BindSpec, read_only),
  };
};

/// Times and inodes do not fit into JSON's numbers.
template <>
struct Codec<spellfs::KnownFile> {
  static Problem read(const json& j, spellfs::KnownFile& out) {
    auto text = j.get_ptr<const std::string*>();
    long long size = 0, mtime = 0, ctime = 0;
    unsigned long long inode = 0;
    if (!text || std::sscanf(text->c_str(), "%lld %lld %lld %llu %u", &size, &mtime, &ctime, &inode,
                             &out.mode) != 5)
      return {"", "is not the state of a file"};
    out.size = size;
    out.mtime_ns = mtime;
    out.ctime_ns = ctime;
    out.inode = inode;
    return {};
  }
  static json write(const spellfs::KnownFile& file) {
    return std::to_string(file.size) + " " + std::to_string(file.mtime_ns) + " " +
           std::to_string(file.ctime_ns) + " " + std::to_string(file.inode) + " " +
           std::to_string(file.mode);
  }
};

template <>
struct Table<worker::MountRecord> {
  static constexpr Field<worker::MountRecord> fields[] = {
      SPELL_REQUIRED(worker::MountRecord, mounts),
      SPELL_MEMBER(worker::MountRecord, binds),
      SPELL_REQUIRED(worker::MountRecord, keys),
      SPELL_REQUIRED(worker::MountRecord, copies),
      {"places",
       [](const json& j, worker::MountRecord& r, Unknown unknown) {
         return read_value(j, r.places, unknown);
       },
       true,
       [](const worker::MountRecord& r) {
         json object = json::object();
         for (auto& [path, file] : r.places) object[path] = write_value(file);
         return object;
       }},
  };
};

}  // namespace spell::model

namespace spell::worker {

namespace {
constexpr std::int64_t record_limit = 4 << 20;
}

Result<> write_mount_record(const std::string& run_folder, const MountRecord& record) {
  return base::write_file(run_folder + "/mounts", model::write_object(record).dump(), 0600, false);
}

Result<MountRecord> read_mount_record(const std::string& run_folder) {
  MountRecord record;
  auto text = base::read_file(run_folder + "/mounts", record_limit);
  if (!text) return text.error().code() == "not_found" ? Result<MountRecord>(record) : text.error();
  auto object = model::parse_json(*text, record_limit);
  if (!object || model::read_value(*object, record, model::Unknown::ignore))
    return base::error("damaged", run_folder + "/mounts is damaged");
  return record;
}

}  // namespace spell::worker
