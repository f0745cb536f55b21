#include <mutex>

#include "base/error.hpp"
#include "client/connection.hpp"
#include "net/http.hpp"
#include "spell/testing.hpp"
#include "spell/version.hpp"

namespace spell::testing {

Answer refusal(int status, const std::string& code, const std::string& message) {
  nlohmann::json body = {{"error", {{"code", code}, {"message", message}, {"request_id", "test"}}}};
  return {status, body.dump()};
}

struct FakeTransport::Impl {
  std::mutex mutex, serving;
  Serve serve;
  std::vector<Request> requests;  ///< under the mutex

  Result<Answer> answer(const net::ClientRequest& request, const CallOptions& options) {
    if (options.stop.stop_requested()) return base::error("canceled", "the call was canceled");
    auto target = net::parse_target(request.target);
    if (!target) return target.error();
    if (target->segments == std::vector<std::string>{"healthz"}) return Answer{};
    Request asked{request.method, {}, {}, request.body};
    for (auto& segment : target->segments) asked.path += "/" + segment;
    for (auto& [name, value] : target->query) asked.query[name] = value;
    {
      std::lock_guard lock(mutex);
      requests.push_back(asked);
    }
    std::lock_guard lock(serving);
    return serve(asked);
  }
};

namespace {

net::Headers head() { return {{"X-Spell-Version", version()}}; }

/// Tries again at once.
struct NoPause : detail::Waiter {
  std::mutex mutex;
  detail::Moment time = std::chrono::steady_clock::now();  ///< under the mutex
  detail::Moment now() override {
    std::lock_guard lock(mutex);
    return time;
  }
  Result<> sleep(std::chrono::milliseconds length, const std::stop_token& stop) override {
    if (stop.stop_requested()) return base::error("canceled", "the call was canceled");
    std::lock_guard lock(mutex);
    time += length;
    return ok();
  }
  double random() override { return 0.5; }
};

struct WholeBody : detail::Body {
  Answer answer;
  net::Headers headers_ = head();
  std::size_t at = 0;
  explicit WholeBody(Answer whole) : answer(std::move(whole)) {}
  int status() const override { return answer.status; }
  const net::Headers& headers() const override { return headers_; }
  Result<std::size_t> read(char* buffer, std::size_t size, const CallOptions&) override {
    auto count = answer.body.copy(buffer, size, at);
    at += count;
    return count;
  }
};

struct Line : detail::Transport {
  std::shared_ptr<FakeTransport::Impl> fake;
  explicit Line(std::shared_ptr<FakeTransport::Impl> to) : fake(std::move(to)) {}
  Result<net::ClientResponse> send(const net::ClientRequest& request,
                                   const CallOptions& options) override {
    auto answer = fake->answer(request, options);
    if (!answer) return answer.error();
    return net::ClientResponse{answer->status, head(), answer->body};
  }
  Result<std::unique_ptr<detail::Body>> open(const net::ClientRequest& request,
                                             const CallOptions& options) override {
    auto answer = fake->answer(request, options);
    if (!answer) return answer.error();
    return std::unique_ptr<detail::Body>(std::make_unique<WholeBody>(std::move(*answer)));
  }
  Result<net::Upgrade> upgrade(const net::ClientRequest& request,
                               const CallOptions& options) override {
    auto answer = fake->answer(request, options);
    if (!answer) return answer.error();
    net::Upgrade none;
    none.response = {answer->status, head(), answer->body};
    return none;
  }
};

}  // namespace

FakeTransport::FakeTransport(Serve serve) : impl_(std::make_shared<Impl>()) {
  impl_->serve = std::move(serve);
}

Client FakeTransport::client() const {
  detail::Connection::Parts parts;
  parts.endpoint = "a fake";
  parts.owner = "test";
  parts.transport = std::make_unique<Line>(impl_);
  parts.waiter = std::make_shared<NoPause>();
  parts.autostart = false;
  return Client(std::make_shared<detail::Connection>(std::move(parts)));
}

std::vector<Request> FakeTransport::requests() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->requests;
}

}  // namespace spell::testing
