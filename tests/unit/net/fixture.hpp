// A server on a socket in a temporary folder whose handler is a function, and a raw socket to speak
// to it byte by byte.
#pragma once
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <future>
#include <map>
#include <mutex>

#include "base/file.hpp"
#include "catch.hpp"
#include "net/client.hpp"
#include "net/server.hpp"
#include "net/socket.hpp"

namespace spell::net::test {

/// Far more than anything here takes; a test that reaches it has failed.
inline constexpr std::chrono::seconds patience{30};

struct TemporaryFolder {
  TemporaryFolder() {
    char name[] = "/tmp/spell-net-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  ~TemporaryFolder() { (void)base::remove_tree(path); }
  std::string path;
};

template <class T>
T wait_for(std::future<T> future) {
  REQUIRE(future.wait_for(patience) == std::future_status::ready);
  return future.get();
}

struct TestHandler : Handler {
  std::function<void(Request, Reply)> answer = [](Request request, Reply reply) {
    reply.send({.content_type = "text/plain", .body = request.method + " " + request.body});
  };
  BodyRule rule{};

  Result<BodyRule> body_rule(const Request&) override { return rule; }
  void handle(Request request, Reply reply) override {
    answer(std::move(request), std::move(reply));
  }
  Response error(const Error& e, const std::string&) override {
    static const std::map<std::string, int> statuses = {{"invalid_request", 400},
                                                        {"invalid_path", 400},
                                                        {"too_large", 413},
                                                        {"headers_too_large", 431},
                                                        {"request_timeout", 408}};
    auto found = statuses.find(e.code());
    return {.status = found == statuses.end() ? 500 : found->second,
            .content_type = "text/plain",
            .body = e.code()};
  }
};

struct TestServer {
  explicit TestServer(ServerOptions options = {}) {
    path = folder.path + "/s";
    options.socket_path = path;
    options.spool_folder = folder.path;
    auto started = Server::start(options, handler);
    REQUIRE((started ? "" : started.error().message()) == "");
    server = std::move(*started);
  }
  std::string endpoint() const { return "unix:" + path; }

  TemporaryFolder folder;
  std::string path;
  TestHandler handler;
  std::unique_ptr<Server> server;
};

/// A client without manners.
struct RawClient {
  explicit RawClient(const std::string& path) {
    auto address = unix_address(path);
    fd = base::Fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    REQUIRE(address);
    REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address->address), address->size) ==
            0);
  }
  /// False when the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::send(fd.get(), bytes.data(), bytes.size(), no_signal);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  /// Until the server closes, or until `end` has come.
  std::string receive(std::string_view end = {}) {
    std::string out;
    char buffer[65536];
    while (end.empty() || out.find(end) == std::string::npos) {
      pollfd entry{fd.get(), POLLIN, 0};
      REQUIRE(::poll(&entry, 1, 30'000) == 1);
      ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
      if (n <= 0) break;
      out.append(buffer, static_cast<std::size_t>(n));
    }
    return out;
  }
  base::Fd fd;
};

/// A body of given pieces; then the end, or an error, or nothing at all.
struct Pieces : BodySource {
  enum class Then { end, error, nothing };
  explicit Pieces(std::vector<std::string> p, Then t = Then::end) : pieces(std::move(p)), then(t) {}
  void pull(std::function<void(Result<std::string>)> done) override {
    if (at < pieces.size()) return done(pieces[at++]);
    if (then == Then::end) return done(std::string());
    if (then == Then::error) return done(Error("io_error", "gone"));
    waiting = std::move(done);
  }
  void cancel() override { canceled.set_value(); }
  std::vector<std::string> pieces;
  std::size_t at = 0;
  Then then;
  std::function<void(Result<std::string>)> waiting;
  std::promise<void> canceled;
};

}  // namespace spell::net::test
