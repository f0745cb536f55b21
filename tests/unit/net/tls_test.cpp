// A service's own authority, and what clients believe of it.
#include <netinet/in.h>

#include "base/error.hpp"
#include "fixture.hpp"
#include "net/certificate.hpp"

using namespace spell;
using namespace spell::net;
using namespace spell::net::test;

namespace {

Identity server_identity(const Identity& authority, Use use = Use::server,
                         std::chrono::days valid_for = std::chrono::days(30)) {
  auto made = issue(authority, {.name = "box",
                                .hosts = {"localhost", "127.0.0.1", "::1", "*.example.org"},
                                .use = use,
                                .valid_for = valid_for});
  REQUIRE((made ? "" : made.error().message()) == "");
  return *made;
}

const Identity& authority() {
  static const Identity made = make_authority("Spell at box").value();
  return made;
}

struct SecureServer {
  explicit SecureServer(const Identity& identity = server_identity(authority()),
                        ServerOptions options = {}) {
    options.listen = "127.0.0.1:0";
    options.spool_folder = folder.path;
    options.tls = Tls::server(identity).value();
    auto started = Server::start(options, handler);
    REQUIRE((started ? "" : started.error().message()) == "");
    server = std::move(*started);
  }
  std::string endpoint() const { return "https://127.0.0.1:" + std::to_string(server->port()); }
  HttpClient client(const Identity& trusted = authority()) const {
    return HttpClient(endpoint(), 4,
                      {Trust::Kind::authority, *authority_fingerprint(trusted.certificate)});
  }
  base::Fd connect() const {
    base::Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(server->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return fd;
  }

  TemporaryFolder folder;
  TestHandler handler;
  std::unique_ptr<Server> server;
};

}  // namespace

TEST_CASE("certificates are named by their authority's key, and end in time") {
  auto identity = server_identity(authority());
  CHECK(*authority_fingerprint(identity.certificate) ==
        *authority_fingerprint(authority().certificate));
  CHECK(authority_fingerprint(authority().certificate)->size() == 64);
  CHECK(*authority_fingerprint(make_authority("another").value().certificate) !=
        *authority_fingerprint(authority().certificate));
  auto left = *expiry(identity.certificate) - std::chrono::system_clock::now();
  CHECK(left > std::chrono::days(29));
  CHECK(left < std::chrono::days(31));
  CHECK(authority_fingerprint("no PEM").error().code() == "invalid_certificate");
}

TEST_CASE("a host cannot smuggle another into its certificate") {
  for (auto* host : {"box,DNS:bank.example", "box\nDNS:bank.example", "", "a b"}) {
    auto made = issue(authority(), {.name = "box", .hosts = {host}});
    REQUIRE_FALSE(made);
    CHECK(made.error().code() == "invalid_certificate");
  }
}

TEST_CASE("requests and answers of every size travel inside TLS, over one connection") {
  SecureServer server;
  auto client = server.client();
  server.handler.rule.limit = 64 << 20;
  for (std::size_t size : {0UL, 1UL, 16384UL, 16385UL, 5UL << 20}) {
    std::string body(size, 'x');
    auto answer = client.send({.method = "POST", .target = "/", .body = body});
    REQUIRE((answer ? "" : answer.error().message()) == "");
    CHECK(answer->body == "POST " + body);
    CHECK(server.server->open_connections() == 1);
  }
}

TEST_CASE("only the trusted authority's servers are spoken to") {
  std::atomic<int> requests = 0;
  auto refusal = [&](SecureServer& server, HttpClient client) {
    server.handler.answer = [&](Request, Reply reply) {
      ++requests;
      reply.send({});
    };
    auto answer = client.send({.target = "/secret"});
    REQUIRE_FALSE(answer);
    return answer.error().code();
  };
  SECTION("another authority") {
    SecureServer server;
    CHECK(refusal(server, server.client(make_authority("another").value())) == "untrusted_service");
  }
  SECTION("a machine's certificate under the same authority") {
    SecureServer server(server_identity(authority(), Use::client));
    CHECK(refusal(server, server.client()) == "untrusted_service");
  }
  SECTION("a certificate that has ended") {
    SecureServer server(server_identity(authority(), Use::server, std::chrono::days(-1)));
    CHECK(refusal(server, server.client()) == "untrusted_service");
  }
  SECTION("the authority's own name without its key") {
    auto twin = make_authority("Spell at box").value();
    auto forged = server_identity(twin);
    forged.certificate += authority().certificate;
    SecureServer server(forged);
    CHECK(refusal(server, server.client()) == "untrusted_service");
  }
  SECTION("this computer's authorities do not know it") {
    SecureServer server;
    CHECK(refusal(server, HttpClient(server.endpoint())) == "untrusted_service");
  }
  CHECK(requests == 0);
}

TEST_CASE("a renewed certificate under the same authority changes nothing") {
  for (int i = 0; i < 2; ++i) {
    SecureServer server(server_identity(authority()));
    CHECK(server.client().send({.target = "/"})->status == 200);
  }
}

TEST_CASE("the fingerprint can be looked at before anybody is trusted") {
  SecureServer server;
  auto found = HttpClient::find_authority(server.endpoint());
  REQUIRE(found);
  CHECK(*found == *authority_fingerprint(authority().certificate));
  CHECK(HttpClient::find_authority("https://127.0.0.1:1").error().code() == "service_unreachable");
}

TEST_CASE("who does not speak TLS, or nothing at all, is let go") {
  SecureServer server(server_identity(authority()), {.header_timeout_ms = 50});
  auto closed = [&](base::Fd fd, std::string_view bytes) {
    REQUIRE(::send(fd.get(), bytes.data(), bytes.size(), no_signal) ==
            static_cast<ssize_t>(bytes.size()));
    char buffer[4096];
    for (;;) {
      pollfd entry{fd.get(), POLLIN, 0};
      REQUIRE(::poll(&entry, 1, 30'000) == 1);
      if (::recv(fd.get(), buffer, sizeof buffer, 0) <= 0) return true;
    }
  };
  CHECK(closed(server.connect(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  CHECK(closed(server.connect(), std::string(2000, '\0')));
  CHECK(closed(server.connect(), ""));
  CHECK(server.client().send({.target = "/"})->status == 200);
}

TEST_CASE("a client that goes while it waits is noticed, inside TLS too") {
  SecureServer server;
  std::promise<void> gone;
  std::vector<Reply> waiting;
  server.handler.answer = [&](Request, Reply reply) {
    reply.on_close([&] { gone.set_value(); });
    waiting.push_back(reply);
  };
  auto answer = server.client().send({.target = "/"}, {.timeout = std::chrono::milliseconds(100)});
  CHECK(answer.error().code() == "timeout");
  wait_for(gone.get_future());
}

TEST_CASE("a body streams inside TLS, and its loss is told") {
  struct Pieces : BodySource {
    int left = 50;
    bool breaks = false;
    void pull(std::function<void(Result<std::string>)> done) override {
      if (left == 10 && breaks) return done(base::error("io_error", "broken"));
      done(left-- > 0 ? std::string(100'000, 'p') : std::string());
    }
  };
  SecureServer server;
  bool breaks = GENERATE(false, true);
  server.handler.answer = [&](Request, Reply reply) {
    auto source = std::make_shared<Pieces>();
    source->breaks = breaks;
    reply.stream({}, source);
  };
  auto client = server.client();
  auto stream = client.open({.target = "/"});
  REQUIRE(stream);
  std::vector<char> buffer(1 << 20);
  std::size_t size = 0;
  for (;;) {
    auto got = stream->read(buffer.data(), buffer.size());
    if (got && *got > 0) {
      size += *got;
      continue;
    }
    if (breaks) CHECK(got.error().code() == "connection_lost");
    CHECK(got.ok() == !breaks);
    break;
  }
  if (breaks)
    CHECK(size <= 4'000'000);
  else
    CHECK(size == 5'000'000);
}
