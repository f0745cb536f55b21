#include "model/worker_protocol.hpp"

#include "model/members.hpp"
#include "model/mount_members.hpp"
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
struct Table<RunReport> {
  static constexpr Field<RunReport> fields[] = {
      SPELL_REQUIRED(RunReport, run),
      SPELL_REQUIRED(RunReport, epoch),
      SPELL_MEMBER(RunReport, events),
      SPELL_MEMBER(RunReport, result),
  };
};

template <>
struct Table<WorkerHello> {
  static constexpr Field<WorkerHello> fields[] = {
      SPELL_MEMBER(WorkerHello, version),   SPELL_MEMBER(WorkerHello, boot_id),
      SPELL_MEMBER(WorkerHello, cores),     SPELL_MEMBER(WorkerHello, memory),
      SPELL_MEMBER(WorkerHello, disk_free), SPELL_MEMBER(WorkerHello, capabilities),
      SPELL_MEMBER(WorkerHello, shares),    SPELL_MEMBER(WorkerHello, notes),
  };
};

template <>
struct Table<SyncRequest> {
  static constexpr Field<SyncRequest> fields[] = {
      SPELL_REQUIRED(SyncRequest, protocol), SPELL_MEMBER(SyncRequest, incarnation),
      SPELL_MEMBER(SyncRequest, seen),       SPELL_MEMBER(SyncRequest, wait_ms),
      SPELL_MEMBER(SyncRequest, hello),      SPELL_MEMBER(SyncRequest, holds),
      SPELL_MEMBER(SyncRequest, reports),
  };
};

template <>
struct Table<StartCommand> {
  static constexpr Field<StartCommand> fields[] = {
      SPELL_REQUIRED(StartCommand, run),    SPELL_REQUIRED(StartCommand, epoch),
      SPELL_MEMBER(StartCommand, number),   SPELL_MEMBER(StartCommand, owner),
      SPELL_MEMBER(StartCommand, machine),  SPELL_REQUIRED(StartCommand, request),
      SPELL_MEMBER(StartCommand, code_url), SPELL_MEMBER(StartCommand, env),
      SPELL_MEMBER(StartCommand, places),   SPELL_MEMBER(StartCommand, mounts),
  };
};

template <>
struct Table<Command> {
  static constexpr Field<Command> fields[] = {
      SPELL_REQUIRED(Command, number),    SPELL_REQUIRED(Command, type),
      SPELL_MEMBER(Command, run),         SPELL_MEMBER(Command, epoch),
      SPELL_MEMBER(Command, reason_code), SPELL_MEMBER(Command, reason),
      SPELL_MEMBER(Command, start),
  };
};

template <>
struct Table<SyncAnswer> {
  static constexpr Field<SyncAnswer> fields[] = {
      SPELL_REQUIRED(SyncAnswer, incarnation),
      SPELL_MEMBER(SyncAnswer, lease_ms),
      SPELL_MEMBER(SyncAnswer, commands),
      SPELL_MEMBER(SyncAnswer, refused),
  };
};

json to_json(const SyncRequest& request) { return write_object(request); }

Result<SyncRequest> parse_sync_request(const json& j) {
  SyncRequest request;
  if (auto problem = read_value(j, request, Unknown::refuse))
    return problem.error("invalid_request");
  return request;
}

json to_json(const SyncAnswer& answer) { return write_object(answer); }

Result<SyncAnswer> parse_sync_answer(const json& j) {
  SyncAnswer answer;
  if (auto problem = read_value(j, answer, Unknown::ignore)) return problem.error("invalid_answer");
  return answer;
}

}  // namespace spell::model
