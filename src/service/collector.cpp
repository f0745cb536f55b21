#include "service/collector.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::service {

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

using base::second_us;
constexpr seconds most_spared = hours(24);
/// Code that comes is submitted within a moment: whatever is asked for, that is not cut short.
constexpr seconds code_spared = hours(1), least_code_spared{60};
/// An arrival is noted a moment before it comes.
constexpr seconds margin{2};
constexpr seconds at_least_each = hours(24 * 7);
/// So long, about, a version of a run that goes on is kept behind the two newest.
constexpr seconds superseded_kept{600};

// Notes in the store; times of the day.
constexpr auto due_note = "collect_due_us", done_note = "collected_us", arrival_note = "arrival_us";

}  // namespace

Result<> Collector::note_removal(State& state, std::int64_t now_us) {
  return state.writer().set_note(due_note, now_us);
}

Result<> Collector::note_arrival(State& state, std::int64_t now_us) {
  auto noted = state.writer().note(arrival_note);
  if (!noted) return noted.error();
  if (*noted == 0) SPELL_TRY(state.writer().set_note(arrival_note, now_us));
  // Should nobody ever name them, they go after a day.
  auto due = state.writer().note(due_note);
  if (!due) return due.error();
  if (*due != 0) return ok();
  return state.writer().set_note(due_note, now_us + (most_spared + margin).count() * second_us);
}

Result<> Collector::note_named(State& state) { return state.writer().set_note(arrival_note, 0); }

