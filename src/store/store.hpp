// The durable truth of the service: runs, their events, keys, projects, in one SQLite database
// (WAL, synchronous=FULL).
//
// Writer: one, used by the reactor's thread; what happens between begin() and commit() is one group
// commit: when commit() has returned it survives a power loss. Readers: as many as wanted, each
// used by one thread at a time; they see committed state only.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/run.hpp"
#include "spell/result.hpp"

namespace spell::store {

/// The newest schema this program knows. Older files are migrated in one transaction after a copy
/// beside the file; newer ones are refused.
inline constexpr int schema_version = 1;

/// A run as the service keeps it.
struct RunRecord {
  std::string id, owner;    ///< id: 32 hex digits
  std::int64_t number = 0;  ///< as users see it
  std::string status = "machine_requested";
  std::int64_t version = 1;
  bool archived = false;
  std::int64_t created_us = 0, placed_us = 0, started_us = 0, ended_us = 0;
  std::string creator, machine;
  std::string reason_code, reason;
  std::optional<int> exit_code, signal;
  std::int64_t log_bytes = 0;  ///< of a final run; before that the log itself knows
  std::string outputs;
  std::int64_t output_files = 0, output_bytes = 0;
  std::int64_t epoch = 0;       ///< grows with each assignment
  std::int64_t entries = 0;     ///< number of the last event
  std::int64_t taken = 0;       ///< number of the worker's last event of this epoch that was taken
  std::string wanted;           ///< "", "stop", "kill"
  std::string project, labels;  ///< labels: "\nA\nB\n"; both may change after the submission
  std::string identity;         ///< hash of what makes two runs the same (for --idempotent)
  model::RunRequest request;
};

std::vector<std::string> split_labels(const std::string& labels);
std::string join_labels(const std::vector<std::string>& labels);

/// An entry of a run's log that is not output; with `step` a step of the life-cycle. The feed for
/// followers, accounting and audit.
struct Event {
  std::int64_t number = 0, time_us = 0;
  std::string status, text;
  bool step = false, important = false;
  std::int64_t log_offset = 0;  ///< output bytes that come before it
};

struct KeyRecord {
  std::string run, body_hash;  ///< run: its id
  std::int64_t time_us = 0;
};

struct ProjectRecord {
  std::string name, description;
  bool archived = false;
  std::int64_t created_us = 0, runs = 0;
};

struct RepositoryRecord {
  std::string workspace, name;
  std::int64_t used_us = 0, runs = 0;
};

struct RunQuery {
  std::string owner;
  int limit = 50;
  std::int64_t below = INT64_MAX;  ///< only runs with a smaller number
  std::string label, project, repository;
  bool active = false, archived = false;
  bool with_outputs = false;
};

/// What both sides can look up.
class Reader {
 public:
  struct Impl;
  explicit Reader(std::unique_ptr<Impl>);
  Reader(Reader&&) noexcept;
  ~Reader();
  static Result<Reader> open(const std::string& path);

  Result<std::optional<RunRecord>> find_run(const std::string& owner, std::int64_t number);
  Result<std::optional<RunRecord>> find_run(const std::string& id);
  /// The newest first.
  Result<std::vector<RunRecord>> list_runs(const RunQuery&);
  /// The newest run of this identity that is not final, or is complete with exit code 0.
  Result<std::optional<RunRecord>> find_same(const std::string& owner, const std::string& identity);
  Result<std::vector<Event>> events(const std::string& run, std::int64_t after, int limit = 1000);
  Result<std::optional<KeyRecord>> find_key(const std::string& owner, const std::string& key);
  Result<std::vector<ProjectRecord>> projects(const std::string& owner, bool with_archived);
  Result<std::optional<ProjectRecord>> find_project(const std::string& owner,
                                                    const std::string& name);
  Result<std::vector<RepositoryRecord>> repositories(const std::string& owner);
  Result<std::map<std::string, std::int64_t>> count_by_status(const std::string& owner);

 protected:
  std::unique_ptr<Impl> impl_;
};

class Writer : public Reader {
 public:
  /// Opens or makes the database; migrates. Errors: `newer_data` (made by a newer program),
  /// `damaged`, `disk_full`.
  static Result<Writer> open(const std::string& path);

  Result<> begin();
  Result<> commit();
  void rollback();

  Result<> insert_run(const RunRecord&);
  /// Everything that may change; the request does not.
  Result<> update_run(const RunRecord&);
  Result<> delete_run(const std::string& id);
  Result<> add_event(const std::string& run, const Event&);
  Result<> put_key(const std::string& owner, const std::string& key, const KeyRecord&);
  Result<> drop_keys_before(std::int64_t time_us);
  /// Non-final runs, oldest first.
  Result<std::vector<RunRecord>> active_runs();
  /// The highest number given to a run of this owner; 0: none.
  Result<std::int64_t> last_number(const std::string& owner);
  Result<> set_last_number(const std::string& owner, std::int64_t number);
  Result<> put_project(const std::string& owner, const std::string& name, const ProjectRecord&);
  Result<> rename_project(const std::string& owner, const std::string& from, const std::string& to);
  Result<> use_repository(const std::string& owner, const std::string& workspace,
                          const std::string& name, std::int64_t now_us);
  /// Random id of this database, renewed by a restore.
  const std::string& incarnation() const { return incarnation_; }

 private:
  explicit Writer(Reader reader) : Reader(std::move(reader)) {}
  std::string incarnation_;
};

}  // namespace spell::store
