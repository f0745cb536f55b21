// Waiting for many runs with one request, and calls with completion tokens.
#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <condition_variable>
#include <deque>
#include <set>

#include "catch.hpp"
#include "fake.hpp"
#include "spell/asio.hpp"
#include "spell/json.hpp"

namespace asio = boost::asio;
using namespace spell;

namespace {

/// A service that knows runs and tells of their ends, as the real one does: long polls wait.
struct Ends : detail::Transport {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::map<std::int64_t, std::string> runs;  ///< status by number
  std::vector<std::int64_t> ended;
  std::map<std::int64_t, std::int64_t> resumed;  ///< as which run one goes on
  int process = 1, polls = 0, looks = 0, at_once = 0, most_at_once = 0, submitted = 0;
  bool hold = false;            ///< what is asked for is answered later
  int held = 0;                 ///< so many requests at the moment
  std::size_t lost_before = 0;  ///< ends that a new process does not know of
  std::size_t heard = 0;        ///< ends after which others are asked for
  bool refuse = false;
  bool following = true;  ///< who asks for metrics hears nothing yet
  std::set<std::thread::id> threads;

  void end(std::int64_t run, const std::string& status = "complete") {
    std::lock_guard lock(mutex);
    runs[run] = status;
    ended.push_back(run);
    changed.notify_all();
  }
  void restart() {
    std::lock_guard lock(mutex);
    ++process;
    lost_before = ended.size();
    changed.notify_all();
  }

  void let_go() {
    std::lock_guard lock(mutex);
    hold = false;
    changed.notify_all();
  }

  net::ClientResponse ok(const detail::json& body, int status = 200) {
    return {status, {{"X-Spell-Version", spell::version()}}, body.dump()};
  }
  net::ClientResponse error(int status, const std::string& code) {
    return ok({{"error", {{"code", code}, {"message", code}}}}, status);
  }
  detail::json run_json(std::int64_t id) {
    RunInfo info;
    info.id = id;
    info.status = RunStatus(runs[id]);
    if (info.status == RunStatus::complete) info.user_exit_code = 0;
    if (resumed.contains(id)) info.resumed_as_run = resumed[id];
    return {{"run", detail::json(info)}};
  }

