#include "client/watcher.hpp"

#include "base/error.hpp"
#include "client/chain.hpp"
#include "client/connection.hpp"
#include "spell/json.hpp"

namespace spell::detail {

namespace {
constexpr const char* poll_ms = "30000";

Error canceled() { return base::error("canceled", "the wait was canceled"); }
}  // namespace

struct Watcher::Wait {
  std::int64_t run = 0;
  Group::iterator place;  // under the watcher's mutex, as the next
  bool listed = true;     ///< in its group
  std::mutex mutex;
  Done done;  ///< empty: it has been called
  std::optional<std::stop_callback<std::function<void()>>> on_stop;

  void finish(const Result<RunInfo>& result) {
    Done call;
    {
      std::lock_guard lock(mutex);
      call = std::exchange(done, nullptr);
    }
    if (call) call(result);
  }
};

void Watcher::unlist(Group& group) {
  for (auto& one : group) one->listed = false;
}

Watcher::~Watcher() {
  {
    std::lock_guard lock(mutex_);
    poll_.request_stop();
    end_.request_stop();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  for (auto& [run, chain] : std::exchange(waiting_, {}))
    for (auto& one : chain.waits) one->finish(canceled());
}

void Watcher::wait(std::int64_t run, std::stop_token stop, Done done) {
  auto one = std::make_shared<Wait>();
  one->run = run;
  one->done = std::move(done);
  {
    std::lock_guard lock(mutex_);
    auto& group = waiting_[run].waits;
    one->place = group.insert(group.end(), one);
    unseen_.insert(run);
    poll_.request_stop();
    if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  }
  changed_.notify_all();
  // Without the lock: it may be called at once.
  one->on_stop.emplace(std::move(stop), [this, weak = std::weak_ptr(one)] {
    if (auto there = weak.lock()) cancel(there);
  });
}

void Watcher::cancel(const std::shared_ptr<Wait>& one) {
  if (std::lock_guard lock(mutex_); std::exchange(one->listed, false)) {
    // Not dropped here, within its own callback.
    auto chain = waiting_.find(one->run);
    canceled_.splice(canceled_.end(), chain->second.waits, one->place);
    if (chain->second.waits.empty()) take(chain);
    if (waiting_.empty()) poll_.request_stop();
  }
  // The last thing: with it, this watcher may go.
  one->finish(canceled());
}

void Watcher::loop() {
  Lock lock(mutex_);
  for (;;) {
    if (auto gone = std::exchange(canceled_, {}); !gone.empty()) {
      lock.unlock();
      gone.clear();
      lock.lock();
    }
    changed_.wait(
        lock, [this] { return end_.stop_requested() || !waiting_.empty() || !canceled_.empty(); });
    if (end_.stop_requested()) return;
    if (waiting_.empty()) continue;
    poll_ = {};
    auto heard = cursor_.empty() ? begin(lock) : !unseen_.empty() ? look(lock) : follow(lock);
    if (heard || end_.stop_requested()) continue;
    // The calls have tried for as long as is worth it.
    cursor_.clear();
    unseen_.clear();
    moved_.clear();
    auto all = std::exchange(waiting_, {});
    for (auto& [run, chain] : all) unlist(chain.waits);
    lock.unlock();
    for (auto& [run, chain] : all)
      for (auto& one : chain.waits) one->finish(heard.error());
    all.clear();
    lock.lock();
  }
}

/// From where ends are followed.
Result<> Watcher::begin(Lock& lock) {
  lock.unlock();
  auto answer = connection_.call({.route = model::Route::list_ends},
                                 CallOptions{.timeout = {}, .stop = end_.get_token()});
  lock.lock();
  if (!answer) return answer.error();
  auto next = member<std::string>(*answer, "next");
  if (!next) return next.error();
  cursor_ = *next;
  for (auto& [run, chain] : waiting_) unseen_.insert(run);
  return ok();
}

/// At one chain.
Result<> Watcher::look(Lock& lock) {
  auto run = *unseen_.begin();
  unseen_.erase(unseen_.begin());
  auto chain = waiting_.find(run);
  if (chain == waiting_.end()) return ok();
  auto last = chain->second.last;
  lock.unlock();
  Limit limit({.timeout = {}, .stop = end_.get_token()}, connection_.waiter());
  auto info = last_of_chain(connection_, run, limit);
  // Its beginning may have been removed meanwhile.
  if (!info && info.error().http_status() == 404 && last != 0)
    info = last_of_chain(connection_, last, limit);
  lock.lock();
  if (!info && info.error().http_status() == 0) return info.error();
  if (!info || info->status.is_final()) {
    finish(run, info, lock);
  } else if (chain = waiting_.find(run); chain != waiting_.end() && info->id != run) {
    moved_.erase({chain->second.last, run});
    moved_.insert({chain->second.last = info->id, run});
  }
  return ok();
}

/// One long poll.
Result<> Watcher::follow(Lock& lock) {
  Call call{.route = model::Route::list_ends, .query = {{"from", cursor_}, {"wait_ms", poll_ms}}};
  CallOptions options;
  options.stop = poll_.get_token();
  lock.unlock();
  auto answer = connection_.call(call, options);
  lock.lock();
  if (!answer && options.stop.stop_requested()) return ok();
  if (!answer) return answer.error();
  auto runs = member<std::vector<std::int64_t>>(*answer, "runs");
  if (!runs) return runs.error();
  auto next = member<std::string>(*answer, "next");
  if (!next) return next.error();
  auto complete = member<bool>(*answer, "complete");
  if (!complete) return complete.error();
  cursor_ = *next;
  for (auto run : *runs) {
    if (waiting_.contains(run)) unseen_.insert(run);
    for (auto at = moved_.lower_bound({run, 0}); at != moved_.end() && at->first == run; ++at)
      unseen_.insert(at->second);
  }
  if (!*complete)
    for (auto& [run, chain] : waiting_) unseen_.insert(run);
  return ok();
}

void Watcher::finish(std::int64_t run, const Result<RunInfo>& info, Lock& lock) {
  auto found = waiting_.find(run);
  if (found == waiting_.end()) return;
  auto chain = take(found);
  unlist(chain.waits);
  lock.unlock();
  for (auto& one : chain.waits) one->finish(info);
  chain.waits.clear();
  lock.lock();
}

/// Out of what is waited for.
Watcher::Watched Watcher::take(Chains::iterator at) {
  moved_.erase({at->second.last, at->first});
  auto out = std::move(at->second);
  waiting_.erase(at);
  return out;
}

}  // namespace spell::detail
