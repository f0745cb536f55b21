#include "worker/engine.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "spellfs/remote_store.hpp"
#include "worker/backoff.hpp"
#include "worker/ending.hpp"
#include "worker/environment.hpp"
#include "worker/layers.hpp"
#include "worker/mount_record.hpp"

namespace spell::worker {

namespace {

constexpr std::chrono::seconds poll_grace{15}, call_limit{60}, stream_limit{15};
constexpr std::int64_t save_told_every_us = 10'000'000;

std::int64_t now_us() { return base::boot_ns() / 1000; }

/// Asks again until the service has answered: what it refuses for good is an answer too. Error
/// `canceled` after a stop.
template <class T>
Result<T> persist(std::stop_token stop, std::function<Result<T>()> ask) {
  Backoff backoff(100'000, 10'000'000);
  std::mutex mutex;
  std::condition_variable_any stopped;
  for (;;) {
    auto answer = ask();
    if (answer || !may_pass(answer.error())) return answer;
    backoff.failed(now_us());
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, std::chrono::microseconds(backoff.delay()), [] { return false; });
    if (stop.stop_requested())
      return base::error("canceled", "it was given up: " + answer.error().message());
  }
}

bool over(exec::State::Phase phase) {
  return phase != exec::State::Phase::starting && phase != exec::State::Phase::running;
}

}  // namespace

Engine::Engine(Options options, Folders folders, std::unique_ptr<TreeCache> trees,
               std::unique_ptr<CodeCache> codes)
    : options_(std::move(options)),
      folders_(std::move(folders)),
      link_(options_.way, options_.machine),
      trees_(std::move(trees)),
      codes_(std::move(codes)),
      agent_(options_.hello, options_.hello.boot_id, options_.patient, options_.only_delivers),
      backup_rate_(std::make_shared<backup::Rate>(options_.backup_rate)),
      streams_(link_, {options_.host.machine, options_.hello.cores, options_.hello.memory},
               options_.nvidia_smi) {}

Result<> Engine::start(std::vector<Journal> found) {
  epoll_ = base::Fd(::epoll_create1(EPOLL_CLOEXEC));
  wake_ = base::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_ || !wake_) return base::errno_error("make the worker's event loop");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_.get();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0)
    return base::errno_error("watch the worker's wake-up");

  Actions actions;
  for (auto& journal : found) {
    std::string run = journal.start.run;
    Carried carried;
    if (!journal.result) {
      auto attached = exec::Supervised::attach(folders_.run(run));
      if (attached) {
        carried.supervised = std::move(*attached);
        auto state = options_.only_delivers ? carried.supervised->state() : Result<exec::State>();
        if (state && !over(state->phase))
          return base::error("in_use", "run " + std::to_string(journal.start.number) +
                                           " goes on here: this machine is not dead");
      } else if (attached.error().code() != "not_found") {
        // Neither to be followed nor to be started again.
        log("run folder " + folders_.run(run) + " is put aside: " + attached.error().message());
        SPELL_TRY(folders_.park(run, journal.start.epoch));
        continue;
      } else if (journal.start.request.build) {
        end_compiling(folders_.run(run));
      } else if (journal.start.request.has_environment()) {
        end_preparing(folders_.run(run));
      }
    }
    if (journal.start.request.has_environment())
      if (auto environment = read_environment_record(folders_.run(run));
          environment && *environment)
        for (auto& key :
             {(*environment)->key, (*environment)->system_key, (*environment)->image_key})
          if (!key.empty()) trees_->hold(run, key);
    carried.shipper = std::make_shared<LogShipper>(folders_.run(run) + "/spool", false);
    carried.metrics = std::make_shared<LogShipper>(folders_.run(run) + "/metrics", false);
    if (auto mounts = read_mount_record(folders_.run(run)))
      for (auto& key : mounts->keys) trees_->hold(run, key);
    if (auto& users = options_.host.users) users->hold(run, folders_.run(run));
    bool supervised = carried.supervised.has_value(), goes_on = !journal.result;
    int metrics_port = journal.metrics_port;
    carried_.emplace(run, std::move(carried));
    agent_.resume(std::move(journal), supervised, now_us(), actions);
    if (goes_on && metrics_port > 0) open_metrics(run, metrics_port);
  }
  perform(std::move(actions));
  std::vector<std::string> supervised;
  for (auto& [run, carried] : carried_)
    if (carried.supervised) supervised.push_back(run);
  for (auto& run : supervised) observe(run);

  steps_.post([this] {
    trees_->clean();
    codes_->clean();
    folders_.clean();
  });
  look_after_caches();
  idle_ = agent_.idle();
  offer_poll();
  loop_thread_ = std::thread([this] { loop(); });
  poll_thread_ = std::thread([this] { poll_loop(); });
  return ok();
}

