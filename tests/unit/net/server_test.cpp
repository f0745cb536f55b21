#include <fcntl.h>
#include <sys/stat.h>

#include <latch>
#include <set>
#include <thread>

#include "base/hash.hpp"
#include "fixture.hpp"

using namespace spell;
using namespace spell::net;
using namespace spell::net::test;

TEST_CASE("a request arrives whole and its answer too") {
  TestServer server;
  std::promise<Request> seen;
  server.handler.answer = [&](Request request, Reply reply) {
    seen.set_value(std::move(request));
    reply.send({.status = 201, .body = "{}", .headers = {{"X-Extra", "1\r\nX-Forged: 2"}}});
  };
  HttpClient client(server.endpoint());
  auto answer = client.send(
      {.method = "POST", .target = "/v1/a%20b?q=1", .headers = {{"X-Key", "k"}}, .body = "body"});
  REQUIRE(answer);
  CHECK(answer->status == 201);
  CHECK(answer->body == "{}");
  CHECK(find_header(answer->headers, "content-type") == "application/json");
  CHECK(find_header(answer->headers, "X-Extra") == "1  X-Forged: 2");
  CHECK(find_header(answer->headers, "X-Forged") == "");
  Request request = wait_for(seen.get_future());
  CHECK(request.method == "POST");
  CHECK(request.raw_target == "/v1/a%20b?q=1");
  CHECK(request.target.segments == std::vector<std::string>{"v1", "a b"});
  CHECK(find_header(request.headers, "x-key") == "k");
  CHECK(request.body == "body");
  CHECK(request.body_size == 4);
  CHECK(request.peer_uid == ::getuid());
  CHECK(request.received_us > 0);
  CHECK(find_header(answer->headers, "X-Request-Id") == request.id);
}

TEST_CASE("request ids are unique, connections are kept") {
  TestServer server;
  HttpClient client(server.endpoint());
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    auto answer = client.send({.target = "/"});
    REQUIRE(answer);
    ids.insert(std::string(find_header(answer->headers, "X-Request-Id")));
  }
  CHECK(ids.size() == 100);
  CHECK(server.server->open_connections() == 1);
}

TEST_CASE("requests that are sent ahead are answered in order") {
  TestServer server;
  server.handler.answer = [](Request request, Reply reply) {
    reply.send({.body = request.raw_target});
  };
  RawClient client(server.path);
  std::string all;
  for (int i = 0; i < 50; ++i)
    all.append("GET /").append(std::to_string(i)).append(" HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(client.send(all + "GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"));
  std::string answers = client.receive();
  std::size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = answers.find(std::string("/").append(std::to_string(i)).append("HTTP/1.1 200"), at);
    REQUIRE(at != std::string::npos);
  }
  CHECK(answers.ends_with("/last"));
}

TEST_CASE("the socket is for its owner only, whatever the umask") {
  mode_t before = ::umask(0);
  TestServer server;
  ::umask(before);
  struct stat st;
  REQUIRE(::lstat(server.path.c_str(), &st) == 0);
  CHECK(S_ISSOCK(st.st_mode));
  CHECK((st.st_mode & 07777) == 0600);
  server.server->stop();
  CHECK(!base::exists(server.path));
}

TEST_CASE("a stale socket is replaced, a file is not, and another's socket is left") {
  TestServer first;
  TestHandler handler;
  {
    auto second =
        Server::start({.socket_path = first.path, .spool_folder = first.folder.path}, handler);
    REQUIRE(second);
    CHECK(HttpClient(first.endpoint()).send({.target = "/"}));
    first.server->stop();
    CHECK(HttpClient(first.endpoint()).send({.target = "/"}));
  }
  CHECK(!base::exists(first.path));
  REQUIRE(base::write_file(first.path, "precious"));
  auto third =
      Server::start({.socket_path = first.path, .spool_folder = first.folder.path}, handler);
  REQUIRE(!third);
  CHECK(third.error().message().find("in the way") != std::string::npos);
  CHECK(*base::read_file(first.path) == "precious");
}

TEST_CASE("socket paths of any length work") {
  TemporaryFolder folder;
  std::string deep = folder.path;
  for (int i = 0; i < 5; ++i) deep += "/" + std::string(50, 'd');
  REQUIRE(base::make_folders(deep));
  TestHandler handler;
  std::string path = deep + "/spelld.sock";
  auto server = Server::start({.socket_path = path, .spool_folder = deep}, handler);
  REQUIRE(server);
  CHECK(HttpClient("unix:" + path).send({.target = "/"})->status == 200);
  (*server)->stop();
  CHECK(!base::exists(path));
}