  Result<net::ClientResponse> send(const net::ClientRequest& request,
                                   const CallOptions& options) override {
    std::unique_lock lock(mutex);
    threads.insert(std::this_thread::get_id());
    ++at_once;
    most_at_once = std::max(most_at_once, at_once);
    auto answer = answer_to(test::target_of(request), request, options, lock);
    --at_once;
    return answer;
  }
  Result<net::ClientResponse> answer_to(const net::Target& target,
                                        const net::ClientRequest& request,
                                        const CallOptions& options,
                                        std::unique_lock<std::mutex>& lock) {
    if (target.segments.back() == "healthz") return ok(detail::json::object());
    if (refuse) return error(403, "not_permitted");
    if (target.segments.back() == "ends") {
      ++polls;
      auto from = target.query.contains("from") ? target.query.at("from") : "";
      auto here = std::to_string(process) + ".";
      if (from.starts_with(here)) heard = std::stoul(from.substr(here.size()));
      changed.notify_all();
      auto fresh = [&] {
        return from.empty() || !from.starts_with(std::to_string(process) + ".") ||
               std::stoul(from.substr(here.size())) < ended.size();
      };
      if (!changed.wait(lock, options.stop, fresh)) return base::error("canceled", "canceled");
      here = std::to_string(process) + ".";
      detail::json list = detail::json::array();
      bool complete = from.empty() || from.starts_with(here);
      if (complete && !from.empty())
        for (auto i = std::stoul(from.substr(here.size())); i < ended.size(); ++i)
          list.push_back(ended[i]);
      return ok(
          {{"runs", list}, {"next", here + std::to_string(ended.size())}, {"complete", complete}});
    }
    ++held;
    changed.notify_all();
    bool points = target.segments.back() == "points";
    bool go = changed.wait(lock, options.stop, [&] { return !hold && (!points || !following); });
    --held;
    changed.notify_all();
    if (!go) return base::error("canceled", "canceled");
    if (points) return ok({{"metrics", detail::json::array()}, {"next", "0"}, {"final", true}});
    if (request.method == "POST" && target.segments.back() == "runs") {
      std::int64_t id = 1000 + ++submitted;
      runs[id] = "running";
      return ok(run_json(id), 201);
    }
    if (target.segments.back() == "log") return ok(detail::json::object());
    std::int64_t id = std::stoll(target.segments.at(4));
    ++looks;
    if (!runs.contains(id)) return error(404, "run_not_found");
    if (request.method == "POST") runs[id] = "killed", ended.push_back(id), changed.notify_all();
    return ok(run_json(id));
  }
  Result<std::unique_ptr<detail::Body>> open(const net::ClientRequest&,
                                             const CallOptions&) override {
    return base::error("not_permitted", "no log here").with_http_status(403);
  }
  Result<net::Upgrade> upgrade(const net::ClientRequest&, const CallOptions&) override {
    return base::error("not_permitted", "no stream here").with_http_status(403);
  }
};

/// The service stays when its client goes.
struct Through : detail::Transport {
  std::shared_ptr<Ends> to;
  explicit Through(std::shared_ptr<Ends> service) : to(std::move(service)) {}
  Result<net::ClientResponse> send(const net::ClientRequest& request,
                                   const CallOptions& options) override {
    return to->send(request, options);
  }
  Result<std::unique_ptr<detail::Body>> open(const net::ClientRequest& request,
                                             const CallOptions& options) override {
    return to->open(request, options);
  }
  Result<net::Upgrade> upgrade(const net::ClientRequest& request,
                               const CallOptions& options) override {
    return to->upgrade(request, options);
  }
};

struct Place {
  std::shared_ptr<Ends> service = std::make_shared<Ends>();
  std::shared_ptr<detail::Connection> connection;
  Place() {
    detail::Connection::Parts parts;
    parts.endpoint = "unix:/fake";
    parts.owner = "ada";
    parts.transport = std::make_unique<Through>(service);
    connection = std::make_shared<detail::Connection>(std::move(parts));
  }
  Client client() const { return Client(connection); }
  Run run(std::int64_t id, const std::string& status = "running") {
    std::lock_guard lock(service->mutex);
    service->runs[id] = status;
    return Run(connection, id);
  }
  /// Until the service holds so many requests.
  void wait_held(int count) {
    std::unique_lock lock(service->mutex);
    service->changed.wait(lock, [&] { return service->held >= count; });
  }
  /// Until all ends have been heard, and what follows of them has been looked at.
  void wait_heard() {
    std::unique_lock lock(service->mutex);
    service->changed.wait(lock, [&] { return service->heard == service->ended.size(); });
  }
  /// Until the service has been asked so many times for ends.
  void wait_polls(int count) {
    std::unique_lock lock(service->mutex);
    service->changed.wait(lock, [&] { return service->polls >= count; });
  }
};

asio::awaitable<void> await_end(Run run, std::vector<std::int64_t>& order) {
  auto ended = co_await async_wait(run, asio::use_awaitable);
  order.push_back(ended ? ended->id : -1);
}

}  // namespace

TEST_CASE("many waits take one thread and one request at a time") {
  Place place;
  constexpr int count = 2000;
  std::vector<std::int64_t> order;
  asio::io_context context;
  for (int id = 1; id <= count; ++id)
    co_spawn(context, await_end(place.run(id), order), asio::detached);
  std::thread service([&] {
    place.wait_polls(2);  // all runs have been looked at
    for (int id = count; id >= 1; --id) place.service->end(id);
  });
  context.run();
  service.join();
  REQUIRE(order.size() == count);
  CHECK(std::set(order.begin(), order.end()).size() == count);
  CHECK(!std::set(order.begin(), order.end()).contains(-1));
  CHECK(place.service->threads.size() == 1);
  CHECK(place.service->most_at_once == 1);
}