void Engine::stop() {
  if (stopping_.exchange(true)) return;
  calls_.request_stop();
  {
    std::lock_guard lock(mutex_);
    poll_stop_.request_stop();
  }
  poll_offered_.notify_all();
  if (wake_) {
    std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
  }
  if (loop_thread_.joinable()) loop_thread_.join();
  if (poll_thread_.joinable()) poll_thread_.join();
  checking_.stop();
  steps_.stop();
  backing_up_.stop();
  halting_.stop();
  mounting_.stop();
  preparing_.stop();
  compiling_.stop();
  launches_.stop();
  courier_.stop();
  streams_.stop();
  metrics_.stop();
  // What stands still must not do so for ever: nobody is there to end it in time.
  for (auto& [run, carried] : carried_)
    if (auto* there = agent_.find(run); there && there->is_halted() && carried.supervised)
      (void)carried.supervised->kill(ended_by_notice);
  for (auto& [run, carried] : carried_) carried.backup.reset();
  // What nobody hears any more may hold a backup that had just begun.
  std::vector<std::function<void()>> unheard;
  std::lock_guard lock(mutex_);
  unheard.swap(messages_);
}

// ---- the loop

void Engine::post(std::function<void()> message) {
  {
    std::lock_guard lock(mutex_);
    messages_.push_back(std::move(message));
    if (messages_.size() > 1) return;  // the loop has been woken already
  }
  std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Engine::loop() {
  epoll_event events[64];
  while (!stopping_) {
    int count = ::epoll_wait(epoll_.get(), events, 64, wait_ms());
    std::vector<std::function<void()>> messages;
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == wake_.get()) {
        std::uint64_t counter;
        (void)!::read(wake_.get(), &counter, sizeof counter);
        std::lock_guard lock(mutex_);
        messages.swap(messages_);
      } else if (auto run = watched_.find(events[i].data.fd); run != watched_.end()) {
        // Taken out while it is open: a child between clone and exec may hold the socket for a
        // while longer, and this loop would spin.
        if (events[i].events & EPOLLHUP)
          ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, events[i].data.fd, nullptr);
        observe(std::string(run->second));
      }
    }
    for (auto& message : messages) message();
    if (check_at_ && *check_at_ <= now_us()) look_after_caches();
    Actions actions;
    agent_.advance(now_us(), actions);
    perform(std::move(actions));
    report();
    if (agent_.idle() && !idle_.exchange(true) && options_.emptied) options_.emptied();
    idle_ = agent_.idle();
    bool ready = agent_.is_ready_to_go();
    if (ready && !told_ready_ && options_.ready_to_go) options_.ready_to_go();
    told_ready_ = ready;
    if (agent_.session() != polled_session_) poll_stop_.request_stop();
  }
}

