#include "net/relay.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "fixture.hpp"

using namespace spell;
using namespace spell::net;
using namespace spell::net::test;
namespace stream = spell::model::stream;

namespace {

struct Pair {
  Pair() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    ours = base::Fd(ends[0]);
    theirs = base::Fd(ends[1]);
  }
  base::Fd ours, theirs;
};

Relay relay_of(Pair& pair) {
  std::vector<Relay::Source> sources;
  sources.push_back({base::Fd(::dup(pair.theirs.get())), stream::data});
  return Relay(std::move(pair.theirs), std::move(sources));
}

/// A stream whose other end lies in the open.
MessageStream stream_on(Pair& pair) { return MessageStream(Transport(std::move(pair.theirs)), ""); }

std::vector<WireMessage> sent_by(MessageStream& s, int fd) {
  REQUIRE(s.serve());
  MessageReader reader(true);
  char buffer[65536];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) {
    REQUIRE(reader.feed({buffer, static_cast<std::size_t>(n)}));
    REQUIRE(s.serve());
  }
  std::vector<WireMessage> out;
  while (auto message = reader.next()) out.push_back(std::move(*message));
  return out;
}

}  // namespace

TEST_CASE("a relay sends no more than the other end has room for") {
  Pair line, local;
  auto out = stream_on(line);
  auto relay = relay_of(local);
  std::string bytes(model::stream_window * 2, 'x');
  std::size_t written = 0, came = 0;
  auto move = [&] {
    for (int i = 0; i < 100; ++i) {
      ssize_t n = ::write(local.ours.get(), bytes.data(), bytes.size() - written);
      if (n > 0) written += static_cast<std::size_t>(n);
      relay.serve(out);
      for (auto& message : sent_by(out, line.ours.get())) came += message.payload.size() - 1;
    }
  };
  move();
  CHECK(came == model::stream_window);
  CHECK(relay.take(model::stream_message(stream::window, "1000")));
  move();
  CHECK(came == model::stream_window + 1000);
}

TEST_CASE("who sends beyond the window, or grants what it was not sent, is found out") {
  Pair line, local;
  auto out = stream_on(line);
  auto relay = relay_of(local);
  CHECK_FALSE(relay.take(model::stream_message(stream::window, "1")));
  CHECK_FALSE(relay.take(model::stream_message(stream::window, "-5")));
  CHECK_FALSE(relay.take(model::stream_message(stream::window, "x")));
  std::string piece(model::stream_piece, 'x');
  for (std::size_t sent = 0; sent < model::stream_window; sent += piece.size())
    CHECK(relay.take(model::stream_message(stream::data, piece)));
  CHECK_FALSE(relay.take(model::stream_message(stream::data, "x")));
}

TEST_CASE("the end of one direction leaves the other open") {
  Pair line, local;
  auto out = stream_on(line);
  auto relay = relay_of(local);
  CHECK(relay.take(model::stream_message(stream::data, "question")));
  CHECK(relay.take(model::stream_message(stream::end_of_data)));
  relay.serve(out);
  char buffer[64];
  CHECK(::read(local.ours.get(), buffer, sizeof buffer) == 8);
  CHECK(::read(local.ours.get(), buffer, sizeof buffer) == 0);
  CHECK_FALSE(relay.over());
  REQUIRE(::write(local.ours.get(), "answer", 6) == 6);
  local.ours.reset();
  relay.serve(out);
  auto messages = sent_by(out, line.ours.get());
  REQUIRE(messages.size() == 2);
  CHECK(messages[0].payload == "danswer");
  CHECK(messages[1].payload == "z");
  CHECK(relay.over());
  CHECK_FALSE(relay.take(model::stream_message(stream::data, "late")));
}

TEST_CASE("a loop serves what is added, drops what is over, and ends with the rest") {
  struct Once : Relayed {
    std::promise<void>* served;
    std::promise<void>* gone;
    Once(std::promise<void>* s, std::promise<void>* g) : served(s), gone(g) {}
    ~Once() override { gone->set_value(); }
    void watch(std::vector<pollfd>&) override {}
    bool serve(std::span<const pollfd>) override { return served->set_value(), false; }
    std::optional<Clock::time_point> due() const override { return Clock::time_point{}; }
  };
  struct Forever : Relayed {
    std::promise<void>* gone;
    explicit Forever(std::promise<void>* g) : gone(g) {}
    ~Forever() override { gone->set_value(); }
    void watch(std::vector<pollfd>&) override {}
    bool serve(std::span<const pollfd>) override { return true; }
  };
  std::promise<void> served, once_gone, forever_gone;
  RelayLoop loop;
  loop.add(std::make_unique<Once>(&served, &once_gone));
  loop.add(std::make_unique<Forever>(&forever_gone));
  wait_for(served.get_future());
  wait_for(once_gone.get_future());
  loop.stop();
  wait_for(forever_gone.get_future());
}

TEST_CASE("what breaks off is told from what ends") {
  Pair line, local;
  auto out = stream_on(line);
  auto relay = relay_of(local);
  // A Unix socket that is closed with unread bytes in it breaks off.
  CHECK(relay.take(model::stream_message(stream::data, "unread")));
  relay.serve(out);
  local.ours.reset();
  relay.serve(out);
  CHECK(relay.cut());
  CHECK_FALSE(relay.over());
  for (auto& message : sent_by(out, line.ours.get())) CHECK(message.payload != "z");
}

TEST_CASE("a relay is over when nobody takes what would still come") {
  Pair line;
  auto out = stream_on(line);
  int down[2], up[2];
  REQUIRE(::pipe2(down, O_NONBLOCK | O_CLOEXEC) == 0);
  REQUIRE(::pipe2(up, O_NONBLOCK | O_CLOEXEC) == 0);
  std::vector<Relay::Source> sources;
  sources.push_back({base::Fd(up[0]), stream::data});
  Relay relay(base::Fd(down[1]), std::move(sources));
  base::Fd reader(down[0]), writer(up[1]);
  reader.reset();
  std::signal(SIGPIPE, SIG_IGN);
  CHECK(relay.take(model::stream_message(stream::data, "for nobody")));
  relay.serve(out);
  CHECK_FALSE(relay.over());  // the other direction goes on
  writer.reset();
  relay.serve(out);
  CHECK(relay.over());
  CHECK_FALSE(relay.sink_done());
}

TEST_CASE("abandoned, a connection is reset, not ended") {
  base::Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* name = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  REQUIRE(::bind(listener.get(), name, size) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  REQUIRE(::getsockname(listener.get(), name, &size) == 0);
  base::Fd there(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(there.get(), name, size) == 0);
  base::Fd here(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  std::vector<Relay::Source> sources;
  sources.push_back({base::Fd(::dup(here.get())), stream::data});
  Relay relay(std::move(here), std::move(sources));
  relay.abandon();
  char byte;
  CHECK(::recv(there.get(), &byte, 1, 0) == -1);
  CHECK(errno == ECONNRESET);
}
