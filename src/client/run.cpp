#include "spell/run.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "client/chain.hpp"
#include "client/log_stream.hpp"
#include "client/run_poll.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

Result<RunInfo> run_of(const Result<json>& answer) {
  if (!answer) return answer.error();
  return member<RunInfo>(*answer, "run");
}

/// Polls until `done`, from run to run of the chain. A poll that the limit cut short is no answer,
/// so the limit's error says what was waited for.
template <class Done>
Result<RunInfo> run_when(Connection& connection, std::int64_t id, std::int64_t version,
                         const Limit& limit, Done done) {
  for (;;) {
    auto info = poll_run(connection, id, version, limit);
    if (info && done(*info)) return info;
    if (info) version = info->version;
    if (auto next = info ? successor(*info) : std::nullopt) {
      id = *next;
      version = -1;
      continue;
    }
    bool timed_out =
        info ? limit.time_left() == std::chrono::milliseconds(0) : info.error().code() == "timeout";
    if (timed_out)
      return base::error("timeout",
                         "run " + std::to_string(id) + " is not yet so far" +
                             (info ? ": its status is " + info->status.name() : std::string()));
    if (!info) return info;
  }
}

/// Asks for it of each run of the chain, the oldest first, so that none is made to go on meanwhile.
Result<RunInfo> end_chain(Connection& connection, Route route, std::int64_t id,
                          const CallOptions& options) {
  Limit limit(options, connection.waiter());
  for (;;) {
    auto info = run_of(connection.call({.route = route, .names = number(id)}, limit));
    auto next = info ? successor(*info) : std::nullopt;
    if (!next) return info;
    id = *next;
  }
}

/// SpellFS's name of what a run has saved.
std::string saved(std::int64_t run, std::string_view path) {
  std::string name = "runs/" + std::to_string(run);
  if (!path.empty()) name.append("/").append(path);
  return name;
}

/// The last lines that a command wrote, on one line; "" if there are none or they cannot be had
/// within the limit.
std::string last_words(const std::shared_ptr<Connection>& connection, std::int64_t run,
                       const Limit& limit) {
  std::string out;
  auto log = log_of(connection, run, {.tail = 5, .only = LogKind::output}, limit);
  for (auto& entry : log) {
    if (!entry) return out;
    out += (out.empty() ? "" : " | ") + entry->text;
  }
  return out;
}

/// "run 7", "run 7 (resumed as run 9)": the chain from `asked` on, where `info` is of one of it.
std::string named(std::int64_t asked, const RunInfo& info) {
  std::string name = "run " + std::to_string(asked);
  if (info.id != asked) name += " (resumed as run " + std::to_string(info.id) + ")";
  return name;
}

/// Where a run stands that has not ended: it never goes back.
int stage(const RunStatus& status) {
  constexpr std::string_view order[] = {
      RunStatus::machine_requested, RunStatus::building, RunStatus::mounting, RunStatus::running,
      RunStatus::stopping,          RunStatus::saving,   RunStatus::pushing,  RunStatus::killing};
  auto found = std::find(std::begin(order), std::end(order), status.name());
  return static_cast<int>(found - std::begin(order));  // of an unknown one: the last
}

}  // namespace

Result<RunInfo> detail::poll_run(Connection& connection, std::int64_t id, std::int64_t version,
                                 const Limit& limit, bool wait) {
  Call call{.route = Route::get_run, .names = number(id)};
  if (wait) {
    auto time = std::min(longest_poll, limit.time_left().value_or(longest_poll));
    call.query = {{"version", std::to_string(version)}, {"wait_ms", std::to_string(time.count())}};
  }
  return run_of(connection.call(call, limit));
}

Result<RunInfo> Run::info(CallOptions options) const {
  return run_of(connection_->call({.route = Route::get_run, .names = number(id_)}, options));
}