TEST_CASE("a run that has ended already, or never was, is told at once") {
  Place place;
  auto done = async_wait(place.run(1, "failed"), asio::use_future).get();
  CHECK(done.value().status == RunStatus::failed);
  auto missing = async_wait(Run(place.connection, 77), asio::use_future).get();
  CHECK(missing.error().code() == "run_not_found");
}

TEST_CASE("ends that nobody could tell of are found by looking") {
  Place place;
  auto one = async_wait(place.run(1), asio::use_future);
  auto two = async_wait(place.run(2), asio::use_future);
  place.wait_polls(2);
  {
    std::lock_guard lock(place.service->mutex);
    place.service->runs[1] = "complete";  // while the service was away
  }
  place.service->restart();
  CHECK(one.get().value().status == RunStatus::complete);
  CHECK(two.wait_for(std::chrono::milliseconds(0)) == std::future_status::timeout);
  place.service->end(2, "killed");
  CHECK(two.get().value().status == RunStatus::killed);
}

TEST_CASE("canceling ends one wait and leaves the others") {
  Place place;
  asio::io_context context;
  asio::cancellation_signal signal;
  Result<RunInfo> first, second;
  async_wait(place.run(1), asio::bind_cancellation_slot(
                               signal.slot(), asio::bind_executor(context, [&](auto result) {
                                 first = std::move(result);
                                 place.service->end(1);
                               })));
  async_wait(place.run(1), asio::bind_executor(context, [&](auto result) { second = result; }));
  place.wait_polls(2);
  signal.emit(asio::cancellation_type::terminal);
  context.run();
  CHECK(first.error().code() == "canceled");
  CHECK(second.value().status == RunStatus::complete);
  // Too late is fine.
  signal.emit(asio::cancellation_type::terminal);
}

TEST_CASE("a wait that is canceled before it begins is canceled") {
  Place place;
  std::stop_source stop;
  stop.request_stop();
  std::promise<Result<RunInfo>> told;
  AsyncCalls::wait(place.run(1), stop.get_token(), [&](auto result) { told.set_value(result); });
  CHECK(told.get_future().get().error().code() == "canceled");
}

TEST_CASE("an asynchronous wait is for the end of the chain") {
  Place place;
  place.run(9, "running");
  auto seventh = place.run(7);
  auto end = async_wait(seventh, asio::use_future);
  auto success = async_wait_success(seventh, asio::use_future);
  {
    std::lock_guard lock(place.service->mutex);
    place.service->resumed = {{7, 9}, {9, 11}};
    place.service->runs[11] = "running";
  }
  place.service->end(7, "interrupted");
  place.wait_heard();
  SECTION("by the end of its last run") {
    place.service->end(9, "interrupted");
    place.wait_heard();
    CHECK(end.wait_for(std::chrono::milliseconds(0)) == std::future_status::timeout);
    place.service->end(11);
    CHECK(end.get().value().id == 11);
    CHECK(success.get().value().id == 11);
  }
  SECTION("that was missed") {
    {
      std::lock_guard lock(place.service->mutex);
      place.service->runs[9] = "interrupted";
      place.service->runs[11] = "complete";
    }
    place.service->restart();
    CHECK(end.get().value().id == 11);
  }
  SECTION("by a success that came late") {
    {
      std::lock_guard lock(place.service->mutex);
      place.service->runs[7] = "complete";
    }
    place.service->end(9, "stopped");
    CHECK(end.get().value().id == 7);
    CHECK(success.get().value().id == 7);
  }
  SECTION("whose beginning was removed") {
    {
      std::lock_guard lock(place.service->mutex);
      place.service->runs.erase(7);
      place.service->resumed.erase(9);
    }
    place.service->end(9, "failed");
    CHECK(end.get().value().id == 9);
    auto failed = success.get();
    CHECK(failed.error().message() == "run 7 (resumed as run 9) ended with status failed");
  }
  SECTION("or is none, of who has left before") {
    asio::io_context context;
    asio::cancellation_signal signal;
    std::string told;
    async_wait(seventh, asio::bind_cancellation_slot(signal.slot(),
                                                     asio::bind_executor(context, [&](auto result) {
                                                       told = result.error().code();
                                                     })));
    signal.emit(asio::cancellation_type::terminal);
    context.run();
    CHECK(told == "canceled");
    place.service->end(9, "failed");
    place.service->end(11, "killed");
    CHECK(end.get().value().id == 11);
  }
}

