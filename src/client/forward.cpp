// Ports of runs, here. One thread serves the listener, the stream that tells of the run's end, and
// all connections; a few others ask the service for streams. The caller's threads meet them at the
// shared state.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/error.hpp"
#include "base/pool.hpp"
#include "client/call_wait.hpp"
#include "client/connection.hpp"
#include "net/relay.hpp"
#include "net/socket.hpp"
#include "spell/run.hpp"

namespace spell {

namespace {

using namespace detail;
namespace stream = model::stream;

constexpr int asking_threads = 8;
constexpr int most_asked = 256;  ///< connections that wait for their streams; others wait in line
constexpr std::size_t most_refusals = 100;

struct SharedForward {
  std::mutex mutex;
  std::condition_variable_any changed;
  bool opened = false, over = false;
  std::optional<Error> failure;  ///< that it ended with
  std::deque<Error> refusals;
  int asked = 0, open = 0;  ///< connections whose streams are asked for; those and the open ones
  std::stop_source stop;    ///< of the asking

  /// Nothing more will come: the run has ended, and what it has sent is here; or the way to it is
  /// lost.
  bool done() const { return over && (open == 0 || !failure || failure->code() != "run_ended"); }
  void leave() {
    std::lock_guard lock(mutex);
    --open;
    if (over) changed.notify_all();
  }
  void refuse(Error why) {
    std::lock_guard lock(mutex);
    if (over) return;
    refusals.push_back(std::move(why));
    if (refusals.size() > most_refusals) refusals.pop_front();
    changed.notify_all();
  }
};

std::string request_for(int port) {
  return model::stream_message(stream::request, model::to_json(model::ForwardRequest{port}).dump());
}

/// One connection.
class Bridge : public net::Relayed {
 public:
  Bridge(net::MessageStream opened, base::Fd source, base::Fd sink, int port,
         std::shared_ptr<SharedForward> shared)
      : stream_(std::move(opened)), shared_(std::move(shared)) {
    std::vector<net::Relay::Source> sources;
    sources.push_back({std::move(source), stream::data});
    relay_ = net::Relay(std::move(sink), std::move(sources));
    stream_.send(request_for(port));
  }
  ~Bridge() override {
    if (!relay_.sink_done()) relay_.abandon();
    shared_->leave();
  }

  void watch(std::vector<pollfd>& files) override {
    files.push_back({ended_ ? -1 : stream_.fd(), stream_.events(), 0});
    relay_.watch(files, stream_);
  }

  bool serve(std::span<const pollfd>) override {
    if (!ended_) {
      auto served = stream_.serve();
      while (auto message = stream_.next())
        if (!message->empty() && !take(*message)) return false;
      if (!served && !ended_) return false;
    }
    relay_.serve(stream_);
    if (ended_) return !relay_.flushed();
    (void)stream_.flush();  // of a failure the next round tells
    // Here nobody is left. (Where both directions have ended in order the other end says so.)
    return !relay_.cut() && !(relay_.over() && !relay_.sink_done());
  }

 private:
  /// False: it is to be broken off.
  bool take(const std::string& message) {
    switch (message.front()) {
      case stream::opened:
        opened_ = true;
        return true;
      case stream::exit:
        ended_ = true;
        return true;
      case stream::failed:
        if (!opened_) shared_->refuse(model::failed_error(std::string_view(message).substr(1)));
        return false;
      default:
        return ended_ || relay_.take(message);
    }
  }

  net::MessageStream stream_;
  net::Relay relay_;
  std::shared_ptr<SharedForward> shared_;
  bool opened_ = false, ended_ = false;
};

/// The listener, for as long as the run is there.
class Entrance : public net::Relayed {
 public:
  using Ask = std::function<void(base::Fd)>;
  Entrance(net::MessageStream opened, base::Fd listener, std::shared_ptr<SharedForward> shared,
           Ask ask)
      : stream_(std::move(opened)),
        listener_(std::move(listener)),
        shared_(std::move(shared)),
        ask_(std::move(ask)) {
    stream_.send(request_for(0));
  }
  ~Entrance() override { end(std::nullopt); }

  void watch(std::vector<pollfd>& files) override {
    files.push_back({stream_.fd(), stream_.events(), 0});
    std::lock_guard lock(shared_->mutex);
    bool room = shared_->opened && shared_->asked < most_asked && shared_->open < most_open_;
    files.push_back({room ? listener_.get() : -1, POLLIN, 0});
  }

  bool serve(std::span<const pollfd> files) override {
    auto served = stream_.serve();
    while (auto message = stream_.next()) {
      if (message->empty()) continue;
      if (message->front() == stream::opened) {
        std::lock_guard lock(shared_->mutex);
        shared_->opened = true;
        shared_->changed.notify_all();
      }
      if (message->front() == stream::failed)
        return end(model::failed_error(std::string_view(*message).substr(1)));
    }
    if (!served) return end(base::error("connection_lost", "the connection to the run was lost"));
    (void)stream_.flush();
    return files[1].revents == 0 || accept();
  }

 private:
  /// Always false.
  bool end(std::optional<Error> why) {
    shared_->stop.request_stop();
    std::lock_guard lock(shared_->mutex);
    if (!shared_->over) shared_->failure = std::move(why);
    shared_->over = true;
    shared_->changed.notify_all();
    return false;
  }

