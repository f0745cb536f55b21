// Which connections go through a proxy, and one that does.
#include <netinet/in.h>

#include <thread>

#include "fixture.hpp"
#include "net/certificate.hpp"
#include "net/proxy.hpp"

using namespace spell;
using namespace spell::net;
using namespace spell::net::test;

TEST_CASE("a proxy is named by a URL") {
  auto plain = parse_proxy("http://proxy.example:3128", "").value();
  CHECK(plain.host == "proxy.example");
  CHECK(plain.port == "3128");
  CHECK(plain.credentials == "");
  CHECK(parse_proxy("proxy.example", "")->port == "8080");
  CHECK(parse_proxy("http://[2001:db8::1]:3128/", "")->host == "2001:db8::1");
  CHECK(parse_proxy("http://me:a%40b@proxy:3128", "")->credentials == "me:a@b");
  CHECK(parse_proxy("http://me:%2F%3f%25@proxy", "")->credentials == "me:/?%");
  CHECK(parse_proxy("", "")->host == "");
  for (auto* wrong : {"socks5://proxy:1080", "https://proxy:443", "http://:3128",
                      "http://proxy:port", "http://proxy:0", "http://pro xy"}) {
    INFO(wrong);
    CHECK_FALSE(parse_proxy(wrong, ""));
  }
  auto secret = parse_proxy("http://me:secret%@proxy", "");
  REQUIRE_FALSE(secret);
  CHECK(secret.error().code() == "invalid_configuration");
  CHECK(secret.error().message().find("secret") == std::string::npos);
}

TEST_CASE("NO_PROXY names who is reached without it") {
  auto proxy =
      parse_proxy("http://proxy:3128", "box.example, .lab.example,10.0.0.7,::2,other:8443").value();
  CHECK(proxy.serves("example", "443"));
  CHECK_FALSE(proxy.serves("box.example", "443"));
  CHECK_FALSE(proxy.serves("BOX.example", "443"));
  CHECK_FALSE(proxy.serves("a.box.example", "443"));
  CHECK(proxy.serves("mybox.example", "443"));
  CHECK_FALSE(proxy.serves("a.lab.example", "443"));
  CHECK_FALSE(proxy.serves("10.0.0.7", "443"));
  CHECK(proxy.serves("10.0.0.77", "443"));
  CHECK_FALSE(proxy.serves("::2", "443"));
  CHECK(proxy.serves("other", "443"));
  CHECK_FALSE(proxy.serves("other", "8443"));
  for (auto* own : {"localhost", "127.0.0.1", "127.1.2.3", "::1"})
    CHECK_FALSE(proxy.serves(own, "443"));
  CHECK_FALSE(parse_proxy("http://proxy:3128", "*")->serves("box", "443"));
  CHECK_FALSE(Proxy{}.serves("box", "443"));
}

namespace {

base::Fd connect_to(int port) {
  base::Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

/// Takes one connection, answers CONNECT as it is told, and carries bytes to `target`.
class OneProxy {
 public:
  OneProxy(int target, std::string answer) : listening_(listen_tcp("127.0.0.1:0").value()) {
    port = local_port(listening_.get());
    thread_ = std::jthread([this, target, answer = std::move(answer)](std::stop_token stop) {
      auto ready = [&](std::vector<pollfd>& entries) {
        while (!stop.stop_requested())
          if (::poll(entries.data(), entries.size(), 100) > 0) return true;
        return false;
      };
      std::vector<pollfd> door{{listening_.get(), POLLIN, 0}};
      if (!ready(door)) return;
      base::Fd client(::accept(listening_.get(), nullptr, nullptr));
      char buffer[65536];
      while (head.find("\r\n\r\n") == std::string::npos) {
        ssize_t n = ::recv(client.get(), buffer, sizeof buffer, 0);
        if (n <= 0) return;
        head.append(buffer, static_cast<std::size_t>(n));
      }
      (void)::send(client.get(), answer.data(), answer.size(), no_signal);
      if (target == 0) return;
      base::Fd service = connect_to(target);
      std::vector<pollfd> ends{{client.get(), POLLIN, 0}, {service.get(), POLLIN, 0}};
      while (ready(ends))
        for (int from : {0, 1}) {
          if (ends[static_cast<std::size_t>(from)].revents == 0) continue;
          ssize_t n = ::recv(ends[static_cast<std::size_t>(from)].fd, buffer, sizeof buffer, 0);
          if (n <= 0) return;
          (void)::send(ends[static_cast<std::size_t>(1 - from)].fd, buffer,
                       static_cast<std::size_t>(n), no_signal);
        }
    });
  }
  void finish() {
    thread_.request_stop();
    thread_.join();
  }
  int port = 0;
  std::string head;  ///< what was asked; after finish()

 private:
  base::Fd listening_;
  std::jthread thread_;
};

}  // namespace

TEST_CASE("a request goes through the proxy, inside of TLS that the proxy cannot read") {
  auto authority = make_authority("Spell").value();
  TemporaryFolder folder;
  TestHandler handler;
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.spool_folder = folder.path;
  options.tls =
      Tls::server(issue(authority, {.name = "far", .hosts = {"far.example"}}).value()).value();
  auto server = Server::start(options, handler).value();
  OneProxy way(server->port(), "HTTP/1.1 200 Connection established\r\n\r\n");
  auto proxy = parse_proxy("http://me:word@127.0.0.1:" + std::to_string(way.port), "").value();
  {
    // The name is nobody's here: only the proxy finds it.
    HttpClient client("https://far.example:8443", 4,
                      {Trust::Kind::authority, *authority_fingerprint(authority.certificate)}, {},
                      proxy);
    for (int i = 0; i < 2; ++i) {
      auto answer = client.send({.method = "POST", .target = "/", .body = "x"});
      REQUIRE((answer ? "" : answer.error().message()) == "");
      CHECK(answer->body == "POST x");
    }
  }
  way.finish();
  CHECK(way.head ==
        "CONNECT far.example:8443 HTTP/1.1\r\nHost: far.example:8443\r\n"
        "Proxy-Authorization: Basic bWU6d29yZA==\r\n\r\n");
}

TEST_CASE("what a proxy refuses is told as its word") {
  OneProxy way(0, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno!");
  auto proxy = parse_proxy("127.0.0.1:" + std::to_string(way.port), "").value();
  auto answer = HttpClient("https://far.example", 4, {}, {}, proxy).send({.target = "/"});
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == "service_unreachable");
  CHECK(answer.error().message().find("the proxy 127.0.0.1:" + std::to_string(way.port) +
                                      " answered 407") != std::string::npos);
  auto nobody = HttpClient("https://far.example", 4, {}, {}, parse_proxy("127.0.0.1:1", "").value())
                    .send({.target = "/"});
  CHECK(nobody.error().code() == "service_unreachable");
  CHECK(nobody.error().message().find("the proxy 127.0.0.1:1 cannot be reached") !=
        std::string::npos);
}
