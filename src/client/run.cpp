#include "spell/run.hpp"

#include "base/error.hpp"
#include "base/id.hpp"
#include "client/connection.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

constexpr std::chrono::milliseconds longest_poll = 30s;

std::vector<std::string> number(std::int64_t id) { return {std::to_string(id)}; }

Result<RunInfo> run_of(const Result<json>& answer) {
  if (!answer) return answer.error();
  return member<RunInfo>(*answer, "run");
}

/// One long poll: the run when its version is above `version`, when it is final, or after a while.
Result<RunInfo> poll(Connection& connection, std::int64_t id, std::int64_t version,
                     const Limit& limit) {
  auto wait = std::min(longest_poll, limit.time_left().value_or(longest_poll));
  return run_of(connection.call(
      {.route = Route::get_run,
       .names = number(id),
       .query = {{"version", std::to_string(version)}, {"wait_ms", std::to_string(wait.count())}}},
      limit));
}

/// Polls until `done`. A poll that the limit cut short is no answer, so the limit's error says what
/// was waited for.
template <class Done>
Result<RunInfo> wait_until(Connection& connection, std::int64_t id, std::int64_t version,
                           const CallOptions& options, Done done) {
  Limit limit(options, connection.waiter());
  for (;;) {
    auto info = poll(connection, id, version, limit);
    if (info && done(*info)) return info;
    if (info) version = info->version;
    bool timed_out =
        info ? limit.time_left() == std::chrono::milliseconds(0) : info.error().code() == "timeout";
    if (timed_out)
      return base::error("timeout",
                         "run " + std::to_string(id) + " is not yet so far" +
                             (info ? ": its status is " + info->status.name() : std::string()));
    if (!info) return info;
  }
}

/// The last lines that a command wrote, on one line; "" if there are none or they cannot be had.
std::string last_words(const Run& run, const CallOptions& options) {
  std::string out;
  auto log = run.logs({.tail = 5, .only = LogKind::output, .stop = options.stop});
  for (auto& entry : log) {
    if (!entry) return out;
    out += (out.empty() ? "" : " | ") + entry->text;
  }
  return out;
}

}  // namespace

Result<RunInfo> Run::info(CallOptions options) const {
  return run_of(connection_->call({.route = Route::get_run, .names = number(id_)}, options));
}

Result<RunInfo> Run::wait(CallOptions options) const {
  return wait_until(*connection_, id_, -1, options,
                    [](const RunInfo& info) { return info.status.is_final(); });
}

Result<RunInfo> Run::wait_change(const RunInfo& before, CallOptions options) const {
  if (before.status.is_final()) return info(options);
  return wait_until(*connection_, id_, before.version, options, [&](const RunInfo& info) {
    return info.version > before.version || info.status.is_final();
  });
}

Result<RunInfo> Run::wait_success(CallOptions options) const {
  auto info = wait(options);
  if (!info || (info->status == RunStatus::complete && info->user_exit_code == 0)) return info;
  std::string text = "run " + std::to_string(id_);
  if (info->status == RunStatus::complete && info->user_exit_code) {
    text += " ended with exit code " + std::to_string(*info->user_exit_code);
  } else {
    text += " ended with status " + info->status.name();
  }
  if (info->user_signal) text += " (signal " + std::to_string(*info->user_signal) + ")";
  if (!info->reason.empty()) text += ": " + info->reason;
  if (auto words = last_words(*this, options); !words.empty())
    text += "; its last output: " + words;
  return base::error("run_unsuccessful", text);
}

std::string Run::output(std::string_view path) const {
  std::string name = "runs/" + std::to_string(id_);
  if (!path.empty()) name.append("/").append(path);
  return name;
}

Result<RunInfo> Run::stop(CallOptions options) const {
  return run_of(connection_->call({.route = Route::stop_run, .names = number(id_)}, options));
}

Result<RunInfo> Run::kill(CallOptions options) const {
  return run_of(connection_->call({.route = Route::kill_run, .names = number(id_)}, options));
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

Result<Run> Runs::get(std::int64_t id, CallOptions options) const {
  auto info = Run(connection_, id).info(options);
  if (!info) return info.error();
  return Run(connection_, id);
}

Result<std::vector<RunInfo>> Runs::list(const RunFilter& filter, CallOptions options) const {
  constexpr int page = 1000;
  Limit limit(options, connection_->waiter());
  std::vector<RunInfo> runs;
  std::string cursor;
  while (static_cast<int>(runs.size()) < filter.limit) {
    Call call{.route = Route::list_runs};
    call.query.emplace_back(
        "limit", std::to_string(std::min(page, filter.limit - static_cast<int>(runs.size()))));
    for (auto& [name, value] :
         {std::pair("cursor", cursor), std::pair("label", filter.label),
          std::pair("project", filter.project), std::pair("repository", filter.repository)})
      if (!value.empty()) call.query.emplace_back(name, value);
    if (filter.active_only) call.query.emplace_back("active", "1");
    if (filter.with_archived) call.query.emplace_back("archived", "1");
    auto answer = connection_->call(call, limit);
    if (!answer) return answer.error();
    auto got = member<std::vector<RunInfo>>(*answer, "runs");
    if (!got) return got.error();
    runs.insert(runs.end(), std::make_move_iterator(got->begin()),
                std::make_move_iterator(got->end()));
    auto next = member<std::string>(*answer, "next");
    if (!next || got->empty()) break;
    cursor = *next;
  }
  // Pages begin with the newest.
  return std::vector<RunInfo>(std::make_move_iterator(runs.rbegin()),
                              std::make_move_iterator(runs.rend()));
}

}  // namespace spell