Result<RunInfo> detail::wait_end(Connection& connection, std::int64_t id, const Limit& limit) {
  auto end = run_when(connection, id, -1, limit, ends_chain);
  if (!end || end->status == RunStatus::complete || (end->id == id && !is_ended_for_another(*end)))
    return end;
  // It may have been ended because one before it was completed after all.
  auto anew = last_of_chain(connection, id, limit);
  return anew && ends_chain(*anew) ? anew : end;
}

Result<RunInfo> Run::wait(CallOptions options) const {
  return wait_end(*connection_, id_, Limit(options, connection_->waiter()));
}

Result<RunInfo> Run::wait_change(const RunInfo& before, CallOptions options) const {
  auto next = successor(before);
  std::int64_t id = next ? *next : before.id != 0 ? before.id : id_;
  if (next || before.status.is_final()) return Run(connection_, id).info(options);
  return run_when(
      *connection_, id, before.version, Limit(options, connection_->waiter()),
      [&](const RunInfo& info) { return info.version > before.version || info.status.is_final(); });
}

Result<RunInfo> Run::wait_status(const std::vector<RunStatus>& any_of, CallOptions options) const {
  auto is_wanted = [&](const RunInfo& info) {
    return std::find(any_of.begin(), any_of.end(), info.status) != any_of.end();
  };
  auto may_come = [&](const RunInfo& info) {
    if (info.status.is_final()) return successor(info).has_value() && !any_of.empty();
    return std::any_of(any_of.begin(), any_of.end(), [&](auto& wanted) {
      return wanted.is_final() || stage(wanted) > stage(info.status);
    });
  };
  auto info = run_when(*connection_, id_, -1, Limit(options, connection_->waiter()),
                       [&](const RunInfo& now) { return is_wanted(now) || !may_come(now); });
  if (!info || is_wanted(*info)) return info;
  std::vector<std::string> names;
  for (auto& wanted : any_of) names.push_back(wanted.name());
  return base::error("wait_failed", named(id_, *info) + " will not become " +
                                        base::join(names, " or ") + " any more: its status is " +
                                        info->status.name());
}

Result<RunInfo> Run::wait_success(CallOptions options) const {
  Limit limit(options, connection_->waiter());
  return successful(*this, wait_end(*connection_, id_, limit), limit);
}

bool detail::is_success(const RunInfo& info) {
  return info.status == RunStatus::complete && info.user_exit_code == 0;
}

Result<RunInfo> detail::successful(const Run& run, const Result<RunInfo>& info,
                                   const Limit& limit) {
  if (!info || is_success(*info)) return info;
  std::string text = named(run.id(), *info);
  if (info->status == RunStatus::complete && info->user_exit_code) {
    text += " ended with exit code " + std::to_string(*info->user_exit_code);
  } else {
    text += " ended with status " + info->status.name();
  }
  if (info->user_signal) text += " (signal " + std::to_string(*info->user_signal) + ")";
  if (!info->reason.empty()) text += ": " + info->reason;
  if (auto words = last_words(run.connection(), info->id, limit); !words.empty())
    text += "; its last output: " + words;
  return base::error("run_unsuccessful", text);
}

std::string Run::output(std::string_view path) const {
  auto last = last_of_chain(*connection_, id_, Limit({}, connection_->waiter()));
  return saved(last ? last->id : id_, path);
}

Result<RunInfo> Run::stop(CallOptions options) const {
  return end_chain(*connection_, Route::stop_run, id_, options);
}

Result<RunInfo> Run::kill(CallOptions options) const {
  return end_chain(*connection_, Route::kill_run, id_, options);
}

Result<RunInfo> Run::archive(bool archived, CallOptions options) const {
  return run_of(connection_->call(
      {.route = Route::archive_run, .names = number(id_), .body = {{"archived", archived}}},
      options));
}

Result<> Run::remove(CallOptions options) const {
  auto answer = connection_->call({.route = Route::delete_run, .names = number(id_)}, options);
  if (!answer) return answer.error();
  return ok();
}