TEST_CASE("a body beyond its limit is refused with 413") {
  TestServer server;
  std::atomic<int> handled = 0;
  server.handler.answer = [&](Request, Reply reply) { ++handled, reply.send({}); };
  HttpClient client(server.endpoint());
  auto answer = client.send({.method = "POST", .target = "/", .body = std::string(10 << 20, 'x')});
  REQUIRE(answer);
  CHECK(answer->status == 413);
  CHECK(answer->body == "too_large");
  RawClient raw(server.path);
  raw.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 40 && raw.send("10000\r\n" + std::string(65536, 'x') + "\r\n"); ++i) {
  }
  CHECK(raw.receive().starts_with("HTTP/1.1 413 "));
  CHECK(handled == 0);
  CHECK(client.send({.method = "POST", .target = "/", .body = std::string(1 << 20, 'x')})->status ==
        200);
}

TEST_CASE("a body goes into an unnamed file") {
  TestServer server;
  server.handler.rule = {.limit = 100 << 20, .to_file = true};
  server.handler.answer = [](Request request, Reply reply) {
    struct stat st;
    ::fstat(request.body_file.get(), &st);
    std::string bytes(static_cast<std::size_t>(request.body_size), 0);
    ssize_t n = ::read(request.body_file.get(), bytes.data(), bytes.size());
    bool whole =
        n == request.body_size && st.st_size == n && st.st_nlink == 0 && request.body.empty();
    reply.send({.body = whole ? base::hex(base::sha256(bytes)) : "torn"});
  };
  HttpClient client(server.endpoint());
  std::string sent = base::random_bytes(20 << 20);
  std::string digest = base::hex(base::sha256(sent));
  CHECK(client.send({.method = "PUT", .target = "/", .body = sent})->body == digest);

  std::string path = server.folder.path + "/upload";
  REQUIRE(base::write_file(path, "head" + sent + "tail"));
  auto file = base::open(path, O_RDONLY);
  std::int64_t progress = 0;
  bool grows = true;
  auto answer = client.send(
      {.method = "PUT",
       .target = "/",
       .body_fd = file->get(),
       .body_size = 20 << 20,
       .body_offset = 4,
       .progress = [&](std::int64_t n) { grows = grows && n > progress, progress = n; }});
  REQUIRE(answer);
  CHECK(answer->body == digest);
  CHECK(progress == 20 << 20);
  CHECK(grows);
  CHECK(client.send({.method = "PUT", .target = "/"})->body == base::hex(base::sha256("")));
  CHECK(server.server->open_connections() == 1);
}

TEST_CASE("a body that cannot be kept is an error, not a crash") {
  TestServer server;
  server.handler.rule = {.limit = 1 << 20, .to_file = true};
  REQUIRE(base::remove_tree(server.folder.path + "/gone"));
  TestHandler handler;
  handler.rule = server.handler.rule;
  auto broken = Server::start(
      {.socket_path = server.folder.path + "/t", .spool_folder = server.folder.path + "/gone"},
      handler);
  REQUIRE(broken);
  auto answer = HttpClient("unix:" + server.folder.path + "/t")
                    .send({.method = "PUT", .target = "/", .body = "x"});
  REQUIRE(answer);
  CHECK(answer->body == "not_found");
}