TEST_CASE("an interrupted run that nothing goes on as has ended, for who waits without blocking") {
  Place place;
  auto end = async_wait_success(place.run(7, "interrupted"), asio::use_future).get();
  CHECK(end.error().code() == "run_unsuccessful");
}

namespace {

/// Calls of one client, on one context, each with a signal of its own.
struct Calls {
  Place place;
  asio::io_context context;
  std::deque<asio::cancellation_signal> signals;
  std::map<std::size_t, std::string> told;  ///< the error's code, or "done"
  /// How a call that is begun here ends.
  auto token() {
    auto& signal = signals.emplace_back();
    auto tell = [this, number = signals.size() - 1](auto result) {
      told[number] = result ? "done" : result.error().code();
    };
    return asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(context, tell));
  }
  void cancel(std::size_t number) { signals[number].emit(asio::cancellation_type::terminal); }
  void run_until(std::size_t count) {
    while (told.size() < count && context.run_one() > 0) {
    }
  }
  ~Calls() {
    {
      std::lock_guard lock(place.service->mutex);
      place.service->following = false;
    }
    place.service->let_go();
    context.restart();
    context.run();
  }
};

}  // namespace

TEST_CASE("calls that wait keep no other from being carried out") {
  Calls calls;
  constexpr int count = 40;
  auto watched = calls.place.run(1);
  auto wait = [watched](CallOptions options) {
    return watched.wait_metric("loss", "<", 1, options);
  };
  for (int i = 0; i < count; ++i) async_call(calls.place.client(), wait, calls.token());
  calls.place.wait_held(count);
  SECTION("short ones by their own threads") {
    async_kill(calls.place.run(2), calls.token());
    async_info(calls.place.run(3), calls.token());
    calls.run_until(2);
    CHECK(calls.told == std::map<std::size_t, std::string>{{count, "done"}, {count + 1, "done"}});
  }
  SECTION("and each hears its cancellation") {
    calls.cancel(16);
    calls.run_until(1);
    CHECK(calls.told == std::map<std::size_t, std::string>{{16, "canceled"}});
  }
}

TEST_CASE("a call is canceled while the service has it, and before a thread has it") {
  Calls calls;
  calls.place.service->hold = true;
  auto run = calls.place.run(1);
  auto client = calls.place.client();
  RunSpec spec;
  spec.command = "true";
  auto get = [client](CallOptions options) { return client.runs().get(1, options); };
  auto begin = GENERATE(0, 1, 2, 3, 4);
  auto call = [&] {
    switch (begin) {
      case 0:
        return async_run(client, spec, "a key", calls.token());
      case 1:
        return async_info(run, calls.token());
      case 2:
        return async_kill(run, calls.token());
      case 3:
        return async_stop(run, calls.token());
      default:
        return async_call(client, get, calls.token());
    }
  };
  SECTION("while the service has it") {
    call();
    calls.place.wait_held(1);
    calls.cancel(0);
    calls.run_until(1);
    CHECK(calls.told[0] == "canceled");
  }
  SECTION("before a thread has it") {
    constexpr int threads = 16;
    for (int i = 0; i < threads; ++i) async_info(run, calls.token());
    calls.place.wait_held(threads);
    call();
    calls.cancel(threads);
    calls.run_until(1);
    CHECK(calls.told == std::map<std::size_t, std::string>{{threads, "canceled"}});
    // What has begun goes on, what was canceled is not made up for.
    calls.place.service->let_go();
    calls.run_until(threads + 1);
    for (int i = 0; i < threads; ++i) CHECK(calls.told[static_cast<std::size_t>(i)] == "done");
    if (begin == 0) CHECK(calls.place.service->submitted == 0);
    if (begin == 2 || begin == 3) CHECK(calls.place.service->runs[1] == "running");
  }
  SECTION("the stop that was there before it began") {
    std::stop_source stop;
    stop.request_stop();
    std::vector<bool> canceled;
    AsyncCalls::in_background(calls.place.connection, AsyncCalls::Length::brief, stop.get_token(),
                              [&](bool told) { canceled.push_back(told); });
    calls.place.connection->brief().stop();
    CHECK(canceled.size() == 1);
  }
}