Result<RunInfo> Run::label(const std::vector<std::string>& add,
                           const std::vector<std::string>& remove, CallOptions options) const {
  return run_of(connection_->call(
      {.route = Route::label_run, .names = number(id_), .body = {{"add", add}, {"remove", remove}}},
      options));
}

Result<Run> Run::rerun(CallOptions options) const {
  auto info = run_of(connection_->call({.route = Route::rerun,
                                        .names = number(id_),
                                        .headers = {{"Idempotency-Key", base::Id::make().text()}}},
                                       options));
  if (!info) return info.error();
  return Run(connection_, info->id);
}

Result<RunInfo> Runs::stop(std::int64_t id, CallOptions options) const {
  return Run(connection_, id).stop(options);
}

Result<RunInfo> Runs::kill(std::int64_t id, CallOptions options) const {
  return Run(connection_, id).kill(options);
}

Result<RunInfo> Runs::wait(std::int64_t id, CallOptions options) const {
  return Run(connection_, id).wait(options);
}

Stream<LogEntry> Runs::logs(std::int64_t id, LogOptions options) const {
  return Run(connection_, id).logs(std::move(options));
}

Result<std::vector<ResourceInfo>> Runs::resources(std::int64_t id, std::string_view path,
                                                  CallOptions options) const {
  return Resources(connection_).list(saved(id, path), options);
}

Result<Run> Runs::get(std::int64_t id, CallOptions options) const {
  auto info = Run(connection_, id).info(options);
  if (!info) return info.error();
  return Run(connection_, id);
}

namespace {

class RunSource : public Stream<RunInfo>::Source {
 public:
  RunSource(std::shared_ptr<Connection> connection, const RunFilter& filter,
            const CallOptions& options)
      : connection_(std::move(connection)),
        filter_(filter),
        limit_(options, connection_->waiter()),
        left_(filter.limit > 0 ? filter.limit : INT64_MAX) {}

  std::optional<Result<RunInfo>> next() override {
    if (at_ == page_.size() && !ended_)
      if (auto turned = turn(); !turned) {
        ended_ = true;
        return Result<RunInfo>(turned.error());
      }
    if (at_ == page_.size()) return std::nullopt;
    return Result<RunInfo>(std::move(page_[at_++]));
  }

 private:
  /// The first page is small, so that something can be shown at once.
  Result<> turn() {
    constexpr std::int64_t first_page = 100, page = 1000;
    auto size = std::min(left_, cursor_.empty() && filter_.limit == 0 ? first_page : page);
    Call call{.route = Route::list_runs, .query = {{"limit", std::to_string(size)}}};
    for (auto& [name, value] :
         {std::pair("cursor", cursor_), std::pair("label", filter_.label),
          std::pair("project", filter_.project), std::pair("repository", filter_.repository)})
      if (!value.empty()) call.query.emplace_back(name, value);
    if (filter_.workflow != 0)
      call.query.emplace_back("workflow", std::to_string(filter_.workflow));
    if (filter_.active_only) call.query.emplace_back("active", "1");
    if (filter_.with_archived) call.query.emplace_back("archived", "1");
    auto answer = connection_->call(call, limit_);
    if (!answer) return answer.error();
    auto runs = member<std::vector<RunInfo>>(*answer, "runs");
    if (!runs) return runs.error();
    page_ = std::move(*runs);
    at_ = 0;
    left_ -= std::ssize(page_);
    auto next = member<std::string>(*answer, "next");
    ended_ = !next || page_.empty() || left_ <= 0;
    if (next) cursor_ = *next;
    return ok();
  }

  std::shared_ptr<Connection> connection_;
  const RunFilter filter_;
  Limit limit_;
  std::int64_t left_;
  std::string cursor_;
  std::vector<RunInfo> page_;
  std::size_t at_ = 0;
  bool ended_ = false;
};

}  // namespace

Stream<RunInfo> Runs::list(const RunFilter& filter, CallOptions options) const {
  return Stream<RunInfo>(std::make_unique<RunSource>(connection_, filter, options));
}

}  // namespace spell
