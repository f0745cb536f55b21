// Bytes that no honest client sends, and clients that stop in the middle.
#include "../../unit/net/fixture.hpp"

using namespace spell;
using namespace spell::net;
using namespace spell::net::test;
using namespace std::string_literals;

TEST_CASE("hostile bytes get a 4xx and the server lives") {
  TestServer server;
  std::atomic<int> handled = 0;
  server.handler.answer = [&](Request, Reply reply) { ++handled, reply.send({.body = "alive"}); };
  std::vector<std::pair<std::string, std::string>> cases = {
      {"400", "\0\0\0\0\0\0\0\0"s},
      {"400", "GARBAGE\r\n\r\n"s},
      {"400", "\x16\x03\x01\x02\x00\x01\x00"s},
      {"400", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"s},
      {"400", "GET / HTTP/1.1\r\nA\r\n\r\n"s},
      {"400", "GET / HTTP/1.1\r\nA: \0\r\n\r\n"s},
      {"400", "GET /../../etc/passwd HTTP/1.1\r\n\r\n"s},
      {"400", "GET /%2e%2e/x HTTP/1.1\r\n\r\n"s},
      {"400", "GET /%00 HTTP/1.1\r\n\r\n"s},
      {"400", "GET /\xff HTTP/1.1\r\n\r\n"s},
      {"400", "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\nabc"s},
      {"400", "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"s},
      {"400", "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"s},
      {"400", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"s},
      {"400", "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\nabc"s},
      {"413", "POST / HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n"s},
      {"400", "POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n"s},
      {"431", "GET / HTTP/1.1\r\nA: " + std::string(100'000, 'x') + "\r\n\r\n"},
      {"431", "GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\n\r\n"},
      {"431",
       "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(100'000, 'x')}};
  for (auto& [status, bytes] : cases) {
    CAPTURE(bytes.substr(0, 80));
    RawClient client(server.path);
    client.send(bytes);
    CHECK(client.receive("\r\n").substr(9, 3) == status);
  }
  CHECK(handled == 0);
  CHECK(HttpClient(server.endpoint()).send({.target = "/"})->body == "alive");
}

TEST_CASE("many small chunks are fine as long as they carry something") {
  TestServer server;
  RawClient client(server.path);
  client.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  std::string chunks;
  for (int i = 0; i < 20'000; ++i) chunks += "1\r\nx\r\n";
  client.send(chunks + "0\r\n\r\n");
  CHECK(client.receive("xxx").starts_with("HTTP/1.1 200"));
}

TEST_CASE("a request that stops in the middle is given up, an idle connection is not") {
  TestServer server({.header_timeout_ms = 30, .body_timeout_ms = 30});
  RawClient idle(server.path);
  idle.send("GET / HTTP/1.1\r\n\r\n");
  CHECK(idle.receive("GET ").starts_with("HTTP/1.1 200"));
  for (std::string begun :
       {"G", "GET / HTTP/1.1\r\nHost:", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
    CAPTURE(begun);
    RawClient client(server.path);
    client.send(begun);
    CHECK(client.receive().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  }
  idle.send("GET / HTTP/1.1\r\n\r\n");
  CHECK(idle.receive("GET ").starts_with("HTTP/1.1 200"));
}

TEST_CASE("a client that goes at any byte of its request leaves nothing behind") {
  TestServer server;
  server.handler.rule = {.limit = 1 << 20, .to_file = true};
  std::string request =
      "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (std::size_t size = 0; size <= request.size(); ++size) {
    RawClient client(server.path);
    client.send(std::string_view(request).substr(0, size));
  }
  HttpClient client(server.endpoint());
  CHECK(client.send({.method = "POST", .target = "/", .body = "x"})->status == 200);
  server.server->stop();
  CHECK(server.server->open_connections() == 0);
}

TEST_CASE("a client that sends on after a refusal can still read it") {
  TestServer server;
  RawClient client(server.path);
  client.send("POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + std::string(3 << 20, 'x'));
  CHECK(client.receive().starts_with("HTTP/1.1 413 "));
}

TEST_CASE("a refused client that stays is closed in the end") {
  TestServer server;
  RawClient client(server.path);
  client.send("nonsense\r\n\r\n");
  CHECK(client.receive().starts_with("HTTP/1.1 400 "));
}