TEST_CASE("a client that asks first is told to continue, or refused before it sends") {
  TestServer server;
  RawClient client(server.path);
  client.send("POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  CHECK(client.receive("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("abc");
  CHECK(client.receive("POST abc").ends_with("POST abc"));
  client.send("POST / HTTP/1.1\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n");
  CHECK(client.receive().starts_with("HTTP/1.1 413 "));
}

TEST_CASE("HEAD has the length but not the body; 204 has neither") {
  TestServer server;
  server.handler.answer = [](Request request, Reply reply) {
    if (request.raw_target == "/none") return reply.send({.status = 204, .body = "ignored"});
    if (request.raw_target == "/stream")
      return reply.stream({}, std::make_shared<Pieces>(std::vector<std::string>{"abc"}), 3);
    reply.send({.body = "abc"});
  };
  RawClient raw(server.path);
  raw.send(
      "HEAD / HTTP/1.1\r\n\r\nHEAD /stream HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\nConnection: "
      "close\r\n\r\n");
  std::string answers = raw.receive();
  CHECK(answers.find("Content-Length: 3\r\n") != answers.rfind("Content-Length: 3\r\n"));
  CHECK(answers.find("\r\n\r\nabc") == std::string::npos);  // ids of requests are hex
  CHECK(answers.find("HTTP/1.1 204 No Content\r\n") != std::string::npos);
  CHECK(answers.find("Content-Length: 7") == std::string::npos);
  CHECK(answers.find("ignored") == std::string::npos);
  HttpClient client(server.endpoint());
  for (int i = 0; i < 3; ++i) CHECK(client.send({.method = "HEAD", .target = "/"})->body == "");
  CHECK(client.send({.target = "/none"})->status == 204);
}

TEST_CASE("an old client gets an answer that ends with the connection") {
  TestServer server;
  server.handler.answer = [](Request, Reply reply) {
    reply.stream({}, std::make_shared<Pieces>(std::vector<std::string>{"abc", "def"}));
  };
  RawClient client(server.path);
  client.send("GET / HTTP/1.0\r\n\r\n");
  std::string answer = client.receive();
  CHECK(answer.ends_with("\r\n\r\nabcdef"));
  CHECK(answer.find("chunked") == std::string::npos);
}

TEST_CASE("a reply is answered once, from any thread, and never forgotten") {
  std::vector<Reply> kept;
  TestServer server;
  server.handler.answer = [&](Request request, Reply reply) {
    if (request.raw_target == "/dropped") return;
    if (request.raw_target == "/throws") throw std::runtime_error("oops");
    std::thread([reply] {
      reply.send({.body = "first"});
      reply.send({.body = "second"});
    }).join();
    kept.push_back(std::move(reply));
  };
  HttpClient client(server.endpoint());
  CHECK(client.send({.target = "/"})->body == "first");
  CHECK(client.send({.target = "/"})->body == "first");
  kept.front().send({.body = "late"});
  CHECK(client.send({.target = "/dropped"})->status == 500);
  CHECK(client.send({.target = "/throws"})->body == "internal");
  CHECK(client.send({.target = "/"})->body == "first");
  CHECK(server.server->open_connections() == 1);
  server.server.reset();
  kept.front().send({.body = "after the end"});
  kept.front().on_close([] {});
}

TEST_CASE("a handler that waits is told when its client goes") {
  TestServer server({.threads = 2});
  std::promise<Reply> waiting;
  std::promise<void> gone;
  server.handler.answer = [&](Request, Reply reply) {
    reply.on_close([&] { gone.set_value(); });
    waiting.set_value(reply);
  };
  std::optional<RawClient> client(server.path);
  client->send("GET / HTTP/1.1\r\n\r\n");
  Reply unanswered = wait_for(waiting.get_future());
  client.reset();
  wait_for(gone.get_future());
}

TEST_CASE("many long polls are answered when there is something") {
  constexpr int count = 200;
  std::mutex mutex;
  std::vector<Reply> waiting;
  std::latch all(count);
  TestServer server;
  server.handler.answer = [&](Request, Reply reply) {
    reply.on_close([] {});
    std::lock_guard lock(mutex);
    waiting.push_back(reply);
    all.count_down();
  };
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.path));
    clients.back()->send("GET / HTTP/1.1\r\n\r\n");
  }
  all.wait();
  clients.erase(clients.begin(), clients.begin() + count / 2);
  for (auto& reply : waiting) reply.send({.body = "news"});
  for (auto& client : clients) CHECK(client->receive("news").ends_with("news"));
}

