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
  // Who is slow on a busy computer may be let go too, but not always.
  auto client = server.client();
  auto served = client.send({.target = "/"});
  for (int more = 1000; !served && more > 0; --more) served = client.send({.target = "/"});
  REQUIRE(served);
  CHECK(served->status == 200);
}

TEST_CASE("a client that goes while it waits is noticed, inside TLS too") {
  std::promise<void> gone;
  std::vector<Reply> waiting;
  SecureServer server;
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

namespace {

struct AskingServer {
  explicit AskingServer(const Identity& clients = authority()) {
    ServerOptions options;
    options.listen = "127.0.0.1:0";
    options.spool_folder = folder.path;
    options.tls = Tls::server(server_identity(authority()), clients.certificate).value();
    handler.answer = [](Request request, Reply reply) { reply.send({.body = request.peer_key}); };
    server = Server::start(options, handler).value();
  }
  HttpClient client(Identity identity = {}) const {
    return HttpClient("https://127.0.0.1:" + std::to_string(server->port()), 4,
                      {Trust::Kind::authority, *authority_fingerprint(authority().certificate)},
                      std::move(identity));
  }
  TemporaryFolder folder;
  TestHandler handler;
  std::unique_ptr<Server> server;
};

Identity machine_identity(const Identity& under,
                          std::chrono::days valid_for = std::chrono::days(30),
                          Use use = Use::client) {
  auto pair = make_key_pair().value();
  CertificateRequest request{.name = "box", .use = use, .valid_for = valid_for};
  return {issue_for(under, pair.public_key, request).value(), pair.key};
}

}  // namespace

TEST_CASE("who shows a certificate of the authority is known by its key") {
  AskingServer server;
  auto pair = make_key_pair().value();
  Identity box{issue_for(authority(), pair.public_key, {.name = "box", .use = Use::client}).value(),
               pair.key};
  auto client = server.client(box);
  std::string key = *key_fingerprint(pair.public_key);
  CHECK(key.size() == 64);
  for (int i = 0; i < 3; ++i) {
    auto answer = client.send({.target = "/"});
    REQUIRE((answer ? "" : answer.error().message()) == "");
    CHECK(answer->body == key);
  }
  CHECK(server.server->open_connections() == 1);
  CHECK(server.client(machine_identity(authority())).send({.target = "/"})->body != key);
}

TEST_CASE("who shows no certificate, or a bad one, is nobody and is answered") {
  AskingServer server;
  CHECK(server.client().send({.target = "/"})->body == "");
  auto other = make_authority("Spell at box").value();
  CHECK(server.client(machine_identity(other)).send({.target = "/"})->body == "");
  CHECK(server.client(machine_identity(authority(), std::chrono::days(-1)))
            .send({.target = "/"})
            ->body == "");
  // The service's own certificate is no machine's.
  CHECK(server.client(machine_identity(authority(), std::chrono::days(30), Use::server))
            .send({.target = "/"})
            ->body == "");
}

TEST_CASE("a certificate without its key cannot be shown") {
  AskingServer server;
  Identity stolen = machine_identity(authority());
  stolen.key = make_key_pair().value().key;
  CHECK(server.client(stolen).send({.target = "/"}).error().code() == "invalid_certificate");
}

TEST_CASE("only keys that sign are vouched for") {
  auto refusal = [](const std::string& key) {
    auto issued = issue_for(authority(), key, {.name = "box", .use = Use::client});
    return issued ? "" : issued.error().code();
  };
  CHECK(refusal("") == "invalid_certificate");
  CHECK(refusal("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n") ==
        "invalid_certificate");
  CHECK(refusal(make_key_pair().value().key) == "invalid_certificate");
  // RSA with 512 bits.
  CHECK(refusal("-----BEGIN PUBLIC KEY-----\n"
                "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALqbHeRLCyOdykC5SDLqI49ArYGYG1mq\n"
                "aH9/GnWjGavZM02fos4lc2w6tCchcUBNtJvGqKwhC5JEnx3RYoSX2ucCAwEAAQ==\n"
                "-----END PUBLIC KEY-----\n") == "invalid_certificate");
  CHECK(refusal(make_key_pair().value().public_key).empty());
  CHECK(key_fingerprint("no key").error().code() == "invalid_certificate");
}

TEST_CASE("a renewed certificate is shown to who comes next, and ends no connection") {
  SecureServer server;
  auto client = server.client();
  REQUIRE(client.send({.target = "/"}));
  server.server->set_tls(Tls::server(server_identity(authority())).value());
  REQUIRE(client.send({.target = "/"}));
  REQUIRE(server.client().send({.target = "/"}));
  auto other = make_authority("another").value();
  server.server->set_tls(Tls::server(server_identity(other)).value());
  // Changes are taken over in the order of what is accepted: one more connection at most sees the
  // one before.
  (void)server.client().send({.target = "/"});
  CHECK(server.client().send({.target = "/"}).error().code() == "untrusted_service");
  CHECK(server.client(other).send({.target = "/"}));
}

TEST_CASE("the address of who comes by TCP is known") {
  SecureServer server;
  server.handler.answer = [](Request request, Reply reply) {
    reply.send({.body = request.peer_address});
  };
  CHECK(server.client().send({.target = "/"})->body == "127.0.0.1");
}
