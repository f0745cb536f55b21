#include "model/worker_protocol.hpp"

#include "base/error.hpp"
#include "model/machine_members.hpp"
#include "model/members.hpp"
#include "model/mount_members.hpp"
#include "model/run_members.hpp"
#include "model/run_request.hpp"

namespace spell::model {

template <>
struct Codec<RunRequest> {
  // A newer service may send members that this worker does not know.
  static Problem read(const json& j, RunRequest& out) {
    return read_run_request(j, out, Unknown::ignore);
  }
  static json write(const RunRequest& request) { return to_json(request); }
};

template <>
struct Table<RunEvent> {
  static constexpr Field<RunEvent> fields[] = {
      SPELL_REQUIRED(RunEvent, number),    SPELL_MEMBER(RunEvent, status),
      SPELL_MEMBER(RunEvent, text),        SPELL_MEMBER(RunEvent, important),
      SPELL_MEMBER(RunEvent, age_us),      SPELL_MEMBER(RunEvent, log_offset),
      SPELL_MEMBER(RunEvent, reason_code),
  };
};

template <>
struct Table<RunResult> {
  static constexpr Field<RunResult> fields[] = {
      SPELL_REQUIRED(RunResult, status),     SPELL_MEMBER(RunResult, reason_code),
      SPELL_MEMBER(RunResult, reason),       SPELL_MEMBER(RunResult, exit_code),
      SPELL_MEMBER(RunResult, signal),       SPELL_MEMBER(RunResult, log_bytes),
      SPELL_MEMBER(RunResult, outputs),      SPELL_MEMBER(RunResult, output_files),
      SPELL_MEMBER(RunResult, output_bytes), SPELL_MEMBER(RunResult, ended_age_us),
  };
};

template <>
struct Table<RunBackup> {
  static constexpr Field<RunBackup> fields[] = {
      SPELL_REQUIRED(RunBackup, outputs),
      SPELL_MEMBER(RunBackup, files),
      SPELL_MEMBER(RunBackup, bytes),
  };
};

template <>
struct Table<MachineNotice> {
  static constexpr Field<MachineNotice> fields[] = {
      SPELL_REQUIRED(MachineNotice, kind),
      SPELL_MEMBER(MachineNotice, text),
      SPELL_MEMBER(MachineNotice, remaining_ms),
  };
};

template <>
struct Table<RunReport> {
  static constexpr Field<RunReport> fields[] = {
      SPELL_REQUIRED(RunReport, run),  SPELL_REQUIRED(RunReport, epoch),
      SPELL_MEMBER(RunReport, events), SPELL_MEMBER(RunReport, result),
      SPELL_MEMBER(RunReport, backup), SPELL_MEMBER(RunReport, backlog),
  };
};

template <>
struct Table<WorkerHello> {
  static constexpr Field<WorkerHello> fields[] = {
      SPELL_MEMBER(WorkerHello, version),   SPELL_MEMBER(WorkerHello, boot_id),
      SPELL_MEMBER(WorkerHello, cores),     SPELL_MEMBER(WorkerHello, memory),
      SPELL_MEMBER(WorkerHello, disk_free), SPELL_MEMBER(WorkerHello, capabilities),
      SPELL_MEMBER(WorkerHello, shares),    SPELL_MEMBER(WorkerHello, notes),
      SPELL_MEMBER(WorkerHello, gpus),
  };
};

template <>
struct Table<SyncRequest> {
  static constexpr Field<SyncRequest> fields[] = {
      SPELL_REQUIRED(SyncRequest, protocol), SPELL_MEMBER(SyncRequest, incarnation),
      SPELL_MEMBER(SyncRequest, seen),       SPELL_MEMBER(SyncRequest, wait_ms),
      SPELL_MEMBER(SyncRequest, hello),      SPELL_MEMBER(SyncRequest, holds),
      SPELL_MEMBER(SyncRequest, reports),    SPELL_MEMBER(SyncRequest, numbers),
      SPELL_MEMBER(SyncRequest, notice),
  };
};

template <>
struct Table<StartCommand> {
  static constexpr Field<StartCommand> fields[] = {
      SPELL_REQUIRED(StartCommand, run),        SPELL_REQUIRED(StartCommand, epoch),
      SPELL_MEMBER(StartCommand, number),       SPELL_MEMBER(StartCommand, owner),
      SPELL_MEMBER(StartCommand, machine),      SPELL_REQUIRED(StartCommand, request),
      SPELL_MEMBER(StartCommand, code_url),     SPELL_MEMBER(StartCommand, env),
      SPELL_MEMBER(StartCommand, places),       SPELL_MEMBER(StartCommand, mounts),
      SPELL_MEMBER(StartCommand, secrets),      SPELL_MEMBER(StartCommand, cpus),
      SPELL_MEMBER(StartCommand, memory),       SPELL_MEMBER(StartCommand, gpus),
      SPELL_MEMBER(StartCommand, manages),      SPELL_MEMBER(StartCommand, restore),
      SPELL_MEMBER(StartCommand, allowance_ms),
  };
};

template <>
struct Table<Command> {
  static constexpr Field<Command> fields[] = {
      SPELL_REQUIRED(Command, number),     SPELL_REQUIRED(Command, type),
      SPELL_MEMBER(Command, run),          SPELL_MEMBER(Command, epoch),
      SPELL_MEMBER(Command, reason_code),  SPELL_MEMBER(Command, reason),
      SPELL_MEMBER(Command, start),        SPELL_MEMBER(Command, stream),
      SPELL_MEMBER(Command, kind),         SPELL_MEMBER(Command, remaining_ms),
      SPELL_MEMBER(Command, allowance_ms),
  };
};

template <>
struct Table<SyncAnswer> {
  static constexpr Field<SyncAnswer> fields[] = {
      SPELL_REQUIRED(SyncAnswer, incarnation), SPELL_MEMBER(SyncAnswer, lease_ms),
      SPELL_MEMBER(SyncAnswer, commands),      SPELL_MEMBER(SyncAnswer, refused),
      SPELL_MEMBER(SyncAnswer, lost_after),
  };
};

template <>
struct Table<JoinRequest> {
  static constexpr Field<JoinRequest> fields[] = {
      SPELL_REQUIRED(JoinRequest, protocol), SPELL_MEMBER(JoinRequest, name),
      SPELL_MEMBER(JoinRequest, version),    SPELL_MEMBER(JoinRequest, public_key),
      SPELL_REQUIRED(JoinRequest, hello),
  };
};

template <>
struct Table<JoinAnswer> {
  static constexpr Field<JoinAnswer> fields[] = {
      SPELL_REQUIRED(JoinAnswer, machine),   SPELL_MEMBER(JoinAnswer, name),
      SPELL_REQUIRED(JoinAnswer, token),     SPELL_MEMBER(JoinAnswer, certificate),
      SPELL_MEMBER(JoinAnswer, incarnation), SPELL_MEMBER(JoinAnswer, lost_after),
  };
};

Result<> check_hello(const WorkerHello& hello) {
  auto refused = [](const std::string& what) {
    return base::error("invalid_request", "hello: " + what);
  };
  if (hello.cores < 0 || hello.cores > 100'000) return refused("'cores' must be 0 to 100000");
  if (hello.memory < 0) return refused("'memory' must not be negative");
  if (hello.gpus.size() > 1000) return refused("'gpus' has more than 1000");
  for (auto& gpu : hello.gpus)
    if (gpu.index < 0 || gpu.memory < 0) return refused("'gpus' has a negative number");
  if (to_json(hello).dump().size() > 256 << 10) return refused("is longer than 256 KiB");
  return ok();
}

json to_json(const JoinRequest& request) { return write_object(request); }

Result<JoinRequest> parse_join_request(const json& j) {
  return read_message<JoinRequest>(j, Unknown::refuse, "invalid_request");
}

json to_json(const JoinAnswer& answer) { return write_object(answer); }

Result<JoinAnswer> parse_join_answer(const json& j) {
  return read_message<JoinAnswer>(j, Unknown::ignore, "invalid_answer");
}

json to_json(const WorkerHello& hello) { return write_object(hello); }

Result<WorkerHello> parse_worker_hello(const json& j) {
  return read_message<WorkerHello>(j, Unknown::ignore, "damaged");
}

json to_json(const SyncRequest& request) {
  json out = write_object(request);
  // A service that does not know of one refuses the whole message for the word.
  for (auto& report : out["reports"])
    for (auto* word : {"backup", "backlog"})
      if (report[word].is_null()) report.erase(word);
  if (out["notice"].is_null()) out.erase("notice");
  return out;
}

Result<SyncRequest> parse_sync_request(const json& j) {
  return read_message<SyncRequest>(j, Unknown::refuse, "invalid_request");
}

json to_json(const SyncAnswer& answer) { return write_object(answer); }

Result<SyncAnswer> parse_sync_answer(const json& j) {
  return read_message<SyncAnswer>(j, Unknown::ignore, "invalid_answer");
}

}  // namespace spell::model