TEST_CASE("a stream arrives byte for byte") {
  TestServer server;
  std::vector<std::string> pieces;
  std::string whole;
  for (std::size_t size : {1, 2, 100, 65536, 1 << 20, 3, 300'000})
    whole += pieces.emplace_back(base::random_bytes(size));
  bool sized = GENERATE(false, true);
  server.handler.answer = [&](Request, Reply reply) {
    reply.stream({.content_type = "application/octet-stream"}, std::make_shared<Pieces>(pieces),
                 sized ? std::optional(static_cast<std::int64_t>(whole.size())) : std::nullopt);
  };
  HttpClient client(server.endpoint());
  for (int round = 0; round < 3; ++round) {
    auto stream = client.open({.target = "/"});
    REQUIRE(stream);
    CHECK(stream->status() == 200);
    CHECK(find_header(stream->headers(), "content-length") ==
          (sized ? std::to_string(whole.size()) : ""));
    std::string read;
    std::vector<char> buffer(100'000);
    for (;;) {
      auto n = stream->read(buffer.data(), buffer.size());
      REQUIRE(n);
      if (*n == 0) break;
      read.append(buffer.data(), *n);
    }
    CHECK(read == whole);
    CHECK(*stream->read(buffer.data(), 1) == 0);
  }
  CHECK(client.send({.target = "/"})->body == whole);
  CHECK(server.server->open_connections() == 1);
}

TEST_CASE("a stream that fails is cut, so that nobody takes it for whole") {
  TestServer server;
  auto kind = GENERATE(Pieces::Then::error, Pieces::Then::end);
  server.handler.answer = [&](Request, Reply reply) {
    // An end before the announced size is a failure too.
    auto size = kind == Pieces::Then::end ? std::optional<std::int64_t>(7) : std::nullopt;
    reply.stream({}, std::make_shared<Pieces>(std::vector<std::string>{"abc", "def"}, kind), size);
  };
  HttpClient client(server.endpoint());
  auto stream = client.open({.target = "/"});
  REQUIRE(stream);
  std::string read;
  char buffer[10];
  auto n = stream->read(buffer, sizeof buffer);
  for (; n && *n > 0; n = stream->read(buffer, sizeof buffer)) read.append(buffer, *n);
  REQUIRE(!n);
  CHECK(n.error().code() == "connection_lost");
  CHECK(read == "abcdef");
  CHECK(stream->read(buffer, 1).error().code() == "connection_lost");
  CHECK(client.send({.target = "/"}).error().code() == "connection_lost");
}

TEST_CASE("a stream longer than announced is cut") {
  TestServer server;
  server.handler.answer = [&](Request, Reply reply) {
    reply.stream({}, std::make_shared<Pieces>(std::vector<std::string>{"abc", "def"}), 4);
  };
  CHECK(HttpClient(server.endpoint()).send({.target = "/"}).error().code() == "connection_lost");
}

TEST_CASE("a source that waits is told when its client goes, and when the server ends") {
  TestServer server;
  auto source = std::make_shared<Pieces>(std::vector<std::string>{"abc"}, Pieces::Then::nothing);
  server.handler.answer = [&](Request, Reply reply) { reply.stream({}, source); };
  bool server_ends = GENERATE(false, true);
  {
    RawClient client(server.path);
    client.send("GET / HTTP/1.1\r\n\r\n");
    CHECK(client.receive("abc\r\n").ends_with("3\r\nabc\r\n"));
    if (server_ends) server.server->stop(0);
  }
  wait_for(source->canceled.get_future());
}

TEST_CASE("a client that reads slowly gets everything, and holds up nobody") {
  TestServer server;
  std::string piece(1 << 20, 'x');
  server.handler.answer = [&](Request request, Reply reply) {
    if (request.raw_target == "/small") return reply.send({.body = "small"});
    reply.stream({}, std::make_shared<Pieces>(std::vector<std::string>(8, piece)));
  };
  HttpClient client(server.endpoint());
  auto stream = client.open({.target = "/"});
  REQUIRE(stream);
  CHECK(client.send({.target = "/small"})->body == "small");
  std::vector<char> buffer(1 << 20);
  std::size_t read = 0;
  for (auto n = stream->read(buffer.data(), buffer.size()); *n > 0;
       n = stream->read(buffer.data(), buffer.size()))
    read += *n;
  CHECK(read == 8u << 20);
}

TEST_CASE("a thousand connections at once, more than the limit lets in") {
  TestServer server({.threads = 2, .connection_limit = 600});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 1000; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.path));
    REQUIRE(clients.back()->send("GET / HTTP/1.1\r\n\r\n"));
  }
  for (int i = 0; i < 600; ++i)
    CHECK(clients[static_cast<std::size_t>(i)]->receive("GET ").starts_with("HTTP/1.1 200"));
  CHECK(server.server->open_connections() == 600);
  pollfd waiting{clients[600]->fd.get(), POLLIN, 0};
  CHECK(::poll(&waiting, 1, 0) == 0);
  clients.erase(clients.begin(), clients.begin() + 400);
  for (std::size_t i = 200; i < 600; ++i)
    CHECK(clients[i]->receive("GET ").starts_with("HTTP/1.1 200"));
}