TEST_CASE("what cannot be heard is an error for all who wait, and later waits try again") {
  Place place;
  place.service->refuse = true;
  auto one = async_wait(place.run(1), asio::use_future);
  auto two = async_wait(place.run(2), asio::use_future);
  CHECK(one.get().error().code() == "not_permitted");
  CHECK(two.get().error().code() == "not_permitted");
  {
    std::lock_guard lock(place.service->mutex);
    place.service->refuse = false;
  }
  CHECK(async_wait(place.run(3, "stopped"), asio::use_future).get().value().id == 3);
}

TEST_CASE("the client may go before its calls have completed") {
  std::future<Result<RunInfo>> end;
  std::shared_ptr<Ends> service;
  {
    Place place;
    service = place.service;
    end = async_wait(place.run(1), asio::use_future);
  }
  service->end(1);
  CHECK(end.get().value().id == 1);
}

TEST_CASE("a client can go from a completion of its own") {
  for (int i = 0; i < 50; ++i) {
    asio::io_context context;
    int told = 0;
    {
      Place place;
      auto run = place.run(1);
      auto count = [&](const auto&) { ++told; };
      async_wait(run, asio::bind_executor(context, count));
      async_wait_success(run, asio::bind_executor(context, count));
      async_kill(run, asio::bind_executor(context, [run, &told](auto) { ++told; }));
    }
    context.run();
    CHECK(told == 3);
  }
}

namespace {

asio::awaitable<void> a_whole_run(Client client, std::vector<std::string>& told) {
  RunSpec spec;
  spec.command = "true";
  auto run = co_await async_run(client, spec, asio::use_awaitable);
  told.push_back(run ? "made" : run.error().code());
  auto running = co_await async_info(run.value(), asio::use_awaitable);
  told.push_back(running.value().status.name());
  auto killed = co_await async_kill(run.value(), asio::use_awaitable);
  told.push_back(killed.value().status.name());
  auto success = co_await async_wait_success(run.value(), asio::use_awaitable);
  told.push_back(success ? "success" : success.error().code());
  auto ask = [client](CallOptions options) { return client.runs().get(7, options); };
  auto missing = co_await async_call(client, ask, asio::use_awaitable);
  told.push_back(missing ? "found" : missing.error().code());
  using namespace asio::experimental::awaitable_operators;
  RunSpec another = spec;
  auto endless = co_await async_run(client, another, "a key", asio::use_awaitable);
  asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(1));
  auto which = co_await (async_wait(endless.value(), asio::use_awaitable) ||
                         timer.async_wait(asio::use_awaitable));
  told.push_back(which.index() == 1 ? "timer" : "run");
}

}  // namespace

TEST_CASE("calls with a completion token do what their blocking twins do") {
  Place place;
  asio::io_context context;
  std::vector<std::string> told;
  std::exception_ptr failure;
  co_spawn(context, a_whole_run(place.client(), told), [&](std::exception_ptr e) { failure = e; });
  context.run();
  CHECK(!failure);
  CHECK(told == std::vector<std::string>{"made", "running", "killed", "run_unsuccessful",
                                         "run_not_found", "timer"});
}

#if SPELL_NAME_IT_FIRST
template <class Spec>
concept takes = requires(Client client, Spec&& spec) {
  async_run(client, std::forward<Spec>(spec), asio::detached);
};
TEST_CASE("a spec without a name is refused where the compiler would destroy it twice") {
  STATIC_REQUIRE(takes<RunSpec&>);
  STATIC_REQUIRE(takes<const RunSpec&>);
  STATIC_REQUIRE(!takes<RunSpec>);
}
#endif
