#include "service/ends.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/hash.hpp"
#include "base/text.hpp"
#include "service/api.hpp"

namespace spell::service {

Ends::Ends(std::size_t limit) : limit_(limit), process_(base::hex(base::random_bytes(8))) {}

void Ends::add(std::vector<End> ends) {
  std::lock_guard lock(mutex_);
  for (auto& end : ends) ends_.push_back(std::move(end));
  for (; ends_.size() > limit_; ++first_) ends_.pop_front();
}

Ends::Page Ends::read(const std::string& owner, const std::string& cursor,
                      std::int64_t workflow) const {
  std::lock_guard lock(mutex_);
  Page page;
  std::int64_t end = first_ + std::ssize(ends_);
  page.next = process_ + "." + std::to_string(end);
  if (cursor.empty()) return page;
  auto dot = std::min(cursor.find('.'), cursor.size());
  auto from = base::parse_int(std::string_view(cursor).substr(std::min(dot + 1, cursor.size())));
  page.complete = from && cursor.compare(0, dot, process_) == 0 && *from >= first_ && *from <= end;
  for (auto at = page.complete ? *from : end; at < end; ++at)
    if (auto& one = ends_[static_cast<std::size_t>(at - first_)];
        one.owner == owner && (workflow == 0 || one.workflow == workflow))
      page.runs.push_back(one.run);
  return page;
}

namespace {

/// Waits for a run that ends.
struct Watch : std::enable_shared_from_this<Watch> {
  Context& context;
  Call call;
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> timer = 0;
  std::mutex mutex;    // of the cursor
  std::string cursor;  // what came before concerned others
  Hub::Listener news;

  Watch(Context& c, Call k)
      : context(c),
        call(std::move(k)),
        cursor(call->query("from")),
        news(c.hub, Ends::key(call->owner())) {}

  /// Asks to be woken, then looks: what happens in between is not missed.
  void start() {
    news.start([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->look(false);
    });
    look(false);
  }
  void look(bool in_any_case) {
    if (done) return leave();
    Ends::Page page;
    {
      std::lock_guard lock(mutex);
      page = context.ends.read(call->owner(), cursor, call->caller.workflow);
      if (page.complete && page.runs.empty()) cursor = page.next;
    }
    if (page.complete && page.runs.empty() && !in_any_case) return;
    if (done.exchange(true)) return leave();
    leave();
    answer(call, {{"runs", page.runs}, {"next", page.next}, {"complete", page.complete}});
  }
  void give_up() {
    done = true;
    leave();
  }

 private:
  void leave() {
    news.stop();
    context.timer.cancel(timer);
  }
};

}  // namespace

void list_ends(Context& context, Call call) {
  auto wait = call->number("wait_ms", 0, 0, 60'000);
  if (!wait) return refuse(call, wait.error());
  auto watch = std::make_shared<Watch>(context, std::move(call));
  if (*wait == 0 || watch->cursor.empty()) return watch->look(true);
  watch->timer =
      context.timer.after(std::chrono::milliseconds(*wait), [watch] { watch->look(true); });
  watch->call->reply.on_close([watch] { watch->give_up(); });
  watch->start();
}

}  // namespace spell::service
