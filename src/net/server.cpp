#include "net/server.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <thread>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "net/connection.hpp"
#include "net/socket.hpp"

namespace spell::net {

namespace asio = boost::asio;
using boost::system::error_code;
using Acceptor = asio::posix::stream_descriptor;

namespace {

constexpr auto out_of_descriptors_pause = std::chrono::milliseconds(200);

/// Signals are the program's business: its own threads take them, never ours.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

struct Server::Impl {
  /// A socket that listens.
  struct Door {
    Acceptor acceptor;
    bool secure = false, waiting = false;
    std::string name{};
  };
  Result<> open_door(base::Fd, bool secure, std::string name = {});
  void accept();
  void accept(const std::shared_ptr<Door>&);
  void start_connection(Transport, std::string door = {});

  std::shared_ptr<ServerShared> shared = std::make_shared<ServerShared>();
  std::vector<std::shared_ptr<Loop>> loops;  ///< the first one accepts
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::vector<std::thread> threads;
  std::list<std::shared_ptr<Door>> doors;
  std::optional<asio::steady_timer> pause;
  int port = 0;
  bool full = false;  ///< accepting rests until a connection closes
  std::size_t next_loop = 0;
  struct stat bound {};

  std::mutex mutex;
  std::condition_variable closed;
  std::atomic<int> open = 0;
  std::atomic<bool> stopping = false;
};

void Server::Impl::accept() {
  full = open >= shared->options.connection_limit;
  if (full) return;
  for (auto& door : doors) accept(door);
}

void Server::Impl::accept(const std::shared_ptr<Door>& door) {
  if (!door->acceptor.is_open() || door->waiting) return;
  door->waiting = true;
  door->acceptor.async_wait(Acceptor::wait_read, [this, door](error_code failure) {
    door->waiting = false;
    if (failure || !door->acceptor.is_open()) return;
    while (open < shared->options.connection_limit) {
      base::Fd fd = accept_connection(door->acceptor.native_handle());
      if (!fd && errno != EAGAIN && errno != EWOULDBLOCK) {
        // Out of descriptors or memory: the connection stays in the queue, so readiness would come
        // back at once.
        pause->expires_after(out_of_descriptors_pause);
        pause->async_wait([this](error_code aborted) {
          if (!aborted) accept();
        });
        return;
      }
      if (!fd) break;
      if (!door->secure) {
        start_connection(Transport(std::move(fd)), door->name);
        continue;
      }
      no_delay(fd.get());
      keep_watch(fd.get());
      if (auto transport = Transport::make(std::move(fd), shared->options.tls))
        start_connection(std::move(*transport));
    }
    accept();
  });
}

void Server::Impl::start_connection(Transport transport, std::string door) {
  ++open;
  auto loop = loops[next_loop++ % loops.size()];
  auto start = [this, loop, transport = std::move(transport), door = std::move(door)]() mutable {
    auto connection =
        std::make_shared<Connection>(loop, shared, std::move(transport), std::move(door));
    loop->connections.emplace(connection.get(), connection);
    connection->start();
    if (stopping) connection->finish();
  };
  if (loop == loops.front())
    start();
  else
    loop->post(std::move(start));
}

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, Handler& handler) {
  auto impl = std::make_unique<Impl>();
  impl->shared->options = options;
  impl->shared->handler = &handler;
  impl->shared->id_prefix = base::hex(base::random_bytes(4)) + "-";
  Impl* server = impl.get();
  impl->shared->released = [server] {
    std::lock_guard lock(server->mutex);
    int left = --server->open;
    server->closed.notify_all();
    if (left == server->shared->options.connection_limit - 1)
      server->loops.front()->post([server] {
        if (server->full) server->accept();
      });
  };
  for (int i = 0; i < std::max(1, options.threads); ++i) {
    impl->loops.push_back(std::make_shared<Loop>());
    impl->work.push_back(asio::make_work_guard(impl->loops.back()->io));
  }
  impl->pause.emplace(impl->loops.front()->io);
  if (options.socket_fd >= 0) {
    SPELL_TRY(impl->open_door(base::Fd(options.socket_fd), false));
  } else if (!options.socket_path.empty()) {
    auto bound = listen_unix(options.socket_path);
    if (!bound) return bound.error();
    ::lstat(options.socket_path.c_str(), &impl->bound);
    SPELL_TRY(impl->open_door(std::move(*bound), false));
  }
  if (!options.listen.empty()) {
    if (!options.tls) return base::error("bad_argument", "listening on TCP needs a certificate");
    auto bound = listen_tcp(options.listen);
    if (!bound) return bound.error();
    impl->port = local_port(bound->get());
    SPELL_TRY(impl->open_door(std::move(*bound), true));
  }
  impl->accept();
  try {
    BlockedSignals blocked;
    for (auto& loop : impl->loops) impl->threads.emplace_back([loop] { loop->io.run(); });
  } catch (const std::exception& e) {
    Server(std::move(impl)).stop(0);
    return base::error("io_error", std::string("cannot start a thread: ") + e.what());
  }
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Result<> Server::Impl::open_door(base::Fd listening, bool secure, std::string name) {
  auto door = std::make_shared<Door>(
      Door{.acceptor = Acceptor(loops.front()->io), .secure = secure, .name = std::move(name)});
  error_code failure;
  door->acceptor.assign(listening.get(), failure);
  if (!failure) {
    listening.release();
    door->acceptor.non_blocking(true, failure);
  }
  if (failure) return base::error("io_error", "cannot listen: " + failure.message());
  doors.push_back(std::move(door));
  return ok();
}

void Server::open_door(base::Fd listening, std::string name) {
  impl_->loops.front()->post(
      [impl = impl_.get(), listening = std::move(listening), name = std::move(name)]() mutable {
        if (impl->open_door(std::move(listening), false, std::move(name))) impl->accept();
      });
}

void Server::take(base::Fd connected) {
  impl_->loops.front()->post([impl = impl_.get(), connected = std::move(connected)]() mutable {
    impl->start_connection(Transport(std::move(connected)), "");
  });
}

void Server::close_door(const std::string& name) {
  impl_->loops.front()->post([impl = impl_.get(), name] {
    impl->doors.remove_if([&](auto& door) {
      error_code ignored;
      return door->name == name && (door->acceptor.close(ignored), true);
    });
  });
  for (auto& loop : impl_->loops)
    loop->post([loop = loop.get(), name] {
      auto connections = loop->connections;
      for (auto& [key, connection] : connections)
        if (connection->door() == name) connection->close();
    });
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { stop(0); }
int Server::open_connections() const { return impl_->open; }
int Server::port() const { return impl_->port; }

void Server::set_tls(std::shared_ptr<const Tls> tls) {
  // The first loop accepts: nobody else looks at it.
  impl_->loops.front()->post([shared = impl_->shared, tls = std::move(tls)]() mutable {
    shared->options.tls = std::move(tls);
  });
}

void Server::close_of(std::vector<std::string> whom) {
  auto names = std::make_shared<const std::vector<std::string>>(std::move(whom));
  for (auto& loop : impl_->loops)
    loop->post([loop = loop.get(), names] {
      auto connections = loop->connections;
      for (auto& [key, connection] : connections)
        if (std::find(names->begin(), names->end(), connection->owner()) != names->end())
          connection->close();
    });
}

void Server::stop(int grace_ms) {
  if (impl_->stopping.exchange(true)) return;
  // The socket goes first: who connects later must find nobody, rather than somebody who will not
  // answer.
  struct stat now;
  const std::string& path = impl_->shared->options.socket_path;
  if (impl_->bound.st_ino != 0 && ::lstat(path.c_str(), &now) == 0 &&
      now.st_ino == impl_->bound.st_ino && now.st_dev == impl_->bound.st_dev)
    ::unlink(path.c_str());
  impl_->loops.front()->post([impl = impl_.get()] {
    error_code ignored;
    for (auto& door : impl->doors) door->acceptor.close(ignored);
    impl->pause->cancel();
  });
  auto each = [this](void (Connection::*action)()) {
    for (auto& loop : impl_->loops)
      loop->post([loop = loop.get(), action] {
        auto connections = loop->connections;
        for (auto& entry : connections) (entry.second.get()->*action)();
      });
  };
  each(&Connection::finish);
  {
    std::unique_lock lock(impl_->mutex);
    impl_->closed.wait_for(lock, std::chrono::milliseconds(grace_ms),
                           [this] { return impl_->open == 0; });
  }
  each(&Connection::close);
  for (auto& loop : impl_->loops) {
    std::lock_guard lock(loop->mutex);
    loop->closed = true;
  }
  impl_->work.clear();
  for (auto& thread : impl_->threads) thread.join();
}

}  // namespace spell::net