  bool accept() {
    base::Fd accepted = net::accept_connection(listener_.get());
    if (accepted) {
      {
        std::lock_guard lock(shared_->mutex);
        ++shared_->asked;
        ++shared_->open;
      }
      ask_(std::move(accepted));
      return true;
    }
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return true;
    // As many as this process can have: the others wait in line until one ends.
    Error full = base::errno_error("accept a connection");
    std::unique_lock lock(shared_->mutex);
    most_open_ = shared_->open;
    lock.unlock();
    return most_open_ > 0 || end(full);
  }

  net::MessageStream stream_;
  base::Fd listener_;
  std::shared_ptr<SharedForward> shared_;
  Ask ask_;
  int most_open_ = 1 << 20;
};

Result<base::Fd> listen_here(int port) {
  auto fd = net::make_socket(AF_INET);
  if (!fd) return fd;
  int on = 1;  // or what was connected before keeps the port for a minute
  ::setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd->get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
      ::listen(fd->get(), SOMAXCONN) == 0)
    return fd;
  std::string which = "port " + std::to_string(port) + " of this computer";
  if (errno == EADDRINUSE)
    return base::error("port_in_use", which + " is in use; choose another, or 0 for any");
  return base::errno_error("listen on " + which);
}

}  // namespace

struct Forward::Impl {
  std::shared_ptr<Connection> connection;
  std::int64_t run = 0;
  int port = 0, local_port = 0;
  std::shared_ptr<SharedForward> shared = std::make_shared<SharedForward>();
  net::RelayLoop loop;
  base::Pool asking{asking_threads};

  ~Impl() {
    shared->stop.request_stop();
    asking.stop();
    loop.stop();
  }

  Result<net::MessageStream> open(const Limit& limit) {
    return connection->upgrade({.route = model::Route::forward, .names = {std::to_string(run)}},
                               limit);
  }

  /// For a connection that has been accepted.
  void ask(base::Fd accepted) {
    net::no_delay(accepted.get());
    auto local = std::make_shared<base::Fd>(std::move(accepted));
    asking.post([this, local] {
      auto bridge = make_bridge(std::move(*local));
      {
        std::lock_guard lock(shared->mutex);
        --shared->asked;
      }
      if (bridge) return loop.add(std::move(*bridge));
      shared->leave();
      loop.wake();  // there may be room again
      if (!shared->stop.stop_requested()) shared->refuse(bridge.error());
    });
  }

  Result<std::unique_ptr<Bridge>> make_bridge(base::Fd local) {
    base::Fd sink(::fcntl(local.get(), F_DUPFD_CLOEXEC, 3));
    if (!sink) return base::errno_error("copy a descriptor");
    auto opened =
        open(Limit({.timeout = {}, .stop = shared->stop.get_token()}, connection->waiter()));
    if (opened)
      return std::make_unique<Bridge>(std::move(*opened), std::move(local), std::move(sink), port,
                                      shared);
    net::Relay nowhere(std::move(sink), {});
    nowhere.abandon();
    return opened.error();
  }
};

Result<Forward> Run::forward(int port, ForwardOptions options, CallOptions call) const {
  auto is_port = [](int number, int least) { return number >= least && number <= 65535; };
  if (!is_port(port, 1) || !is_port(options.local_port, 0))
    return base::error("invalid_request", "a port is a number from 1 to 65535");
  auto listener = listen_here(options.local_port);
  if (!listener) return listener.error();
  auto impl = std::make_unique<Forward::Impl>();
  impl->connection = connection_;
  impl->run = id_;
  impl->port = port;
  impl->local_port = net::local_port(listener->get());
  Limit limit(call, connection_->waiter());
  auto opened = impl->open(limit);
  if (!opened) return opened.error();
  impl->loop.add(
      std::make_unique<Entrance>(std::move(*opened), std::move(*listener), impl->shared,
                                 [impl = impl.get()](base::Fd fd) { impl->ask(std::move(fd)); }));
  auto left = limit.left();
  if (!left) return left.error();
  auto& shared = *impl->shared;
  std::unique_lock lock(shared.mutex);
  SPELL_TRY(wait_until(lock, shared.changed, *left, [&] { return shared.opened || shared.over; }));
  auto failure = shared.failure;
  lock.unlock();
  if (failure) return *failure;
  return Forward(std::move(impl));
}

Forward::Forward(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Forward::Forward(Forward&&) noexcept = default;
Forward& Forward::operator=(Forward&&) noexcept = default;
Forward::~Forward() = default;

int Forward::local_port() const { return impl_->local_port; }

Result<std::optional<Error>> Forward::next_refusal(CallOptions options) {
  auto& shared = *impl_->shared;
  std::unique_lock lock(shared.mutex);
  SPELL_TRY(wait_until(lock, shared.changed, options,
                       [&] { return !shared.refusals.empty() || shared.done(); }));
  if (!shared.refusals.empty()) {
    std::optional<Error> why(std::move(shared.refusals.front()));
    shared.refusals.pop_front();
    return why;
  }
  if (shared.failure && shared.failure->code() != "run_ended") return *shared.failure;
  return std::optional<Error>();
}

}  // namespace spell
