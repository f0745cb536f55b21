// A service made of a function, on a line that can be cut at any step; a clock that only sleeping
// moves.
#pragma once
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "client/connection.hpp"
#include "model/log.hpp"
#include "spell/version.hpp"

namespace spell::test {

using detail::json;

struct FakeWaiter : detail::Waiter {
  detail::Moment time{};
  std::vector<std::chrono::milliseconds> sleeps;
  detail::Moment now() override { return time; }
  Result<> sleep(std::chrono::milliseconds length, const std::stop_token& stop) override {
    if (stop.stop_requested()) return base::error("canceled", "canceled");
    sleeps.push_back(length);
    time += length;
    return ok();
  }
  double dice = 1;  ///< what comes of chance
  double random() override { return dice; }
};

struct FakeControl : detail::ServiceControl {
  int starts = 0;
  bool alive = true;
  std::function<Result<>()> on_start = [] { return ok(); };
  Result<> start(const detail::Limit&) override {
    ++starts;
    auto result = on_start();
    if (result) alive = true;
    return result;
  }
  std::int64_t holder() override { return alive ? 1 : 0; }
  std::string log() const override { return "/log"; }
};

struct Answer {
  int status = 200;
  std::string body;
  net::Headers headers{};
};

/// What happens to one request on its way.
enum class Fault { none, unreachable, lost_before, lost_after, shutting_down };

/// Counts steps (a request, or a read of a body); `fault` says what happens at each. One thing at a
/// time, whatever the number of threads.
struct FakeTransport : detail::Transport {
  std::recursive_mutex mutex;
  std::function<Answer(const net::ClientRequest&)> serve;
  std::function<Fault(int step)> fault = [](int) { return Fault::none; };
  std::size_t piece = 1 << 20;  ///< bytes a read brings at most
  std::string version = spell::version();
  int steps = 0;
  std::vector<std::string> seen;  ///< "METHOD target" of what reached the service

  Fault next_fault() { return fault(++steps); }

  Result<Answer> exchange(const net::ClientRequest& request) {
    std::lock_guard lock(mutex);
    Fault what = next_fault();
    if (what == Fault::unreachable) return base::error("service_unreachable", "nobody there");
    if (what == Fault::lost_before) return base::error("connection_lost", "lost");
    if (what == Fault::shutting_down)
      return Answer{
          503, R"({"error":{"code":"shutting_down","message":"ending","request_id":"r"}})", head()};
    seen.push_back(request.method + " " + request.target);
    Answer answer = serve(request);
    for (auto& header : head()) answer.headers.push_back(header);
    if (what == Fault::lost_after) return base::error("connection_lost", "lost");
    return answer;
  }
  net::Headers head() const { return {{"X-Spell-Version", version}}; }

  Result<net::ClientResponse> send(const net::ClientRequest& request,
                                   const CallOptions& options) override {
    if (options.stop.stop_requested()) return base::error("canceled", "canceled");
    auto answer = exchange(request);
    if (!answer) return answer.error();
    return net::ClientResponse{answer->status, answer->headers, answer->body};
  }

  struct FakeBody : detail::Body {
    FakeTransport& transport;
    Answer answer;
    std::size_t at = 0;
    FakeBody(FakeTransport& t, Answer a) : transport(t), answer(std::move(a)) {}
    int status() const override { return answer.status; }
    const net::Headers& headers() const override { return answer.headers; }
    Result<std::size_t> read(char* buffer, std::size_t size, const CallOptions& options) override {
      if (options.stop.stop_requested()) return base::error("canceled", "canceled");
      std::lock_guard lock(transport.mutex);
      if (transport.next_fault() != Fault::none) return base::error("connection_lost", "cut");
      std::size_t n = std::min({size, transport.piece, answer.body.size() - at});
      answer.body.copy(buffer, n, at);
      at += n;
      return n;
    }
  };
  Result<std::unique_ptr<detail::Body>> open(const net::ClientRequest& request,
                                             const CallOptions&) override {
    auto answer = exchange(request);
    if (!answer) return answer.error();
    return std::unique_ptr<detail::Body>(std::make_unique<FakeBody>(*this, *answer));
  }
  Result<net::Upgrade> upgrade(const net::ClientRequest& request, const CallOptions&) override {
    auto answer = exchange(request);
    if (!answer) return answer.error();
    net::Upgrade refused;
    refused.response = {answer->status, answer->headers, answer->body};
    return refused;
  }
};

/// A connection to a fake service, and the parts to look at.
struct World {
  FakeTransport* transport = new FakeTransport;
  std::shared_ptr<FakeWaiter> waiter = std::make_shared<FakeWaiter>();
  std::shared_ptr<FakeControl> control = std::make_shared<FakeControl>();
  std::shared_ptr<detail::Connection> connection;

  explicit World(bool personal = true, bool autostart = true) {
    detail::Connection::Parts parts;
    parts.endpoint = "unix:/fake";
    parts.owner = "ada";
    parts.transport.reset(transport);
    parts.waiter = waiter;
    if (personal) parts.service = control;
    parts.autostart = autostart;
    connection = std::make_shared<detail::Connection>(std::move(parts));
  }
};

inline net::Target target_of(const net::ClientRequest& request) {
  return net::parse_target(request.target).value();
}

inline std::string header_of(const net::ClientRequest& request, std::string_view name) {
  return std::string(net::find_header(request.headers, name));
}

}  // namespace spell::test
