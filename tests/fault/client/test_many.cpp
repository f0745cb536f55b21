// Many threads that lose the same service.
#include <latch>
#include <thread>

#include "../../unit/client/fake.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::detail;

namespace {

/// A transport that is there once the service has been started; all threads find it gone first.
struct Gone : Transport {
  std::latch all{8};
  std::atomic<bool> there = false;
  Result<net::ClientResponse> send(const net::ClientRequest&, const CallOptions&) override {
    if (there) return net::ClientResponse{200, {{"X-Spell-Version", spell::version()}}, "{}"};
    all.arrive_and_wait();
    return base::error("service_unreachable", "nobody there");
  }
  Result<std::unique_ptr<Body>> open(const net::ClientRequest&, const CallOptions&) override {
    return Error();
  }
  Result<net::Upgrade> upgrade(const net::ClientRequest&, const CallOptions&) override {
    return Error();
  }
};

struct Control : test::FakeControl {
  Gone* gone = nullptr;
  std::atomic<int> started = 0;
  Result<> start(const Limit&) override {
    ++started;
    gone->there = true;
    return ok();
  }
};

}  // namespace

TEST_CASE("of many threads that find the service gone, one starts it") {
  auto transport = std::make_unique<Gone>();
  auto control = std::make_shared<Control>();
  control->gone = transport.get();
  Connection::Parts parts;
  parts.transport = std::move(transport);
  parts.service = control;
  Connection connection(std::move(parts));
  std::atomic<int> answered = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        if (connection.call({.route = model::Route::status})) ++answered;
      });
  }
  CHECK(answered == 8);
  CHECK(control->started == 1);
}
