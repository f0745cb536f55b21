// One client of many threads. The service here shares nothing between them, so that nothing of it
// hides what the client does (./dev test --sanitize=thread).
#include <atomic>
#include <boost/asio/use_future.hpp>
#include <condition_variable>
#include <thread>

#include "catch.hpp"
#include "fake.hpp"
#include "spell/asio.hpp"
#include "spell/json.hpp"

namespace asio = boost::asio;
using namespace spell;

namespace {

/// Answers are a function of what is asked, but for some requests that are lost.
struct Answering : detail::Transport {
  std::atomic<unsigned> asked = 0;

  bool lost() { return asked.fetch_add(1, std::memory_order_relaxed) % 31 == 30; }
  static RunInfo run(std::int64_t id) {
    RunInfo info;
    info.id = id;
    info.status = id == 7 ? RunStatus::interrupted : RunStatus::complete;
    if (id == 7) info.resumed_as_run = 9;
    info.user_exit_code = 0;
    info.log_bytes = 8;
    return info;
  }
  static detail::json body(const net::ClientRequest& request, const CallOptions& options) {
    auto target = test::target_of(request);
    auto& last = target.segments.back();
    if (last == "user") {
      Identity identity;
      identity.owner = identity.user.name = "ada";
      return {{"identity", identity}};
    }
    if (last == "ends") {
      std::mutex mutex;
      std::condition_variable_any never;
      std::unique_lock lock(mutex);
      if (target.query.contains("from")) never.wait(lock, options.stop, [] { return false; });
      return {{"runs", detail::json::array()}, {"next", "1"}, {"complete", true}};
    }
    if (last == "points")
      return {{"metrics", {Metric{.name = "loss", .value = 1.0}}}, {"next", "1"}, {"final", true}};
    if (last == "runs" && request.method == "GET")
      return {{"runs", {run(1), run(2)}}, {"next", nullptr}};
    if (last == "runs") return {{"run", run(7)}};
    return {{"run", target.segments.size() > 4 ? run(std::stoll(target.segments[4])) : run(0)}};
  }
  Result<net::ClientResponse> send(const net::ClientRequest& request,
                                   const CallOptions& options) override {
    if (lost()) return base::error("connection_lost", "lost");
    auto answer = body(request, options);
    if (options.stop.stop_requested()) return base::error("canceled", "canceled");
    return net::ClientResponse{200, {{"X-Spell-Version", spell::version()}}, answer.dump()};
  }
  struct Log : detail::Body {
    net::Headers head{{"X-Spell-Version", spell::version()}};
    std::string text;
    int status() const override { return 200; }
    const net::Headers& headers() const override { return head; }
    Result<std::size_t> read(char* buffer, std::size_t size, const CallOptions&) override {
      auto n = text.copy(buffer, size);
      text.erase(0, n);
      return n;
    }
  };
  Result<std::unique_ptr<detail::Body>> open(const net::ClientRequest& request,
                                             const CallOptions&) override {
    if (lost()) return base::error("connection_lost", "lost");
    auto log = std::make_unique<Log>();
    if (!test::target_of(request).query.contains("cursor"))
      model::append_frame(log->text, {.kind = model::FrameKind::output}, "one\ntwo\n");
    return std::unique_ptr<detail::Body>(std::move(log));
  }
  Result<net::Upgrade> upgrade(const net::ClientRequest&, const CallOptions&) override {
    return base::error("not_permitted", "no stream here").with_http_status(403);
  }
};

Client make_client() {
  detail::Connection::Parts parts;
  parts.endpoint = "unix:/fake";  // whose owner is asked for
  parts.transport = std::make_unique<Answering>();
  return Client(std::make_shared<detail::Connection>(std::move(parts)));
}

/// All that a thread does with its copy of the client; how often it did not get what there is.
int use(Client client, int round) {
  int wrong = 0;
  auto expect = [&](bool right) { wrong += right ? 0 : 1; };
  RunSpec spec;
  spec.command = "true";
  auto run = client.run(spec);
  expect(run && run->id() == 7);
  if (!run) return wrong;
  expect(run->info().value().status == RunStatus::interrupted);
  expect(client.runs().list().all().value().size() == 2);
  expect(run->wait().value().id == 9);
  expect(run->wait_success().value().id == 9);
  expect(run->logs({.follow = true}).all().value().size() == 4);
  expect(run->wait_metric("loss", "<", 2).value().number() == 1);
  expect(run->output("x") == "runs/9/x");
  auto end = async_wait(*run, asio::use_future);
  auto success = async_wait_success(*run, asio::use_future);
  auto again = async_run(client, spec, asio::use_future);
  auto list = [client](CallOptions options) { return client.runs().get(1, options); };
  auto got = async_call(client, list, asio::use_future);
  std::stop_source stop;
  std::promise<std::string> told;
  AsyncCalls::wait(*run, stop.get_token(), [&told](auto result) {
    told.set_value(result ? "ended" : result.error().code());
  });
  if (round % 2 == 0) stop.request_stop();
  auto how = told.get_future().get();
  expect(how == "ended" || (round % 2 == 0 && how == "canceled"));
  expect(end.get().value().id == 9);
  expect(success.get().value().id == 9);
  expect(again.get().value().id() == 7);
  expect(got.get().value().id() == 1);
  return wrong;
}

}  // namespace

TEST_CASE("one client is used by many threads, copied and let go of by each") {
  constexpr int threads = 8, rounds = 20;
  std::atomic<int> wrong = 0;
  for (int generation = 0; generation < 3; ++generation) {
    std::vector<std::thread> users;
    auto client = std::make_unique<Client>(make_client());
    for (int i = 0; i < threads; ++i)
      users.emplace_back([copy = *client, &wrong]() mutable {
        for (int round = 0; round < rounds; ++round) {
          Client mine = copy;
          wrong += use(mine, round);
          copy = mine;
        }
      });
    client.reset();  // the last of them ends it
    for (auto& user : users) user.join();
  }
  CHECK(wrong == 0);
}