TEST_CASE("stop lets answers out that are under way, and drops the rest after the grace") {
  TestServer server;
  std::promise<Reply> first, second;
  std::promise<void> dropped;
  server.handler.answer = [&](Request request, Reply reply) {
    if (request.raw_target == "/second") {
      reply.on_close([&] { dropped.set_value(); });
      second.set_value(reply);
    } else {
      first.set_value(reply);
    }
  };
  RawClient idle(server.path), one(server.path), two(server.path);
  one.send("GET /first HTTP/1.1\r\n\r\n");
  two.send("GET /second HTTP/1.1\r\n\r\n");
  Reply answered = wait_for(first.get_future());
  Reply unanswered = wait_for(second.get_future());
  std::thread stopping([&] { server.server->stop(300); });
  CHECK(idle.receive() == "");
  answered.send({.body = "in time"});
  std::string answer = one.receive();
  CHECK(answer.ends_with("in time"));
  CHECK(answer.find("Connection: close") != std::string::npos);
  wait_for(dropped.get_future());
  CHECK(two.receive() == "");
  stopping.join();
  CHECK(server.server->open_connections() == 0);
  CHECK(!base::exists(server.path));
}

TEST_CASE("a listening socket may be handed in") {
  TemporaryFolder folder;
  TestHandler handler;
  auto listening = listen_unix(folder.path + "/s");
  REQUIRE(listening);
  auto server =
      Server::start({.socket_fd = listening->release(), .spool_folder = folder.path}, handler);
  REQUIRE(server);
  CHECK(HttpClient("unix:" + folder.path + "/s").send({.target = "/"})->status == 200);
  (*server)->stop();
  CHECK(base::exists(folder.path + "/s"));
}

TEST_CASE("connections of somebody who is out are closed, whatever they are at, and no others") {
  TestServer server;
  std::promise<void> begun, waiting;
  auto source = std::make_shared<Pieces>(std::vector<std::string>{"one"}, Pieces::Then::nothing);
  server.handler.answer = [&](Request request, Reply reply) {
    reply.belongs_to(request.raw_target.substr(1));
    if (request.raw_target == "/bob-waits") {
      reply.belongs_to("bob");
      reply.on_close([&waiting, reply] { waiting.set_value(); });
      begun.set_value();
    } else if (request.raw_target == "/bob-streams") {
      reply.belongs_to("bob");
      reply.stream({}, source);
    } else {
      reply.send({.body = "fine"});
    }
  };
  RawClient waits(server.path), streams(server.path), idle(server.path), ada(server.path);
  REQUIRE(waits.send("GET /bob-waits HTTP/1.1\r\nHost: x\r\n\r\n"));
  REQUIRE(streams.send("GET /bob-streams HTTP/1.1\r\nHost: x\r\n\r\n"));
  CHECK(streams.receive("one").find("one") != std::string::npos);
  wait_for(begun.get_future());
  REQUIRE(idle.send("GET /bob HTTP/1.1\r\nHost: x\r\n\r\n"));
  CHECK(idle.receive("fine").find("200") != std::string::npos);
  REQUIRE(ada.send("GET /ada HTTP/1.1\r\nHost: x\r\n\r\n"));
  CHECK(ada.receive("fine").find("200") != std::string::npos);
  server.server->close_of({"bob", "nobody"});
  wait_for(waiting.get_future());
  wait_for(source->canceled.get_future());
  CHECK(waits.receive().empty());
  CHECK(streams.receive().find("one") == std::string::npos);
  CHECK(idle.receive().empty());
  REQUIRE(ada.send("GET /ada HTTP/1.1\r\nHost: x\r\n\r\n"));
  CHECK(ada.receive("fine").find("200") != std::string::npos);
}

TEST_CASE("a body that is not wanted is not waited for") {
  struct Strict : TestHandler {
    Result<BodyRule> body_rule(const Request& head) override {
      if (find_header(head.headers, "Authorization").empty())
        return Error("invalid_request", "who are you?");
      return rule;
    }
  };
  TemporaryFolder folder;
  Strict handler;
  ServerOptions options;
  options.socket_path = folder.path + "/s";
  options.spool_folder = folder.path;
  auto server = Server::start(options, handler);
  REQUIRE(server);
  RawClient client(options.socket_path);
  REQUIRE(client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome"));
  CHECK(client.receive("invalid_request").starts_with("HTTP/1.1 400"));
  RawClient known(options.socket_path);
  REQUIRE(known.send(
      "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: y\r\nContent-Length: 4\r\n\r\nsome"));
  CHECK(known.receive("POST some").starts_with("HTTP/1.1 200"));
}
