// Runs: submit, list, look, end, keep order.
#include <atomic>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "model/image.hpp"
#include "model/status.hpp"
#include "service/api.hpp"
#include "service/mounts.hpp"

namespace spell::service {

namespace {

/// Changes a run if it is the caller's to change, and notes that he did.
Result<store::RunRecord> change_own(State& state, std::int64_t now, const Call& call,
                                    std::int64_t number, const std::string& action,
                                    const std::function<Result<store::RunRecord>()>& command) {
  auto run = state.find_run(call->owner(), number);
  if (!run) return run;
  std::string name = "run " + std::to_string(number);
  SPELL_TRY(may_reach(call, *run));
  SPELL_TRY(may_change(call, run->creator, name));
  auto done = command();
  if (done)
    SPELL_TRY(
        audit(state, now, call, action, "runs/" + std::to_string(number), "by " + run->creator));
  return done;
}

/// Posts a command whose outcome is the call's run, and answers with it once it is durable.
void change_run(Context& context, Call call, const std::string& action, std::int64_t number,
                std::function<Result<store::RunRecord>(State&, std::int64_t now_us)> command) {
  context.reactor.post([&context, call = std::move(call), action, number,
                        command = std::move(command)](State& state,
                                                      std::int64_t now) -> Reactor::Answer {
    auto run = change_own(state, now, call, number, action, [&] { return command(state, now); });
    return [&context, call, run = std::move(run)](const Result<>& committed) {
      if (!run) return refuse(call, run.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, {{"run", run_json(context, *run)}});
    };
  });
}

/// `pins`: held until the run is durable.
void submit_run(Context& context, Call call, Submission submission,
                std::shared_ptr<void> pins = nullptr) {
  context.reactor.post([&context, call = std::move(call), submission = std::move(submission),
                        pins = std::move(pins)](State& state, std::int64_t now) -> Reactor::Answer {
    auto done = state.submit(submission, now);
    return [&context, call, done = std::move(done), pins](const Result<>& committed) {
      if (!done) return refuse(call, done.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, {{"run", run_json(context, done->run, done->existed)}},
             done->existed ? 200 : 201);
    };
  });
}

/// Looks up what is to be mounted, then submits. `code`: holds the commit.
void with_mounts(Context& context, Call call, Submission submission,
                 std::shared_ptr<void> code = nullptr) {
  if (!model::mounts_anything(submission.request))
    return submit_run(context, std::move(call), std::move(submission), std::move(code));
  context.jobs.post([&context, call = std::move(call), submission = std::move(submission),
                     code = std::move(code)]() mutable {
    auto mounts = resolve_mounts(context, submission);
    // A submission that is repeated finds its run, whatever has become of what it mounted.
    bool repeated = false;
    if (!mounts && !submission.key.empty()) {
      auto key = context.readers.with([&](store::Reader& reader) {
        return reader.find_key(submission.owner, stored_key(submission));
      });
      repeated = key && *key;
    }
    if (!mounts && !repeated) return refuse(call, mounts.error());
    std::shared_ptr<void> pins;
    if (mounts) {
      submission.mounts = std::move(mounts->list);
      pins = mounts->pins;
    }
    submit_run(context, std::move(call), std::move(submission),
               std::make_shared<std::pair<std::shared_ptr<void>, std::shared_ptr<void>>>(
                   std::move(pins), std::move(code)));
  });
}

/// Checks that the commit is here, and sees that it stays, then goes on.
void with_code(Context& context, Call call, Submission submission) {
  if (!submission.request.code) {
    for (auto* file : {&submission.request.requirements, &submission.request.conda_file})
      if (!file->empty())
        return refuse(call,
                      base::error("invalid_requirements",
                                  *file + ": the run has no commit that it could be a file of"));
    return with_mounts(context, std::move(call), std::move(submission));
  }
  context.jobs.post(
      [&context, call = std::move(call), submission = std::move(submission)]() mutable {
        auto held = hold_commit(context, submission.owner, *submission.request.code);
        if (!held) return refuse(call, held.error());
        if (auto read = read_requirements(context, submission.owner, submission.request); !read)
          return refuse(call, read.error());
        with_mounts(context, std::move(call), std::move(submission), std::move(*held));
      });
}

/// Waits for a run's version to grow.
struct Watch : std::enable_shared_from_this<Watch> {
  Context& context;
  Call call;
  std::string id;
  std::int64_t version;
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> timer = 0;
  Hub::Listener news;

