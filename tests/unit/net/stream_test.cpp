#include <atomic>
#include <thread>

#include "fixture.hpp"
#include "net/certificate.hpp"
#include "net/websocket.hpp"

using namespace spell;
using namespace spell::net;
using namespace spell::net::test;

namespace {

/// Sends every message back, one at a time.
void echo(Stream stream) {
  stream.receive([stream](Result<std::string> message) {
    if (!message) return;
    stream.send(std::move(*message), [stream](Result<> sent) {
      if (sent) echo(stream);
    });
  });
}

MessageStream open_stream(HttpClient& client) {
  auto upgraded = client.upgrade({.target = "/stream"});
  REQUIRE((upgraded ? "" : upgraded.error().message()) == "");
  REQUIRE(upgraded->stream);
  return std::move(*upgraded->stream);
}

/// The next message; "(gone)" at the end of the stream.
std::string next(MessageStream& stream) {
  for (;;) {
    if (auto message = stream.next()) return *message;
    if (!stream.serve()) {
      auto message = stream.next();
      return message ? *message : "(gone)";
    }
    if (auto message = stream.next()) return *message;
    pollfd file{stream.fd(), stream.events(), 0};
    REQUIRE(::poll(&file, 1, static_cast<int>(std::chrono::milliseconds(patience).count())) > 0);
  }
}

void flush(MessageStream& stream) {
  while (stream.queued() > 0) {
    REQUIRE(stream.serve());
    pollfd file{stream.fd(), POLLOUT, 0};
    if (stream.queued() > 0) REQUIRE(::poll(&file, 1, 30'000) > 0);
  }
}

struct EchoServer : TestServer {
  explicit EchoServer(ServerOptions options = {}) : TestServer(std::move(options)) {
    handler.answer = [](Request request, Reply reply) {
      if (!request.wants_stream) return reply.send({.status = 426, .body = "ask for a stream"});
      echo(reply.upgrade());
    };
  }
};

}  // namespace

TEST_CASE("messages go both ways, byte for byte") {
  EchoServer server;
  HttpClient client(server.endpoint());
  auto stream = open_stream(client);
  std::string binary;
  for (int i = 0; i < 256; ++i) binary += static_cast<char>(i);
  for (auto& message : {std::string("a"), std::string(), binary, std::string(message_limit, 'x')}) {
    stream.send(message);
    CHECK(next(stream) == message);
  }
}

TEST_CASE("what another thread sends on a stream that has just been opened is not lost") {
  TestServer server;
  server.handler.answer = [](Request, Reply reply) {
    auto stream = reply.upgrade();
    std::thread([stream] { stream.send("early", [](Result<>) {}); }).join();
  };
  HttpClient client(server.endpoint());
  auto stream = open_stream(client);
  CHECK(next(stream) == "early");
}

TEST_CASE("over TLS as well, and many at once") {
  auto authority = make_authority("test");
  REQUIRE(authority);
  auto identity = issue(*authority, {.name = "box", .hosts = {"127.0.0.1"}});
  REQUIRE(identity);
  auto tls = Tls::server(*identity);
  REQUIRE(tls);
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.tls = *tls;
  options.threads = 2;
  EchoServer server(options);
  HttpClient client("https://127.0.0.1:" + std::to_string(server.server->port()), 16,
                    {Trust::Kind::anybody, {}});
  std::vector<MessageStream> streams;
  for (int i = 0; i < 100; ++i) streams.push_back(open_stream(client));
  for (std::size_t i = 0; i < streams.size(); ++i)
    streams[i].send(std::string(50'000, static_cast<char>('a' + i % 26)));
  for (std::size_t i = 0; i < streams.size(); ++i) {
    flush(streams[i]);
    CHECK(next(streams[i]) == std::string(50'000, static_cast<char>('a' + i % 26)));
  }
}

TEST_CASE("a request that asks for no stream is answered as ever, and a refusal is an answer") {
  EchoServer server;
  HttpClient client(server.endpoint());
  CHECK(client.send({.target = "/stream"})->status == 426);
  server.handler.answer = [](Request, Reply reply) {
    reply.send({.status = 404, .content_type = "text/plain", .body = "no"});
  };
  auto refused = client.upgrade({.target = "/stream"});
  REQUIRE(refused);
  CHECK_FALSE(refused->stream);
  CHECK(refused->response.status == 404);
  CHECK(refused->response.body == "no");
}

TEST_CASE("what is not asked for is not read: the client is held up, memory is not filled") {
  TestServer server;
  std::promise<Stream> opened;
  server.handler.answer = [&](Request, Reply reply) { opened.set_value(reply.upgrade()); };
  HttpClient client(server.endpoint());
  auto stream = open_stream(client);
  auto other = wait_for(opened.get_future());
  std::string piece(64 * 1024, 'x');
  std::size_t sent = 0;
  for (; sent < (64 << 20) && stream.queued() < 1024 * 1024; sent += piece.size()) {
    stream.send(piece);
    REQUIRE(stream.serve());
  }
  CHECK(sent < (16 << 20));  // what the sockets hold, and not more
  // Once they are asked for, all come.
  std::promise<std::size_t> done;
  std::size_t received = 0;
  std::function<void()> ask = [&] {
    other.receive([&](Result<std::string> message) {
      received += message ? message->size() : 0;
      if (!message || received == sent) return done.set_value(received);
      ask();
    });
  };
  ask();
  flush(stream);
  CHECK(wait_for(done.get_future()) == sent);
}

TEST_CASE("either end's end is the other's, and what was sent before it arrives") {
  TestServer server;
  std::promise<Stream> opened;
  server.handler.answer = [&](Request, Reply reply) { opened.set_value(reply.upgrade()); };
  HttpClient client(server.endpoint());
  std::optional<MessageStream> stream(open_stream(client));
  auto other = wait_for(opened.get_future());

  SECTION("the server's, in order") {
    std::promise<bool> sent;
    other.send("last words", [&](Result<> done) { sent.set_value(bool(done)); });
    CHECK(wait_for(sent.get_future()));
    other.close();
    CHECK(next(*stream) == "last words");
    CHECK(next(*stream) == "(gone)");
  }
  SECTION("the server's, with its process") {
    server.server->stop(0);
    CHECK(next(*stream) == "(gone)");
  }
  SECTION("the client's") {
    std::promise<std::string> code;
    stream->send("last words");
    stream->finish();
    flush(*stream);
    std::promise<std::string> words;
    other.receive([&](Result<std::string> message) { words.set_value(message.value_or("")); });
    CHECK(wait_for(words.get_future()) == "last words");
    other.receive([&](Result<std::string> message) {
      code.set_value(message ? "" : message.error().code());
    });
    CHECK(wait_for(code.get_future()) == "connection_lost");
  }
  SECTION("the client's, killed while the other end is writing") {
    std::promise<std::string> code;
    std::function<void()> fill = [&] {
      other.send(std::string(64 * 1024, 'x'), [&](Result<> sent) {
        if (sent) return fill();
        code.set_value(sent.error().code());
      });
    };
    fill();
    stream.reset();
    CHECK(wait_for(code.get_future()) == "connection_lost");
  }
}

TEST_CASE("who breaks the framing is cut off, others are not") {
  EchoServer server;
  HttpClient client(server.endpoint());
  auto fine = open_stream(client);
  RawClient raw(server.path);
  raw.send(
      "GET /stream HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  CHECK(raw.receive("\r\n\r\n").find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") != std::string::npos);
  raw.send(std::string("\x82\x05hello", 7));  // not masked
  raw.receive();
  fine.send("still here");
  CHECK(next(fine) == "still here");
}

TEST_CASE("a stream whose request has been answered, or whose server has gone, is at its end") {
  std::optional<Stream> late;
  {
    TestServer server;
    std::promise<std::string> code;
    server.handler.answer = [&](Request, Reply reply) {
      reply.send({.status = 200});
      late = reply.upgrade();
      late->receive([&](Result<std::string> message) {
        code.set_value(message ? "" : message.error().code());
      });
    };
    HttpClient client(server.endpoint());
    CHECK(client.upgrade({.target = "/"})->response.status == 200);
    CHECK(wait_for(code.get_future()) == "connection_lost");
  }
  late->close();
  late->send("x", [](Result<>) {});
}
