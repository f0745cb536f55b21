// What workers ask: their commands, and where their reports, logs and outputs go.
#include <algorithm>

#include "base/error.hpp"
#include "model/error_code.hpp"
#include "model/metric.hpp"
#include "model/worker_protocol.hpp"
#include "service/api.hpp"

namespace spell::service {

namespace {

Result<Assignment> assigned_to(Context& context, const Call& call, const std::string& run,
                               std::int64_t epoch) {
  auto assignment = context.machines.assignment(run);
  if (!assignment) return base::error("run_not_found", "run " + run + " is not being carried out");
  if (assignment->machine != call->path.at("machine") || assignment->epoch != epoch)
    return base::error("stale_epoch", "run " + run + " has been given to somebody else");
  return *assignment;
}

}  // namespace

Result<Assignment> assigned(Context& context, const Call& call) {
  auto epoch = call->number("epoch", -1, 1, INT64_MAX);
  if (!epoch) return epoch.error();
  return assigned_to(context, call, call->query("run"), *epoch);
}

Result<Assignment> assigned_in_body(Context& context, const Call& call, const json& body) {
  if (!body.is_object() || !body.contains("run") || !body["run"].is_string() ||
      !body.contains("epoch") || !body["epoch"].is_number_integer() || !body.contains("names") ||
      !body["names"].is_array())
    return base::error("invalid_request",
                       "the body must be {\"run\", \"epoch\", \"names\": [...]}");
  return assigned_to(context, call, body["run"], body["epoch"]);
}

namespace {
constexpr std::size_t most_runs = 10'000;
constexpr std::int64_t longest_wait_ms = 60'000;

/// What a report names as a run's outputs, to stay or for now.
std::vector<std::string> trees_of(const model::RunReport& report) {
  std::vector<std::string> trees;
  if (report.result && !report.result->outputs.empty()) trees.push_back(report.result->outputs);
  if (report.backup) trees.push_back(report.backup->outputs);
  return trees;
}

Result<> take_notice(State& state, const Call& call, const std::string& machine,
                     const model::MachineNotice& notice, std::int64_t now_us) {
  auto news = state.heed_notice(machine, notice, now_us);
  if (!news) return news.error();
  if (!*news) return ok();
  auto& record = state.machine_by_id(machine)->record;
  return audit(state, now_us, call, "machine.notice", record.name,
               record.going.empty() ? "withdrawn" : record.going);
}
}  // namespace

Result<> check_protocol(const json& message) {
  auto found = message.is_object() ? message.find("protocol") : message.end();
  if (found == message.end() || !found->is_number_integer()) return ok();
  std::string both = "the worker speaks protocol " + found->dump() + ", this service " +
                     std::to_string(model::worker_protocol);
  if (*found > model::worker_protocol)
    return base::error("unsupported_protocol", both + ": upgrade the service");
  if (*found < model::oldest_worker_protocol)
    return base::error("unsupported_protocol", both + ": upgrade the worker");
  return ok();
}

void machine_sync(Context& context, Call call) {
  auto body = model::parse_json(call->request.body, 64 << 20);
  if (!body) return refuse(call, body.error());
  if (auto known = check_protocol(*body); !known) return refuse(call, known.error());
  auto parsed = model::parse_sync_request(*body);
  if (!parsed) return refuse(call, parsed.error());
  auto request = std::make_shared<model::SyncRequest>(std::move(*parsed));
  std::string machine = call->path.at("machine");
  if (request->hello)
    if (auto sane = model::check_hello(*request->hello); !sane) return refuse(call, sane.error());
  if (request->holds.size() > most_runs || request->reports.size() > most_runs)
    return refuse(call, base::error("invalid_request", "'holds' or 'reports' has more than " +
                                                           std::to_string(most_runs) + " runs"));
  request->wait_ms = std::min(request->wait_ms, longest_wait_ms);
  // A machine that is removed meanwhile still hears what it has to end.
  call->reply.belongs_to("");
  auto lease = context.machines.renew(
      machine, std::string(net::find_header(call->request.headers, "X-Spell-Worker")));
  if (!lease) return refuse(call, lease.error());
  // A tree that is named as a run's outputs must be this owner's; what is not is refused before it
  // reaches the state.
  std::vector<spellfs::PackStore::Pin> pins;  // until the commit
  for (auto& report : request->reports) {
    for (auto& outputs : trees_of(report)) {
      auto assignment = context.machines.assignment(report.run);
      auto name = spellfs::Name::parse(outputs);
      if (!name)
        return refuse(call, base::error("invalid_request", "'" + model::one_line(outputs, 200) +
                                                               "' is no SpellFS name"));
      if (assignment && assignment->machine != machine) continue;
      std::string owner = assignment ? assignment->owner : "";
      if (!assignment) {
        // Not met yet, or an end that is late: the state takes it all the same.
        auto run = context.readers.with(
            [&](store::Reader& reader) { return reader.find_run(report.run); });
        if (!run) return refuse(call, run.error());
        if (!*run) continue;
        owner = (*run)->owner;
      }
      pins.push_back(context.objects.pin({*name}));
      auto owns = context.objects.owns(owner, *name);
      if (!owns) return refuse(call, owns.error());
      if (!*owns)
        return refuse(call, base::error("incomplete_pack", "the outputs of run " + report.run +
                                                               " have not been sent"));
    }
  }
  auto pinned = std::make_shared<std::vector<spellfs::PackStore::Pin>>(std::move(pins));
  context.reactor.post([&context, call = std::move(call), request, machine, pinned, lease = *lease](
                           State& state, std::int64_t now) -> Reactor::Answer {
    model::SyncAnswer out;
    out.incarnation = context.machines.incarnation();
    out.lease_ms = lease.lease_ms;
    out.lost_after = lease.lost_after;
    Result<> failed = ok();
    if (auto* there = state.machine_by_id(machine); !there)
      failed = base::error("machine_not_found", "there is no machine '" + machine + "'");
    else if (!request->hello && !there->connected)
      failed = base::error("incarnation_changed", "this service has not met machine '" + machine +
                                                      "' yet: it must say hello first");
    if (failed && request->hello) failed = state.heard_of_numbers(machine, request->numbers);
    if (failed && request->hello)
      failed = state.hello(machine, *request->hello, request->holds, now, request->notice);
    if (failed && request->notice)
      failed = take_notice(state, call, machine, *request->notice, now);
    if (failed) state.acknowledge(machine, request->seen);
    for (auto& report : request->reports) {
      if (!failed) break;
      auto taken = state.report(machine, report, now);
      if (taken) continue;
      if (taken.error().code() == "internal" || taken.error().code() == "disk_full")
        failed = taken.error();
      else
        out.refused[report.run] = taken.error().code();
    }
    return [&context, call, out, request, machine, failed, pinned,
            &state](const Result<>& committed) {
      if (!failed) return refuse(call, failed.error());
      if (!committed) return refuse(call, committed.error());
      for (auto& report : request->reports) {
        if (report.backup && !out.refused.contains(report.run))
          context.collector.named(report.run, report.backup->outputs, call->request.received_us);
        if (report.result && !out.refused.contains(report.run)) context.collector.ended(report.run);
        if (report.backlog) context.machines.take_backlog(machine, report);
      }
      // Commands go over the long poll alone, so that none is carried out twice by two answers
      // that cross.
      if (request->wait_ms == 0) return answer(call, model::to_json(out));
      context.machines.poll(machine, request->wait_ms, out, call->reply, state);
    };
  });
}

namespace {

/// Frames of what `name_of` a run keeps.
void take_frames(Context& context, Call call, std::int64_t limit,
                 std::string (*name_of)(const std::string& run)) {
  auto offset = call->number("offset", -1, 0, INT64_MAX);
  if (!offset) return refuse(call, offset.error());
  auto now = call->number("now_us", 0, 0, INT64_MAX);
  if (!now) return refuse(call, now.error());
  std::int64_t shift = call->request.received_us - *now;
  context.log_jobs.post(
      [&context, call = std::move(call), offset = *offset, shift, limit, name_of]() mutable {
        std::string run = call->query("run");
        auto stored = context.logs.append(
            name_of(run), offset, std::move(call->request.body), shift,
            [&] { context.hub.notify(run); }, call->request.received_us, limit);
        if (!stored) return refuse(call, stored.error());
        answer(call, {{"bytes", *stored}});
      });
}

}  // namespace

void machine_log(Context& context, Call call) {
  auto assignment = assigned(context, call);
  if (!assignment) return refuse(call, assignment.error());
  take_frames(context, std::move(call), assignment->log_limit,
              [](const std::string& run) { return run; });
}

void machine_metrics(Context& context, Call call) {
  auto assignment = assigned(context, call);
  if (!assignment) return refuse(call, assignment.error());
  take_frames(context, std::move(call), model::metrics_limit, LogStore::metrics_of);
}

void machine_objects(Context& context, Call call) {
  auto assignment = assigned(context, call);
  if (!assignment) return refuse(call, assignment.error());
  context.jobs.post([&context, call, owner = assignment->owner] {
    context.collector.came(call->query("run"), call->request.received_us);
    if (auto taken =
            context.objects.add_pack(owner, call->request.body_file.get(), call->request.body_size);
        !taken)
      return refuse(call, taken.error());
    answer(call, {{"bytes", call->request.body_size}});
  });
}

void machine_missing(Context& context, Call call) {
  auto body = model::parse_json(call->request.body, 8 << 20);
  if (!body) return refuse(call, body.error());
  auto assignment = assigned_in_body(context, call, *body);
  if (!assignment) return refuse(call, assignment.error());
  auto names = object_names(*body, "names");
  if (!names) return refuse(call, names.error());
  context.jobs.post(
      [&context, call = std::move(call), owner = assignment->owner, names = std::move(*names)] {
        auto missing = context.objects.missing(owner, names);
        if (!missing) return refuse(call, missing.error());
        json out = json::array();
        for (auto& name : *missing) out.push_back(name.text());
        answer(call, {{"names", std::move(out)}});
      });
}

}  // namespace spell::service
