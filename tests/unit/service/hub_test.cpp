// Who listens hears of everything between start and stop, and of nothing after.
#include "service/hub.hpp"

#include <memory>
#include <optional>

#include "catch.hpp"

using spell::service::Hub;

TEST_CASE("a listener hears of its key each time, until it stops") {
  Hub hub;
  int heard = 0;
  Hub::Listener listener(hub, "one");
  hub.notify("one");
  CHECK(heard == 0);
  listener.start([&] { ++heard; });
  listener.start([&] { heard += 100; });  // once more does nothing
  hub.notify("one");
  hub.notify("two");
  hub.notify("one");
  CHECK(heard == 2);
  listener.stop();
  listener.stop();
  hub.notify("one");
  CHECK(heard == 2);
  CHECK(hub.size() == 0);
}

TEST_CASE("a listener may stop, and go, while it is called") {
  Hub hub;
  int heard = 0;
  std::optional<Hub::Listener> first;
  first.emplace(hub, "one");
  first->start([&] {
    ++heard;
    first.reset();
  });
  Hub::Listener second(hub, "one");
  second.start([&] { heard += 10; });
  hub.notify("one");
  hub.notify("one");
  CHECK(heard == 21);
  CHECK(hub.size() == 1);
}

TEST_CASE("what a listener's callback holds is given up when it stops") {
  Hub hub;
  auto held = std::make_shared<int>(1);
  Hub::Listener listener(hub, "one");
  listener.start([held] {});
  CHECK(held.use_count() == 2);
  listener.stop();
  CHECK(held.use_count() == 1);
}
