#include "service/streams.hpp"

#include <vector>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "model/status.hpp"
#include "service/api.hpp"

namespace spell::service {

namespace {

/// Hands messages of one end to the other, until either is gone. `counted` lives as long.
void pass_on(const net::Stream& from, const net::Stream& to, std::shared_ptr<void> counted) {
  from.receive([from, to, counted = std::move(counted)](Result<std::string> message) mutable {
    if (!message) return to.close();
    to.send(std::move(*message), [from, to, counted = std::move(counted)](Result<> sent) mutable {
      if (!sent) return from.close();
      pass_on(from, to, std::move(counted));
    });
  });
}

}  // namespace

Result<std::string> Streams::wait(const std::string& run, const std::string& machine,
                                  const std::string& name, net::Reply user,
                                  std::function<void(const Error&)> refuse) {
  if (*count_ >= limit)
    return base::error("too_many_streams", std::to_string(limit) +
                                               " streams are open on this service; try again when "
                                               "some have ended");
  ++*count_;
  std::shared_ptr<void> counted(nullptr, [count = count_](void*) { --*count; });
  std::string id = base::hex(base::random_bytes(16));
  auto waiting = std::make_shared<Waiting>(
      Waiting{run, machine, std::move(user), std::move(refuse), 0, std::move(counted)});
  {
    std::lock_guard lock(mutex_);
    waiting_.emplace(id, waiting);
    waiting->timer = timer_.after(patience, [this, id, name] {
      fail(id, base::error("machine_away", "machine " + name + " has not answered within " +
                                               std::to_string(patience.count()) + " s"));
    });
  }
  waiting->user.on_close([this, id] { (void)take(id); });
  return id;
}

std::shared_ptr<Streams::Waiting> Streams::take(const std::string& id) {
  std::lock_guard lock(mutex_);
  auto found = waiting_.extract(id);
  if (!found) return nullptr;
  timer_.cancel(found.mapped()->timer);
  return std::move(found.mapped());
}

bool Streams::join(const std::string& id, const std::string& machine, const net::Reply& worker) {
  {
    std::lock_guard lock(mutex_);
    auto found = waiting_.find(id);
    if (found == waiting_.end() || found->second->machine != machine) return false;
  }
  auto waiting = take(id);
  if (!waiting) return false;
  auto user_end = waiting->user.upgrade(), worker_end = worker.upgrade();
  pass_on(user_end, worker_end, waiting->counted);
  pass_on(worker_end, user_end, waiting->counted);
  return true;
}

void Streams::fail(const std::string& id, const Error& error) {
  if (auto waiting = take(id)) waiting->refuse(error);
}

void Streams::run_ended(const std::string& run) {
  std::vector<std::string> ids;
  {
    std::lock_guard lock(mutex_);
    for (auto& [id, waiting] : waiting_)
      if (waiting->run == run) ids.push_back(id);
  }
  for (auto& id : ids) fail(id, base::error("run_not_running", "the run has ended"));
}

// ---- the routes

namespace {

/// Why nothing can be done inside a run of this state; nothing: it can.
std::optional<Error> not_running(const store::RunRecord& run) {
  std::string name = "run " + std::to_string(run.number);
  if (model::is_final(run.status))
    return base::error("run_not_running", name + " has ended: its status is " + run.status);
  if (run.status != "running" && run.status != "stopping" && run.status != "killing")
    return base::error("run_not_running", name + " is not running: its status is " + run.status);
  return std::nullopt;
}

/// The order is not stored: a worker that connects anew has lost it, and the user's end gives up.
void open_stream(Context& context, const Call& call, const std::string& kind, bool changes) {
  if (!call->request.wants_stream)
    return refuse(call, base::error("stream_wanted",
                                    "this path gives a two-way stream: ask for a "
                                    "WebSocket (Upgrade: websocket)"));
  auto run = find_run(context, call);
  if (!run) return refuse(call, run.error());
  if (changes && !call->caller.may_change(run->creator))
    return refuse(call, base::error("not_permitted", "run " + std::to_string(run->number) + " is " +
                                                         run->creator + "'s: only " + run->creator +
                                                         " and administrators get into it"));
  if (auto why = not_running(*run)) return refuse(call, *why);
  context.reactor.post([&context, call, kind, changes, id = run->id](State& state,
                                                                     std::int64_t now) {
    auto* run_now = state.active_run(id);
    auto why = run_now ? not_running(*run_now)
                       : std::optional(base::error("run_not_running", "the run has ended"));
    if (why) return Reactor::Answer([call, error = *why](const Result<>&) { refuse(call, error); });
    auto machine = state.machines().find(run_now->machine);
    if (machine == state.machines().end())
      return Reactor::Answer([call](const Result<>&) {
        refuse(call, base::error("run_not_running", "the run is on no machine"));
      });
    if (changes) {
      auto noted = audit(state, now, call, "run." + kind, "runs/" + std::to_string(run_now->number),
                         "by " + run_now->creator);
      if (!noted)
        return Reactor::Answer(
            [call, error = noted.error()](const Result<>&) { refuse(call, error); });
    }
    auto stream = context.streams.wait(id, machine->second.record.id, run_now->machine, call->reply,
                                       [call](const Error& error) { refuse(call, error); });
    if (!stream)
      return Reactor::Answer(
          [call, error = stream.error()](const Result<>&) { refuse(call, error); });
    auto ordered = state.open_stream(id, *stream, kind);
    return Reactor::Answer([&context, stream = *stream, ordered](const Result<>& committed) {
      if (!ordered) return context.streams.fail(stream, ordered.error());
      if (!committed) context.streams.fail(stream, committed.error());
    });
  });
}

}  // namespace

void exec_in_run(Context& context, Call call) { open_stream(context, call, "exec", true); }
void forward_to_run(Context& context, Call call) { open_stream(context, call, "forward", true); }
void run_stats(Context& context, Call call) { open_stream(context, call, "stats", false); }

void machine_stream(Context& context, Call call) {
  if (!call->request.wants_stream)
    return refuse(call, base::error("stream_wanted", "this path gives a two-way stream"));
  if (!context.streams.join(call->path.at("stream"), call->path.at("machine"), call->reply))
    refuse(call, base::error("stream_not_found", "nobody waits for this stream any more"));
}

}  // namespace spell::service