int Engine::wait_ms() const {
  auto until = [](std::int64_t at, std::int64_t most) {
    return static_cast<int>(std::clamp<std::int64_t>((at - now_us() + 999) / 1000, 0, most));
  };
  int wait = -1;
  if (auto at = agent_.wake_at()) wait = until(*at, 60'000);
  if (check_at_) {
    int check = until(*check_at_, 86'400'000);
    wait = wait < 0 ? check : std::min(wait, check);
  }
  return wait;
}

std::vector<std::string> Engine::check(std::chrono::seconds every) {
  auto wrong = trees_->check(every, calls_.get_token());
  for (auto& line : wrong) log(line);
  return wrong;
}

void Engine::look_after_caches() {
  static constexpr std::chrono::hours every(24);
  check_at_.reset();
  checking_.post([this] {
    ::setpriority(PRIO_PROCESS, 0, 19);  // of this thread alone; what runs goes first
    check(every);
    auto next = trees_->next_check_ns(every);
    if (!next) return;
    std::int64_t delay = std::max<std::int64_t>(1'000'000, *next / 1000 - base::unix_us());
    post([this, at = now_us() + delay] { check_at_ = at; });
  });
}

void Engine::poll_loop() {
  for (;;) {
    OfferedPoll offered;
    {
      std::unique_lock lock(mutex_);
      poll_offered_.wait(lock, [&] { return stopping_ || offered_; });
      if (stopping_) return;
      offered = std::move(*offered_);
      offered_.reset();
      auto delay = std::chrono::microseconds(offered.not_before - now_us());
      if (delay.count() > 0 &&
          poll_offered_.wait_for(lock, delay, [&] { return stopping_.load(); }))
        return;
    }
    CallOptions options;
    options.timeout = std::chrono::milliseconds(offered.poll.request.wait_ms) + poll_grace;
    options.stop = offered.stop;
    auto sent = now_us();
    auto answer = link_.sync(offered.poll.request, options);
    if (stopping_) return;
    post([this, session = offered.poll.session, sent, answer = std::move(answer)] {
      Actions actions;
      if (answer) agent_.renewed(session, *answer, sent);
      agent_.poll_answered(session, answer, now_us(), actions);
      perform(std::move(actions));
      tell_connection(answer);
      offer_poll();
    });
  }
}

void Engine::offer_poll() {
  OfferedPoll offered{
      agent_.next_poll(base::free_bytes(folders_.top()), now_us()), agent_.poll_not_before(), {}};
  polled_session_ = offered.poll.session;
  {
    std::lock_guard lock(mutex_);
    poll_stop_ = {};
    if (stopping_) poll_stop_.request_stop();
    offered.stop = poll_stop_.get_token();
    offered_ = std::move(offered);
  }
  poll_offered_.notify_one();
}

void Engine::tell_connection(const Result<model::SyncAnswer>& answer) {
  if (!options_.connection || (answer && !agent_.online())) return;
  std::string now = answer ? "" : answer.error().code() + " " + answer.error().message();
  if (connection_ == now) return;
  connection_ = now;
  options_.connection(answer ? ok() : Result<>(answer.error()));
}

void Engine::report() {
  auto request = agent_.next_report(now_us());
  if (!request) return;
  courier_.post([this, request = std::move(*request)] {
    auto answer = link_.sync(request, call(call_limit));
    post([this, answer = std::move(answer)] {
      Actions actions;
      agent_.report_answered(answer, now_us(), actions);
      perform(std::move(actions));
    });
  });
}

// ---- actions

void Engine::perform(Actions actions) {
  while (!actions.empty()) {
    Actions more;
    std::vector<std::string>
        failed;  // runs that have no folder: the rest of what was meant for them is void
    for (auto& action : actions) {
      if (std::find(failed.begin(), failed.end(), action.run) != failed.end()) continue;
      if (action.type != Action::Type::create) {
        perform(action);
      } else if (auto created = create_run(action.run, action.text); !created) {
        failed.push_back(action.run);
        agent_.not_created(action.run, created.error(), now_us(), more);
      }
    }
    actions = std::move(more);
  }
}

void Engine::perform(const Action& action) {
  auto& run = action.run;
  auto carried = carried_.find(run);
  auto* supervised = carried != carried_.end() && carried->second.supervised
                         ? &*carried->second.supervised
                         : nullptr;
  switch (action.type) {
    case Action::Type::create:
      return;
    case Action::Type::append:
      if (auto done = append_journal(run, action.text); !done)
        log("run " + run + ": " + done.error().message());
      return;
    case Action::Type::log:
      return log(action.text);
    case Action::Type::prepare:
      return prepare_run(run);
    case Action::Type::mount:
      return mount_run(run);
    case Action::Type::compile:
      return compile_run(run);
    case Action::Type::give_up:
      carried_[run].preparing.request_stop();
      return;
    case Action::Type::launch:
      return launch_run(run);
    case Action::Type::ship:
      return ship_log(run);
    case Action::Type::ship_metrics:
      return ship_metrics(run);
    case Action::Type::back_up:
      return back_up_run(run);
    case Action::Type::save:
      return save_run(run);
    case Action::Type::push:
      return push_run(run);
    case Action::Type::open_stream:
      return open_stream(action);
    case Action::Type::stop:
      if (supervised) sent(run, supervised->stop());
      return;
    case Action::Type::kill:
      if (supervised) sent(run, supervised->kill(action.text.empty() ? "kill" : action.text));
      return;
    case Action::Type::lease:
      if (supervised) sent(run, supervised->renew(base::parse_int(action.text).value_or(0)));
      return;
    case Action::Type::allow:
      if (supervised) sent(run, supervised->allow(base::parse_int(action.text).value_or(0)));
      return;
    case Action::Type::notice:
      return tell_notice(run);
    case Action::Type::look: {
      std::int64_t needs = 0;
      if (carried != carried_.end() && carried->second.backup)
        needs = std::chrono::microseconds(carried->second.backup->needs()).count();
      return post([this, run, needs] {
        Actions actions;
        agent_.backup_needs(run, needs, now_us(), actions);
        perform(std::move(actions));
      });
    }
    case Action::Type::halt:
      return halt_run(run);
    case Action::Type::build:
      return build_run(run);
    case Action::Type::remove:
    case Action::Type::park: {
      {
        std::lock_guard lock(mutex_);
        backups_.erase(run);
      }
      if (carried != carried_.end()) {
        carried->second.supervised.reset();
        watch(run, carried->second);
        drop(std::move(carried->second.backup));
        carried_.erase(carried);
      }
      metrics_.forget(run);
      trees_->release(run);
      if (auto& users = options_.host.users) users->release(run);
      if (auto* gone = agent_.find(run); gone && options_.left)
        options_.left({gone->start().owner, gone->start().number, gone->result(),
                       action.type == Action::Type::remove && gone->result().has_value()});
      exec::remove_groups(folders_.run(run));
      bool parks = action.type == Action::Type::park;
      if (!parks && folders_.reuse(run))
        return post([this, run] {
          Actions actions;
          agent_.gone(run, ok(), now_us(), actions);
          perform(std::move(actions));
        });
      return work<void>(
          steps_,
          [this, run, parks, epoch = agent_.find(run)->start().epoch] {
            return parks ? folders_.park(run, epoch) : folders_.remove(run);
          },
          [this, run](auto& gone, std::int64_t now, Actions& out) {
            agent_.gone(run, gone, now, out);
          });
    }
  }
}

template <class T>
void Engine::work(base::Pool& pool, std::function<Result<T>()> job,
                  std::function<void(Result<T>&, std::int64_t, Actions&)> then) {
  pool.post([this, job = std::move(job), then = std::move(then)] {
    // Messages are copyable functions; what a step hands over need not be.
    auto result = std::make_shared<Result<T>>(job());
    post([this, result, then] {
      Actions actions;
      then(*result, now_us(), actions);
      perform(std::move(actions));
    });
  });
}

Result<> Engine::create_run(const std::string& run, const std::string& lines) {
  auto journal = folders_.create(run, lines);
  if (!journal) return journal.error();
  carried_[run].journal = std::move(*journal);
  return ok();
}

Result<> Engine::append_journal(const std::string& run, const std::string& lines) {
  auto& journal = carried_[run].journal;
  if (!journal) {
    auto opened = folders_.journal(run);
    if (!opened) return opened.error();
    journal = std::move(*opened);
  }
  off_t end = ::lseek(journal.get(), 0, SEEK_END);
  auto written = base::write_all(journal.get(), lines);
  // Of a disk that was full: no half line stands before the next.
  if (!written && end >= 0) (void)!::ftruncate(journal.get(), end);
  return written;
}

std::stop_source Engine::begin_preparing(const std::string& run) {
  return carried_[run].preparing = std::stop_source();
}

void Engine::build_run(const std::string& run) {
  work<std::vector<std::string>>(
      steps_,
      [this, start = agent_.find(run)->start(), preparing = begin_preparing(run)]() mutable {
        std::stop_callback end(calls_.get_token(), [&] { preparing.request_stop(); });
        auto fetch = [&](const std::vector<std::string>& have, int fd) {
          return persist<std::int64_t>(preparing.get_token(), [&]() -> Result<std::int64_t> {
            if (::ftruncate(fd, 0) != 0 || ::lseek(fd, 0, SEEK_SET) != 0)
              return base::errno_error("empty a file");
            return link_.fetch_code(start.run, start.epoch, have, fd,
                                    {std::nullopt, preparing.get_token()});
          });
        };
        return with_room([&] { return build(folders_, start, *codes_, fetch); });
      },
      [this, run](auto& built, std::int64_t now, Actions& out) {
        agent_.built(run, built, now, out);
      });
}

void Engine::prepare_run(const std::string& run) {
  work<std::vector<std::string>>(
      preparing_,
      [this, run, start = agent_.find(run)->start(), preparing = begin_preparing(run)]() mutable {
        std::stop_callback end(calls_.get_token(), [&] { preparing.request_stop(); });
        auto stop = preparing.get_token();
        LayerService service;
        service.claim = [&](const model::LayerClaim& claim) {
          return persist<model::LayerAnswer>(stop, [&] {
            return link_.claim_layer(start.run, start.epoch, claim, {call_limit, stop});
          });
        };
        service.put = [&](const model::LayerBuilt& built) {
          return persist<model::LayerAnswer>(stop, [&] {
            return link_.put_layer(start.run, start.epoch, built, {call_limit, stop});
          });
        };
        service.give_up = [&](const std::string& name) {
          model::LayerBuilt none;
          none.name = name;
          // If it is not heard, the end of the run says it. The next worker builds it itself.
          if (!calls_.stop_requested())
            (void)link_.put_layer(start.run, start.epoch, none, call(stream_limit));
        };
        service.persist = [&](const std::function<Result<>()>& ask) {
          return persist<void>(stop, ask);
        };
        auto say = [&](const std::vector<std::string>& lines) {
          post([this, run, lines] {
            Actions actions;
            agent_.prepare_says(run, lines, now_us(), actions);
            perform(std::move(actions));
          });
        };
        std::unique_ptr<spellfs::ObjectSource> remote;
        if (!options_.host.source)
          remote = spellfs::make_remote_store([&](std::span<const spellfs::Name> names) {
            return persist<std::string>(stop, [&] {
              return link_.read_objects(start.run, start.epoch, names, {call_limit, stop});
            });
          });
        return with_room([&] {
          return prepare(folders_, options_.host, start, service, link_,
                         remote ? *remote : *options_.host.source, *trees_, builds_, say, stop);
        });
      },
      [this, run](auto& prepared, std::int64_t now, Actions& out) {
        look_after_caches();
        agent_.prepared(run, prepared, now, out);
      });
}

void Engine::mount_run(const std::string& run) {
  work<std::vector<std::string>>(
      mounting_,
      [this, start = agent_.find(run)->start(), preparing = begin_preparing(run)]() mutable {
        std::stop_callback end(calls_.get_token(), [&] { preparing.request_stop(); });
        std::unique_ptr<spellfs::ObjectSource> remote;
        if (!options_.host.source)
          remote = spellfs::make_remote_store([&](std::span<const spellfs::Name> names) {
            return persist<std::string>(preparing.get_token(), [&] {
              return link_.read_objects(start.run, start.epoch, names,
                                        {call_limit, preparing.get_token()});
            });
          });
        return with_room([&] {
          return mount(folders_, options_.host, start, remote ? *remote : *options_.host.source,
                       *trees_, preparing.get_token());
        });
      },
      [this, run](auto& mounted, std::int64_t now, Actions& out) {
        look_after_caches();  // new trees get their sums
        agent_.mounted(run, mounted, now, out);
      });
}

void Engine::compile_run(const std::string& run) {
  work<std::vector<std::string>>(
      compiling_,
      [this, start = agent_.find(run)->start(), preparing = begin_preparing(run)]() mutable {
        std::stop_callback end(calls_.get_token(), [&] { preparing.request_stop(); });
        return compile(folders_, options_.host, start, *trees_, builds_, preparing.get_token());
      },
      [this, run](auto& compiled, std::int64_t now, Actions& out) {
        look_after_caches();
        agent_.compiled(run, compiled, now, out);
      });
}

int Engine::open_metrics(const std::string& run, int port) {
  auto opened = metrics_.open(run, folders_.run(run), port);
  if (!opened) log("run " + run + " has no metrics: " + opened.error().message());
  // A run whose processes have a user of their own: nobody else may send in its name.
  if (auto& users = options_.host.users; users && opened)
    if (auto user = users->take(run, folders_.run(run))) metrics_.belongs_to(run, *user);
  measure(run);
  return opened.value_or(0);
}

void Engine::measure(const std::string& run) {
  Actions actions;
  agent_.measured(run, metrics_.size(run).bytes, now_us(), actions);
  perform(std::move(actions));
}

void Engine::launch_run(const std::string& run) {
  auto start = agent_.find(run)->start();
  if (int port = open_metrics(run, 0)) {
    start.env["SPELL_METRICS"] = "127.0.0.1:" + std::to_string(port);
    if (auto written = append_journal(run, journal_line(port)); !written)
      log("run " + run + ": " + written.error().message());
  }
  work<Launched>(
      launches_,
      [this, start = std::move(start), lease = agent_.find(run)->lease_until_us(),
       allowed = agent_.find(run)->allowed_until_us()] {
        return launch(folders_, options_.host, start, lease, allowed);
      },
      [this, run](Result<Launched>& launched, std::int64_t now, Actions& out) {
        if (!launched) return agent_.launched(run, launched.error(), now, out);
        auto& carried = carried_[run];
        carried.supervised = std::move(launched->supervised);
        carried.shipper = std::make_shared<LogShipper>(folders_.run(run) + "/spool", true);
        if (!carried.metrics)
          carried.metrics = std::make_shared<LogShipper>(folders_.run(run) + "/metrics", true);
        agent_.launched(run, launched->notices, now, out);
        watch(run, carried);
        post([this, run] { observe(run); });
      });
}

void Engine::ship_log(const std::string& run) {
  auto& carried = carried_[run];
  work<std::int64_t>(
      courier_,
      [this, run, shipper = carried.shipper, end = carried.spool_end,
       epoch = agent_.find(run)->start().epoch] {
        return shipper->ship(end, [&](std::int64_t offset, std::string frames) {
          return link_.send_log(run, epoch, offset, std::move(frames), call(call_limit));
        });
      },
      [this, run](auto& bytes, std::int64_t now, Actions& out) {
        agent_.shipped(run, bytes, now, out);
      });
}

void Engine::ship_metrics(const std::string& run) {
  work<std::int64_t>(
      courier_,
      [this, run, shipper = carried_[run].metrics, end = metrics_.size(run).spool,
       epoch = agent_.find(run)->start().epoch] {
        return shipper->ship(end, [&](std::int64_t offset, std::string frames) {
          return link_.send_metrics(run, epoch, offset, std::move(frames), call(call_limit));
        });
      },
      [this, run](auto& bytes, std::int64_t now, Actions& out) {
        agent_.metrics_shipped(run, bytes, now, out);
      });
}

void Engine::back_up_run(const std::string& run) {
  auto tell = [this, run](void (Agent::*what)(const std::string&, const std::string&, std::int64_t,
                                              Actions&)) {
    return [this, run, what](const std::string& text) {
      post([this, run, what, text] {
        Actions actions;
        (agent_.*what)(run, text, now_us(), actions);
        perform(std::move(actions));
      });
    };
  };
  LiveBackup::Tell tells{tell(&Agent::backup_says), tell(&Agent::backup_behind),
                         [this, run](const Unsaved& left) {
                           post([this, run, left] { agent_.unsaved(run, left, now_us()); });
                         }};
  auto start = agent_.find(run)->start();
  work<std::shared_ptr<LiveBackup>>(
      backing_up_,
      [this, start, tells] {
        return LiveBackup::start(folders_, start, link_, options_.host.source, backup_rate_,
                                 calls_.get_token(), tells);
      },
      [this, run, epoch = start.epoch](auto& begun, std::int64_t now, Actions& out) {
        if (!begun)
          return agent_.backup_says(
              run, "its files are not backed up while it runs: " + begun.error().message(), now,
              out);
        auto* there = agent_.find(run);
        if (!there || !there->goes_on() || there->start().epoch != epoch)
          return drop(std::move(*begun));
        std::lock_guard lock(mutex_);
        backups_[run] = *begun;
        carried_[run].backup = std::move(*begun);
      });
}

void Engine::notice(Notice notice) {
  post([this, notice = std::move(notice)] {
    log("this machine is taken away in " +
        std::to_string(std::max<std::int64_t>(0, notice.at_us - now_us()) / 1'000'000) + " s (" +
        notice.text + ")");
    told_ready_ = false;
    Actions actions;
    agent_.notice(notice, now_us(), actions);
    perform(std::move(actions));
  });
}

void Engine::notice_withdrawn(const std::string& kind, const std::string& text) {
  post([this, kind, text] {
    log("the notice has been withdrawn: " + text);
    Actions actions;
    agent_.notice_withdrawn(kind, now_us(), actions);
    perform(std::move(actions));
  });
}

void Engine::tell_notice(const std::string& run) {
  auto* there = agent_.find(run);
  auto carried = carried_.find(run);
  if (!there || carried == carried_.end()) return;
  if (!there->notice()) {
    if (auto gone = remove_preemption_file(folders_.run(run)); !gone)
      log("run " + run + ": " + gone.error().message());
    return;
  }
  auto at = base::unix_us() + there->notice()->at_us - now_us();
  if (auto told = write_preemption_file(folders_.run(run), *there->notice(), at); !told)
    log("run " + run + ": " + told.error().message());
  int number = signal_number(there->start().request.notice_signal);
  if (number != 0 && carried->second.supervised)
    sent(run, carried->second.supervised->signal(number));
}

void Engine::halt_run(const std::string& run) {
  auto* there = agent_.find(run);
  work<Flushed>(
      halting_,
      [this, run, backup = carried_[run].backup,
       until = there->flush_until(now_us())]() -> Result<Flushed> {
        SPELL_TRY(exec::freeze(folders_.run(run)));
        if (!backup) return Flushed();
        return backup->finish(
            std::chrono::milliseconds(std::max<std::int64_t>(0, until - now_us()) / 1000));
      },
      [this, run](auto& flushed, std::int64_t now, Actions& out) {
        agent_.halted(run, flushed, now, out);
      });
}

void Engine::drop(std::shared_ptr<LiveBackup> backup) {
  if (backup) backing_up_.post([backup = std::move(backup)]() mutable { backup.reset(); });
}

Unsaved Engine::unsaved(const std::string& run) {
  std::shared_ptr<LiveBackup> backup;
  {
    std::lock_guard lock(mutex_);
    auto found = backups_.find(run);
    if (found != backups_.end()) backup = found->second.lock();
  }
  return backup ? backup->unsaved() : Unsaved{};
}

void Engine::save_run(const std::string& run) {
  {
    std::lock_guard lock(mutex_);
    backups_.erase(run);
  }
  auto backup = std::move(carried_[run].backup);
  auto* ended = agent_.find(run);
  bool forced = ended->forced_end_us().has_value();
  End end{ended->ended_us(), forced, forced ? 0 : torn_at_us(ended->exit())};
  // Its times are those of another boot's clock, by which the spool was written last: its end, or
  // the last that is known of it.
  if (exec::is_of_earlier_boot(folders_.run(run))) {
    if (auto& exit = ended->exit()) end.at_us = exit->time_us;
    end.shift_ns = exec::spool_written_ns(folders_.run(run)) - end.at_us * 1000;
  }
  // The common short run: no thread has to be woken to find that out.
  if (leaves_nothing(folders_, run)) {
    drop(std::move(backup));
    return post([this, run] {
      Actions actions;
      agent_.saved(run, Saved{}, now_us(), actions);
      perform(std::move(actions));
    });
  }
  work<SaveOutcome>(
      steps_,
      [this, start = ended->start(), backup = std::move(backup), end,
       until = ended->save_until()]() mutable -> Result<SaveOutcome> {
        std::stop_source late;
        std::stop_callback over(calls_.get_token(), [&] { late.request_stop(); });
        CallOptions options{{}, late.get_token()};
        if (until) {
          options.timeout =
              std::chrono::milliseconds(std::max<std::int64_t>(1, (*until - now_us()) / 1000));
        }
        std::unique_ptr<spellfs::ObjectSource> remote;
        if (!options_.host.source) remote = objects_of(link_, start, calls_.get_token());
        auto& objects = remote ? *remote : *options_.host.source;
        auto written = with_room(
            [&] { return write_incomplete(folders_, start, backup.get(), end, objects); });
        if (!written) {
          // It knows what nobody else does: kept until that is written down.
          post([this, run = start.run, backup] {
            if (auto there = carried_.find(run); there != carried_.end())
              there->second.backup = backup;
          });
          return written.error();
        }
        backup.reset();
        if (exec::is_of_earlier_boot(folders_.run(start.run)))
          if (auto lost = with_room([&] { return write_lost(folders_, start, objects); }); !lost)
            return lost.error();
        auto told = now_us();
        auto progress = [&](std::int64_t files, std::int64_t bytes) {
          if (until && now_us() >= *until) late.request_stop();
          if (now_us() - told < save_told_every_us) return;
          told = now_us();
          post([this, run = start.run, files, bytes] {
            Actions actions;
            agent_.saving(run, files, bytes, now_us(), actions);
            perform(std::move(actions));
          });
        };
        return with_room([&] { return save(folders_, start, link_, options, objects, progress); });
      },
      [this, run](Result<SaveOutcome>& saved, std::int64_t now, Actions& out) {
        if (!saved) return agent_.saved(run, saved.error(), now, out);
        carried_[run].pack = std::make_shared<Pack>(std::move(saved->pack));
        agent_.saved(run, saved->saved, now, out);
      });
}

void Engine::push_run(const std::string& run) {
  work<void>(
      steps_,
      [this, run, pack = std::move(carried_[run].pack), epoch = agent_.find(run)->start().epoch,
       until = agent_.find(run)->save_until()] {
        std::optional<std::chrono::milliseconds> limit;
        if (until)
          limit = std::chrono::milliseconds(std::max<std::int64_t>(1, (*until - now_us()) / 1000));
        return link_.send_pack(run, epoch, pack->file.get(), pack->size, call(limit));
      },
      [this, run](auto& pushed, std::int64_t now, Actions& out) {
        agent_.pushed(run, pushed, now, out);
      });
}

void Engine::open_stream(const Action& action) {
  StreamOrder order;
  order.id = action.stream;
  order.kind = action.text;
  auto carried = carried_.find(action.run);
  auto* run = agent_.find(action.run);
  if (run && carried != carried_.end() && carried->second.supervised) {
    order.number = run->start().number;
    order.folder = folders_.run(action.run);
    order.unsaved = [this, run = action.run] { return unsaved(run); };
    if (auto supervisor = carried->second.supervised->connection())
      order.supervisor = std::move(*supervisor);
    auto& env = run->start().env;
    if (auto own = env.find(gpu_variable); own != env.end() && !options_.hello.gpus.empty())
      order.gpus = base::split(own->second, ',');
  }
  streams_.open(std::move(order), call(stream_limit));
}

// ---- supervisors

void Engine::observe(const std::string& run) {
  auto found = carried_.find(run);
  if (found == carried_.end() || !found->second.supervised) return;
  auto& carried = found->second;
  auto state = carried.supervised->state();
  if (!state) {
    // What cannot be followed any more must not stay behind unwatched.
    log("run " + run + ": " + state.error().message());
    (void)carried.supervised->kill();
    exec::State lost;
    lost.phase = exec::State::Phase::supervisor_lost;
    state = lost;
  }
  // Its machine is dead, whatever has the number of its boot.
  if (options_.only_delivers && state->phase == exec::State::Phase::supervisor_lost)
    state->phase = exec::State::Phase::host_rebooted;
  carried.spool_end = std::max(carried.spool_end, state->spool_end);
  if (over(state->phase)) carried.supervised.reset();
  watch(run, carried);
  Actions actions;
  if (over(state->phase)) {
    // What it has sent is known from here on, and is sent before its result.
    metrics_.close(run);
    agent_.measured(run, metrics_.size(run).bytes, now_us(), actions);
  }
  agent_.observed(run, *state, now_us(), actions);
  perform(std::move(actions));
}

void Engine::watch(const std::string& run, Carried& carried) {
  int connection = carried.supervised ? carried.supervised->connections() : 0;
  if (connection == carried.watched_connection) return;
  if (carried.watched) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, carried.watched.get(), nullptr);
    watched_.erase(carried.watched.get());
    carried.watched.reset();
  }
  carried.watched_connection = connection;
  if (connection == 0) return;
  auto copy = carried.supervised->connection();
  if (!copy) return log("run " + run + ": " + copy.error().message());
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = copy->get();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, copy->get(), &event) != 0)
    return log("run " + run + ": " + base::errno_error("watch its supervisor").message());
  watched_[copy->get()] = run;
  carried.watched = std::move(*copy);
}

/// Something was sent to its supervisor: it may have been found gone, or again.
void Engine::sent(const std::string& run, const Result<>& done) {
  if (!done) log("run " + run + ": " + done.error().message());
  auto found = carried_.find(run);
  if (found == carried_.end() || !found->second.supervised ||
      found->second.supervised->connections() == found->second.watched_connection)
    return;
  post([this, run] { observe(run); });
}

}  // namespace spell::worker