  Watch(Context& c, Call k, std::string run, std::int64_t v)
      : context(c), call(std::move(k)), id(std::move(run)), version(v), news(c.hub, id) {}

  /// Asks to be woken, then looks: what happens in between is not missed.
  void start() {
    news.start([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->look(false);
    });
    look(false);
  }
  void look(bool in_any_case) {
    if (done) return;
    auto run = context.readers.with([&](store::Reader& reader) { return reader.find_run(id); });
    bool removed = run && !*run;
    if (run && *run && !in_any_case && (*run)->version <= version &&
        !model::is_final((*run)->status))
      return;
    if (!leave()) return;
    if (!run)
      refuse(call, run.error());
    else if (removed)
      refuse(call, base::error("run_not_found", "the run has been removed"));
    else
      answer(call, {{"run", run_json(context, **run)}});
  }
  /// Whether this was the first to.
  bool leave() {
    if (done.exchange(true)) return false;
    news.stop();
    context.timer.cancel(timer);
    return true;
  }
};

}  // namespace

Result<std::shared_ptr<void>> hold_commit(Context& context, const std::string& owner,
                                          const model::CodeRef& code) {
  if (code.workspace.empty())
    return base::error("invalid_request",
                       "'code.workspace' is missing: the id of the repository's root commit");
  auto store = git::Store::open(context.code_path(owner, code.workspace));
  if (!store) return store.error();
  auto held = store->hold(code.commit);
  if (!held && held.error().code() == "commit_not_found")
    return base::error("commit_not_found",
                       "commit " + code.commit + " is not here; send its pack first");
  return held;
}

Result<> check_priority(const Call& call, const model::RunRequest& request) {
  if (request.priority != "high" || call->caller.role == model::Role::administrator) return ok();
  return base::error("not_permitted", "priority high is for administrators; " + call->caller.name +
                                          " may ask for normal and low, and " +
                                          "an administrator can run it");
}

void create_run(Context& context, Call call) {
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto request = model::parse_run_request(*body);
  if (!request) return refuse(call, request.error());
  if (request->build)
    return refuse(call,
                  base::error("invalid_request", "'build' is for workflows: POST …/workflows"));
  if (request->has_pins())
    return refuse(
        call, base::error("invalid_request",
                          "'requirements_text', 'conda_text' and what begins with 'pinned' are the "
                          "service's own"));
  if (auto able = check_priority(call, *request); !able) return refuse(call, able.error());
  if (auto filled = model::fill_params(*request); !filled) return refuse(call, filled.error());
  auto key = key_of(call);
  if (!key) return refuse(call, key.error());
  if (auto into = into_workflow(context, call, *request, *key); !into)
    return refuse(call, into.error());
  if (auto room = check_bytes(context, call); !room) return refuse(call, room.error());
  Submission submission{call->owner(), call->caller.name, *key,
                        base::hex(base::sha256(call->request.body)), std::move(*request)};
  with_code(context, std::move(call), std::move(submission));
}

namespace {
/// What the run was given, the same of it is given, too.
Result<> pin_environment(Context& context, const store::RunRecord& run,
                         model::RunRequest& request) {
  if (!request.has_environment()) return ok();
  request.refresh_environment = false;
  auto layers =
      context.readers.with([&](store::Reader& reader) { return reader.layers_of_run(run.id); });
  if (!layers) return layers.error();
  for (auto& layer : *layers) {
    if (layer.method == "pip") request.pinned = layer.packages;
    if (layer.method == "apt") request.pinned_apt = layer.packages;
    if (layer.method == "conda") request.pinned_conda = layer.packages;
    if (layer.method == "image") request.pinned_image = layer.packages;
  }
  return ok();
}
}  // namespace

void rerun(Context& context, Call call) {
  auto run = find_run(context, call);
  if (!run) return refuse(call, run.error());
  auto key = key_of(call);
  if (!key) return refuse(call, key.error());
  if (run->manages)
    return refuse(call, base::error("invalid_request",
                                    "run " + std::to_string(run->number) +
                                        " manages a workflow and would be nothing without one; "
                                        "`spell workflow create` makes another"));
  if (auto room = check_bytes(context, call); !room) return refuse(call, room.error());
  model::RunRequest request = run->request;
  request.idempotent = false;
  request.workflow = 0;
  if (!check_priority(call, request)) request.priority.clear();
  request.after.clear();
  request.labels = store::split_labels(run->labels);
  request.project = run->project;
  if (auto pinned = pin_environment(context, *run, request); !pinned)
    return refuse(call, pinned.error());
  std::string hash = model::request_hash(request);
  Submission submission{call->owner(), call->caller.name, *key, hash, std::move(request)};
  if (auto mounts = model::read_mounts(run->mounts))
    for (auto& mount : *mounts)
      if (mount.at == model::image_source && mount.run == 0) submission.image = mount;
  with_code(context, std::move(call), std::move(submission));
}

void list_runs(Context& context, Call call) {
  auto limit = call->number("limit", 50, 1, 1000);
  if (!limit) return refuse(call, limit.error());
  auto below = call->number("cursor", INT64_MAX, 1, INT64_MAX);
  if (!below) return refuse(call, below.error());
  auto workflow = call->number("workflow", 0, 1, INT64_MAX);
  if (!workflow) return refuse(call, workflow.error());
  if (auto own = call->caller.workflow; own != 0 && *workflow != 0 && *workflow != own)
    return refuse(
        call, base::error("not_permitted", "the credentials of workflow " + std::to_string(own) +
                                               " show its own runs only"));
  store::RunQuery query;
  query.owner = call->owner();
  query.limit = static_cast<int>(*limit) + 1;
  query.below = *below;
  query.label = call->query("label");
  query.project = call->query("project");
  query.repository = call->query("repository");
  query.workflow = call->caller.workflow != 0 ? call->caller.workflow : *workflow;
  query.active = call->flag("active");
  query.archived = call->flag("archived");
  auto runs = context.readers.with([&](store::Reader& reader) { return reader.list_runs(query); });
  if (!runs) return refuse(call, runs.error());
  json next;
  if (static_cast<std::int64_t>(runs->size()) > *limit) {
    runs->pop_back();
    next = std::to_string(runs->back().number);
  }
  json list = json::array();
  for (auto& run : *runs) list.push_back(run_json(context, run));
  answer(call, {{"runs", std::move(list)}, {"next", next}});
}

void get_run(Context& context, Call call) {
  auto version = call->number("version", -1, -1, INT64_MAX);
  if (!version) return refuse(call, version.error());
  auto wait = call->number("wait_ms", 0, 0, 60'000);
  if (!wait) return refuse(call, wait.error());
  auto run = find_run(context, call);
  if (!run) return refuse(call, run.error());
  if (*wait == 0 || run->version > *version || model::is_final(run->status))
    return answer(call, {{"run", run_json(context, *run)}});
  auto watch = std::make_shared<Watch>(context, std::move(call), run->id, *version);
  watch->timer =
      context.timer.after(std::chrono::milliseconds(*wait), [watch] { watch->look(true); });
  watch->call->reply.on_close([watch] { watch->leave(); });
  watch->start();
}

void delete_run(Context& context, Call call) {
  auto number = run_number(call);
  if (!number) return refuse(call, number.error());
  context.reactor.post([&context, call = std::move(call), number = *number](
                           State& state, std::int64_t now) -> Reactor::Answer {
    auto run = change_own(state, now, call, number, "run.delete",
                          [&] { return state.remove(call->owner(), number); });
    Result<> noted = run ? Collector::note_removal(state, now) : ok();
    return [&context, call, run = std::move(run), noted](const Result<>& committed) {
      if (!run) return refuse(call, run.error());
      if (!noted) return refuse(call, noted.error());
      if (!committed) return refuse(call, committed.error());
      context.log_jobs.post([&context, call, run] {
        // What cannot go now goes with the next collection, which looks for it.
        auto removed = context.logs.remove(run->id);
        context.collector.removed();
        if (!removed) return refuse(call, removed.error());
        answer(call, {{"run", run_json(context, *run)}});
      });
    };
  });
}

namespace {
void end_run(Context& context, Call call, const char* how) {
  auto number = run_number(call);
  if (!number) return refuse(call, number.error());
  std::string owner = call->owner();
  change_run(context, std::move(call), std::string("run.") + how, *number,
             [owner, number = *number, how](State& state, std::int64_t now) {
               return state.end(owner, number, how, now);
             });
}

Result<std::vector<std::string>> names(const json& body, const char* field) {
  std::vector<std::string> out;
  if (!body.contains(field)) return out;
  if (!body[field].is_array())
    return base::error("invalid_request", std::string("'") + field + "' must be a list of names");
  for (auto& name : body[field]) {
    if (!name.is_string() || !base::valid_name(name.get_ref<const std::string&>()))
      return base::error("invalid_request",
                         std::string("'") + field +
                             "' must hold names: 1 to 64 letters, digits, '.', '_' and '-'");
    out.push_back(name);
  }
  return out;
}

Result<> only(const json& body, std::initializer_list<std::string_view> known) {
  for (auto& [name, value] : body.items())
    if (std::find(known.begin(), known.end(), name) == known.end())
      return base::error("invalid_request", "'" + name + "' is not a known field");
  return ok();
}
}  // namespace

void stop_run(Context& context, Call call) { end_run(context, std::move(call), "stop"); }
void kill_run(Context& context, Call call) { end_run(context, std::move(call), "kill"); }

void archive_run(Context& context, Call call) {
  auto number = run_number(call);
  if (!number) return refuse(call, number.error());
  bool archived = true;
  if (!call->request.body.empty()) {
    auto body = body_object(call);
    if (!body) return refuse(call, body.error());
    if (auto known = only(*body, {"archived"}); !known) return refuse(call, known.error());
    if (body->contains("archived")) {
      if (!(*body)["archived"].is_boolean())
        return refuse(call, base::error("invalid_request", "'archived' must be true or false"));
      archived = (*body)["archived"];
    }
  }
  std::string owner = call->owner();
  change_run(context, std::move(call), archived ? "run.archive" : "run.unarchive", *number,
             [owner, number = *number, archived](State& state, std::int64_t) {
               return state.archive(owner, number, archived);
             });
}

void label_run(Context& context, Call call) {
  auto number = run_number(call);
  if (!number) return refuse(call, number.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  if (auto known = only(*body, {"add", "remove"}); !known) return refuse(call, known.error());
  auto add = names(*body, "add");
  if (!add) return refuse(call, add.error());
  auto remove = names(*body, "remove");
  if (!remove) return refuse(call, remove.error());
  std::string owner = call->owner();
  change_run(context, std::move(call), "run.label", *number,
             [owner, number = *number, add = *add, remove = *remove](State& state, std::int64_t) {
               return state.label(owner, number, add, remove);
             });
}

}  // namespace spell::service
