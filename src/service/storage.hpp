// What a service keeps, as a whole: frees what nothing names, looks whether all is as it was
// written, tells how much room it takes. Used by the running service, and by spelld on the folder
// of one that does not run. Thread-safe; every operation blocks on the disk, some for long.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "service/log_store.hpp"
#include "service/readers.hpp"
#include "spell/resource.hpp"
#include "spell/result.hpp"
#include "spellfs/pack_store.hpp"

namespace spell::service {

struct Collected {
  std::int64_t objects = 0, bytes = 0;  ///< bytes: that the disk got back
  std::int64_t log_bytes = 0;           ///< of that, from logs of removed runs
  std::int64_t code_bytes = 0;          ///< of that, from the code of removed runs
  bool code_spared = false;             ///< code that came lately may be wanted yet
  std::vector<std::string> problems;    ///< what could not be collected, a line each
};

struct Room {
  std::string name;
  std::int64_t bytes = 0, stored = 0, files = 0;  ///< stored: what is shared, once
};

class Storage {
 public:
  /// `folder`: the service's. `owner`: whose resources are named without their owner.
  Storage(Readers& readers, spellfs::PackStore& objects, LogStore& logs, std::string folder,
          std::string owner)
      : readers_(readers),
        objects_(objects),
        logs_(logs),
        folder_(std::move(folder)),
        owner_(std::move(owner)) {}

  /// Trees that are kept besides those that the database names.
  using Others = std::function<std::vector<spellfs::Root>()>;
  /// What arrived within `spare` stays, named or not; code, within `spare_code`.
  Result<Collected> collect(std::chrono::seconds spare, std::chrono::seconds spare_code,
                            std::stop_token stop = {}, const Others& others = {});
  /// Errors are those of a check that could not be carried out; what it finds is in the result.
  Result<StorageCheck> check(std::stop_token stop = {});

  /// What is at the path of a resource; "", "runs", "uploads", "public": of all of them.
  Result<Room> usage(const std::string& owner, const std::string& path);
  /// Of runs with outputs, by number from behind `after` on.
  Result<std::vector<Room>> usage_by_run(const std::string& owner, std::int64_t after, int limit);
  /// outputs, uploads, code, logs.
  Result<std::vector<Room>> usage_by_kind(const std::string& owner);

 private:
  struct Code {
    std::string owner, workspace, path;
  };
  std::vector<Code> code() const;
  Result<> collect_code(const Code&, std::chrono::seconds spare, std::stop_token, Collected&);
  Result<> check_code(const Code&, std::stop_token, StorageCheck&);
  std::string shown(const std::string& owner, const std::string& resource) const;
  Result<std::vector<spellfs::Root>> roots();
  Result<Room> of(std::string name, const std::vector<spellfs::Name>& nodes);
  /// Of one tree: walked once, since a name stands for the same tree for ever.
  Result<Room> of_tree(std::string name, const spellfs::Name& tree);

  std::mutex mutex_;                                                  // of what follows
  std::unordered_map<spellfs::Name, Room, spellfs::NameHash> known_;  ///< without their names

  Readers& readers_;
  spellfs::PackStore& objects_;
  LogStore& logs_;
  std::string folder_, owner_;
};

/// Lets a service start again whose database has a damaged log: see store::accept_log. Numbers of
/// runs go on 1,000 higher, so that none is given twice. The caller holds the service's lock.
Result<std::optional<store::AcceptedLog>> accept_log(const std::string& folder);

/// The storage of a service that does not run: the caller holds its lock.
class StorageAtRest {
 public:
  /// Errors: those of opening the data.
  static Result<std::unique_ptr<StorageAtRest>> open(const std::string& folder,
                                                     const std::string& owner);
  ~StorageAtRest();
  Storage& storage();

 private:
  struct Impl;
  explicit StorageAtRest(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace spell::service
