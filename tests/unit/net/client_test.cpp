#include <arpa/inet.h>
#include <netinet/in.h>

#include <thread>

#include "fixture.hpp"

using namespace spell;
using namespace spell::net;
using namespace spell::net::test;

namespace {

/// A listening socket whose connections are answered by a script. What the script uses must outlive
/// it.
struct Peer {
  Peer() : listening(std::move(*listen_unix(folder.path + "/s"))) {}
  ~Peer() {
    if (thread.joinable()) thread.join();
  }
  base::Fd accept() {
    pollfd entry{listening.get(), POLLIN, 0};
    ::poll(&entry, 1, 30'000);
    return accept_connection(listening.get());
  }
  /// Until a request's head has come.
  static std::string read_head(const base::Fd& fd) {
    std::string out;
    char byte;
    while (out.find("\r\n\r\n") == std::string::npos) {
      pollfd entry{fd.get(), POLLIN, 0};
      if (::poll(&entry, 1, 30'000) != 1 || ::recv(fd.get(), &byte, 1, 0) != 1) break;
      out += byte;
    }
    return out;
  }
  void script(std::function<void()> function) { thread = std::thread(std::move(function)); }
  std::string endpoint() const { return "unix:" + folder.path + "/s"; }

  TemporaryFolder folder;
  base::Fd listening;
  std::thread thread;
};

void answer(const base::Fd& fd, std::string_view bytes) { (void)base::write_all(fd.get(), bytes); }
constexpr std::string_view fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

}  // namespace

TEST_CASE("nobody there is service_unreachable, with the reason") {
  TemporaryFolder folder;
  auto absent = HttpClient("unix:" + folder.path + "/none").send({.target = "/"});
  REQUIRE(!absent);
  CHECK(absent.error().code() == "service_unreachable");
  CHECK(absent.error().message().find("No such file") != std::string::npos);
  { auto closed = listen_unix(folder.path + "/stale"); }
  CHECK(HttpClient("unix:" + folder.path + "/stale").send({.target = "/"}).error().code() ==
        "service_unreachable");
  CHECK(HttpClient("ftp://x").send({.target = "/"}).error().code() == "service_unreachable");
  CHECK(HttpClient("http://127.0.0.1:1").send({.target = "/"}).error().code() ==
        "service_unreachable");
}

TEST_CASE("a request that would break its own head is refused") {
  TestServer server;
  HttpClient client(server.endpoint());
  CHECK(client.send({.target = "/a b"}).error().code() == "invalid_path");
  CHECK(client.send({.target = "/a\r\nX: y"}).error().code() == "invalid_path");
  CHECK(client.send({.target = "/", .headers = {{"A", "b\r\nC: d"}}}).error().code() ==
        "invalid_request");
  CHECK(server.server->open_connections() == 0);
}

TEST_CASE("a TCP address works too") {
  base::Fd listening(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(listening.get(), 10) == 0);
  ::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &size);
  TestHandler handler;
  std::promise<Request> seen;
  handler.answer = [&](Request request, Reply reply) {
    seen.set_value(std::move(request));
    reply.send({.body = "tcp"});
  };
  auto server = Server::start({.socket_fd = listening.release(), .spool_folder = "/tmp"}, handler);
  REQUIRE(server);
  std::string host = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  CHECK(HttpClient("http://" + host).send({.target = "/"})->body == "tcp");
  Request request = wait_for(seen.get_future());
  CHECK(find_header(request.headers, "Host") == host);
  CHECK(request.peer_uid == UINT32_MAX);
}

TEST_CASE("a deadline ends a call, and not before its time") {
  std::vector<Reply> kept;  // outlives the server's threads
  TestServer server;
  server.handler.answer = [&](Request, Reply reply) { kept.push_back(reply); };
  HttpClient client(server.endpoint());
  auto before = std::chrono::steady_clock::now();
  auto result = client.send({.target = "/"}, {.timeout = std::chrono::milliseconds(50)});
  REQUIRE(!result);
  CHECK(result.error().code() == "timeout");
  CHECK(std::chrono::steady_clock::now() - before >= std::chrono::milliseconds(50));
  CHECK(client.send({.target = "/"}, {.timeout = std::chrono::milliseconds(0)}).error().code() ==
        "timeout");
  server.server->stop(0);
}

TEST_CASE("a stop token ends a call while it waits, and one that has not begun") {
  std::vector<Reply> kept;  // a reply must not be dropped while the client waits
  std::promise<void> arrived, gone;
  bool first = true;
  TestServer server;
  server.handler.answer = [&](Request, Reply reply) {
    kept.push_back(reply);
    if (!std::exchange(first, false)) return;
    reply.on_close([&] { gone.set_value(); });
    arrived.set_value();
  };
  HttpClient client(server.endpoint());
  std::stop_source stop;
  std::thread canceler([&] {
    arrived.get_future().wait();
    stop.request_stop();
  });
  CHECK(client.send({.target = "/"}, {.stop = stop.get_token()}).error().code() == "canceled");
  canceler.join();
  wait_for(gone.get_future());
  CHECK(client.send({.target = "/"}, {.stop = stop.get_token()}).error().code() == "canceled");
}

TEST_CASE("a stream can be read on after a time-out") {
  TestServer server;
  auto source = std::make_shared<Pieces>(std::vector<std::string>{"abc"}, Pieces::Then::nothing);
  server.handler.answer = [&](Request, Reply reply) { reply.stream({}, source); };
  HttpClient client(server.endpoint());
  auto stream = client.open({.target = "/"});
  REQUIRE(stream);
  char buffer[10];
  CHECK(*stream->read(buffer, 2) == 2);
  CHECK(*stream->read(buffer, 10) == 1);
  CHECK(stream->read(buffer, 10, {.timeout = std::chrono::milliseconds(20)}).error().code() ==
        "timeout");
  std::stop_source stop;
  stop.request_stop();
  CHECK(stream->read(buffer, 10, {.stop = stop.get_token()}).error().code() == "canceled");
  source->then = Pieces::Then::end;
  source->waiting(std::string("def"));
  CHECK(*stream->read(buffer, 10) == 3);
  CHECK(*stream->read(buffer, 10) == 0);
}

TEST_CASE("an answer beyond the limit is too_large") {
  TestServer server;
  server.handler.answer = [](Request, Reply reply) {
    reply.send({.body = std::string(1001, 'x')});
  };
  HttpClient client(server.endpoint());
  CHECK(client.send({.target = "/"}, {}, 1000).error().code() == "too_large");
  CHECK(client.send({.target = "/"}, {}, 1001)->body.size() == 1001);
}

TEST_CASE("a kept connection that the service has closed is replaced") {
  Peer peer;
  peer.script([&] {
    auto first = peer.accept();
    Peer::read_head(first);
    answer(first, fine);
    Peer::read_head(first);
    answer(first, fine);
    first.reset();
    auto second = peer.accept();
    Peer::read_head(second);
    answer(second, fine);
  });
  HttpClient client(peer.endpoint());
  CHECK(client.send({.target = "/"})->body == "ok");
  CHECK(client.send({.target = "/"})->body == "ok");
  CHECK(client.send({.method = "POST", .target = "/"})->body == "ok");
}

TEST_CASE("what the service has not read to its end is sent again over a new connection") {
  bool reads_head = GENERATE(false, true);
  std::promise<void> sent;
  Peer peer;
  peer.script([&] {
    auto first = peer.accept();
    Peer::read_head(first);
    answer(first, fine);
    sent.get_future().wait();
    if (reads_head) Peer::read_head(first);
    first.reset();
    auto second = peer.accept();
    Peer::read_head(second);
    answer(second, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
  });
  HttpClient client(peer.endpoint());
  CHECK(client.send({.target = "/"})->body == "ok");
  // The body is longer than a socket takes at once: it is under way, but not out, when progress is
  // first told.
  bool told = false;
  auto progress = [&](std::int64_t) {
    if (!std::exchange(told, true)) sent.set_value();
  };
  auto again = client.send(
      {.method = "POST", .target = "/", .body = std::string(4 << 20, 'x'), .progress = progress});
  REQUIRE(again);
  CHECK(again->status == 201);
}

TEST_CASE("a request that was read whole and not answered is connection_lost") {
  Peer peer;
  peer.script([&] {
    auto first = peer.accept();
    Peer::read_head(first);
    answer(first, fine);
    Peer::read_head(first);
  });
  HttpClient client(peer.endpoint());
  CHECK(client.send({.target = "/"})->body == "ok");
  CHECK(client.send({.method = "POST", .target = "/"}).error().code() == "connection_lost");
}

TEST_CASE("a service that ends before it accepts has not read the request") {
  Peer peer;
  HttpClient client(peer.endpoint());
  peer.script([&] {
    pollfd entry{peer.listening.get(), POLLIN, 0};
    ::poll(&entry, 1, 30'000);
    peer.listening.reset();
  });
  CHECK(client.send({.target = "/"}).error().code() == "service_unreachable");
}

TEST_CASE("answers cut at every byte are connection_lost, and never taken for whole") {
  std::string whole =
      GENERATE(as<std::string>(), std::string(fine),
               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
  Peer peer;
  peer.script([&] {
    for (std::size_t size = 0; size <= whole.size(); ++size) {
      auto fd = peer.accept();
      Peer::read_head(fd);
      answer(fd, std::string_view(whole).substr(0, size));
    }
  });
  HttpClient client(peer.endpoint());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    auto result = client.send({.target = "/"});
    REQUIRE(!result);
    CHECK(result.error().code() == "connection_lost");
  }
  CHECK(client.send({.target = "/"})->body == "ok");
}

TEST_CASE("answers before the real one, and answers that are none") {
  std::vector<std::string> answers = {
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n" + std::string(fine),
      "HTTP/1.0 200 OK\r\n\r\nok", "SSH-2.0-OpenSSH\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n"};
  Peer peer;
  peer.script([&] {
    for (auto& text : answers) {
      auto fd = peer.accept();
      Peer::read_head(fd);
      answer(fd, text);
    }
  });
  HttpClient client(peer.endpoint(), 0);
  CHECK(client.send({.target = "/"})->body == "ok");
  CHECK(client.send({.target = "/"})->body == "ok");
  CHECK(client.send({.target = "/"}).error().code() == "connection_lost");
  CHECK(client.send({.target = "/"}).error().code() == "connection_lost");
}

TEST_CASE("calls from many threads each have their own connection") {
  TestServer server({.threads = 2});
  server.handler.answer = [](Request request, Reply reply) { reply.send({.body = request.body}); };
  HttpClient client(server.endpoint(), 4);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        std::string text = std::to_string(t) + "." + std::to_string(i);
        auto answer = client.send({.method = "POST", .target = "/", .body = text});
        if (!answer || answer->body != text) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}