void Collector::start() {
  auto notes =
      readers_.with([](store::Reader& reader) -> Result<std::pair<std::int64_t, std::int64_t>> {
        auto due = reader.note(due_note);
        if (!due) return due.error();
        auto done = reader.note(done_note);
        if (!done) return done.error();
        return std::pair(*due, *done);
      });
  if (!notes) return say("when to collect cannot be read: " + notes.error().message());
  auto [due, done] = *notes;
  std::int64_t now = base::unix_us();
  std::int64_t regular = (done == 0 ? now : done) + at_least_each.count() * second_us;
  due = due == 0 ? regular : std::min(due, regular);
  collect_after(milliseconds(std::max<std::int64_t>(5'000, (due - now) / 1000)));
  look_after(seconds(5));
}

void Collector::collect_after(milliseconds delay) {
  auto at = Timer::Clock::now() + delay;
  std::lock_guard lock(mutex_);
  if (collect_at_ && *collect_at_ <= at) return;
  if (collect_at_) timer_.cancel(collect_ticket_);
  collect_at_ = at;
  collect_ticket_ = timer_.after(delay, [this] {
    {
      std::lock_guard inner(mutex_);
      collect_at_.reset();
    }
    collect({}, {});
  });
}

void Collector::collect(std::optional<seconds> spare, std::function<void(Result<Collected>)> done) {
  jobs_.post([this, spare, done = std::move(done)] {
    auto collected = collect_now(spare);
    if (!collected && collected.error().code() != "canceled")
      say("nothing could be collected: " + collected.error().message());
    if (collected)
      for (auto& problem : collected->problems) say(problem);
    if (collected && collected->bytes > 0)
      say("collected " + std::to_string(collected->objects) + " objects, " +
          base::format_size(collected->bytes));
    if (done) done(std::move(collected));
  });
}

void Collector::named(const std::string& run, const std::string& tree, std::int64_t said_us) {
  auto name = spellfs::Name::parse(tree);
  if (!name || !arrivals_.named(run, *name, said_us)) return;
  // A large store takes long: of the time, collections take a twentieth at most.
  collect_after(std::max<milliseconds>(superseded_kept, milliseconds(20 * took_ms_)));
}

Result<seconds> Collector::time_of_arrivals(std::int64_t now_us) {
  auto oldest = readers_.with([this, now_us](store::Reader& reader) -> Result<std::int64_t> {
    auto arrival = reader.note(arrival_note);
    if (!arrival) return arrival.error();
    auto active = reader.living_runs();
    if (!active) return active.error();
    std::int64_t run = arrivals_.oldest(*active, now_us);
    if (*arrival == 0 || run == 0) return std::max(*arrival, run);
    return std::min(*arrival, run);
  });
  if (!oldest) return oldest.error();
  // What comes at this moment may be taken; whoever then names it is told to send it again.
  if (*oldest == 0) return seconds(0);
  return std::clamp(seconds((now_us - *oldest) / second_us) + margin, margin, most_spared);
}

Result<Collected> Collector::collect_now(std::optional<seconds> spare) {
  std::int64_t now = base::unix_us();
  seconds spare_code = std::max(spare.value_or(code_spared), least_code_spared);
  if (!spare) {
    auto found = time_of_arrivals(now);
    if (!found) return found.error();
    spare = *found;
  }
  reads_.let_go(Reads::Clock::now());
  auto began = Timer::Clock::now();
  auto collected = storage_.collect(*spare, spare_code, stop_.get_token(), [this] {
    std::vector<spellfs::Root> out;
    for (auto& [run, tree] : arrivals_.earlier())
      out.push_back({tree, "an earlier version of run " + run});
    return out;
  });
  took_ms_ = std::chrono::duration_cast<milliseconds>(Timer::Clock::now() - began).count();
  seconds later = hours(1);
  if (!collected) {
    // A disk that is full now may have room then.
    if (collected.error().code() != "canceled") collect_after(later);
    return collected;
  }
  // What was spared is looked at again when it is clear whether it is wanted; so is what failed.
  bool again = *spare > seconds(0) || collected->code_spared || !collected->problems.empty();
  reactor_.post([this, now, again, later](State& state, std::int64_t) -> Reactor::Answer {
    auto due = state.writer().note(due_note);
    Result<> noted = due ? ok() : Result<>(due.error());
    // A removal that came meanwhile stays due.
    if (noted && *due <= now)
      noted = state.writer().set_note(due_note, again ? now + later.count() * second_us : 0);
    if (noted) noted = state.writer().set_note(done_note, now);
    if (noted)
      noted = state.writer().drop_keys_before(now - std::chrono::microseconds(keys_kept).count());
    auto arrival = state.writer().note(arrival_note);
    if (arrival && *arrival != 0 && *arrival < now - most_spared.count() * second_us) {
      (void)note_named(state);
      arrival_noted_ = false;
    }
    return [this, noted](const Result<>& committed) {
      if (!noted || !committed)
        say("a collection was not noted: " + (noted ? committed : noted).error().message());
    };
  });
  collect_after(again ? seconds(later) : at_least_each);
  return collected;
}

void Collector::check(std::function<void(Result<StorageCheck>)> done) {
  jobs_.post([this, done = std::move(done)] { done(storage_.check(stop_.get_token())); });
}

void Collector::back_up(const std::string& state_folder, const std::string& folder,
                        const std::string& owner, std::function<void(Result<BackupDone>)> done) {
  jobs_.post([this, state_folder, folder, owner, done = std::move(done)] {
    auto made =
        service::back_up(state_folder, readers_, folder, owner, base::unix_us(), stop_.get_token());
    say(made ? "backed up to " + folder + ": " + std::to_string(made->mirrored.new_files) +
                   " new files, " + base::format_size(made->mirrored.new_bytes)
             : "the backup to " + folder + " failed: " + made.error().message());
    done(std::move(made));
  });
}

void Collector::runs_changed() {
  if (projects_keep_ || retention_.any()) look_after(seconds(2));
}

void Collector::look_after(milliseconds delay) {
  auto at = Timer::Clock::now() + delay;
  std::lock_guard lock(mutex_);
  if (look_at_ && *look_at_ <= at) return;
  if (look_at_) timer_.cancel(look_ticket_);
  look_at_ = at;
  look_ticket_ = timer_.after(delay, [this] {
    {
      std::lock_guard inner(mutex_);
      look_at_.reset();
    }
    jobs_.post([this] { look_for_expired(); });
  });
}

void Collector::look_for_expired() {
  struct Found {
    bool any = false, kept = false;
    std::int64_t next_us = 0;
  };
  std::int64_t now = base::unix_us();
  auto found = readers_.with([this, now](store::Reader& reader) -> Result<Found> {
    Found out;
    if (retention_.any()) {
      auto runs = reader.kept_runs();
      if (!runs) return runs.error();
      auto old = service::expired(std::move(*runs), retention_, now);
      out.any = !old.runs.empty();
      out.next_us = old.next_us;
    }
    auto keep = reader.projects_keep();
    if (!keep) return keep.error();
    out.kept = *keep;
    if (!out.kept) return out;
    auto expired = reader.expired_runs(now);
    if (!expired) return expired.error();
    out.any = out.any || !expired->empty();
    auto next = reader.next_expiry_us(now);
    if (!next) return next.error();
    if (out.next_us == 0 || (*next != 0 && *next < out.next_us)) out.next_us = *next;
    return out;
  });
  if (!found) return say("runs to remove cannot be read: " + found.error().message());
  projects_keep_ = found->kept;
  if (found->next_us > 0)
    look_after(milliseconds(std::clamp<std::int64_t>((found->next_us - now) / 1000 + 1, 1'000,
                                                     milliseconds(hours(24)).count())));
  if (!found->any) return;
  reactor_.post([this](State& state, std::int64_t at) -> Reactor::Answer {
    std::vector<std::string> ids;
    auto remove = [&]() -> Result<> {
      auto expired = state.writer().expired_runs(at);
      if (!expired) return expired.error();
      if (retention_.any()) {
        auto runs = state.writer().kept_runs();
        if (!runs) return runs.error();
        auto old = service::expired(std::move(*runs), retention_, at).runs;
        expired->insert(expired->end(), old.begin(), old.end());
        std::sort(expired->begin(), expired->end());
        expired->erase(std::unique(expired->begin(), expired->end()), expired->end());
      }
      for (auto& [owner, number] : *expired) {
        if (state.is_awaited(owner, number)) continue;
        auto run = state.remove(owner, number);
        if (!run) return run.error();
        ids.push_back(run->id);
      }
      return ids.empty() ? ok() : note_removal(state, at);
    };
    auto removed = remove();
    return [this, ids, removed](const Result<>& committed) {
      if (!removed || !committed)
        return say("runs could not be removed: " +
                   (removed ? committed : removed).error().message());
      if (ids.empty()) return;
      say("removed " + std::to_string(ids.size()) + " runs that are kept no longer");
      log_jobs_.post([this, ids] {
        for (auto& id : ids)
          if (auto gone = logs_.remove(id); !gone) say(gone.error().message());
      });
      this->removed();
    };
  });
}

void Collector::stop() {
  stop_.request_stop();
  jobs_.stop();
}

}  // namespace spell::service
