#include "net/server.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <thread>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "net/connection.hpp"
#include "net/socket.hpp"

namespace spell::net {

namespace asio = boost::asio;
using boost::system::error_code;
using Acceptor = asio::local::stream_protocol::acceptor;

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
  void accept();
  void start_connection(base::Fd);

  std::shared_ptr<ServerShared> shared = std::make_shared<ServerShared>();
  std::vector<std::shared_ptr<Loop>> loops;  ///< the first one accepts
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::vector<std::thread> threads;
  std::optional<Acceptor> acceptor;
  std::optional<asio::steady_timer> pause;
  bool full = false;  ///< accepting rests until a connection closes
  std::size_t next_loop = 0;
  struct stat bound {};

  std::mutex mutex;
  std::condition_variable closed;
  std::atomic<int> open = 0;
  std::atomic<bool> stopping = false;
};

void Server::Impl::accept() {
  if (!acceptor->is_open()) return;
  full = open >= shared->options.connection_limit;
  if (full) return;
  acceptor->async_wait(Acceptor::wait_read, [this](error_code failure) {
    if (failure) return;
    while (open < shared->options.connection_limit) {
      base::Fd fd = accept_connection(acceptor->native_handle());
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
      start_connection(std::move(fd));
    }
    accept();
  });
}

void Server::Impl::start_connection(base::Fd fd) {
  ++open;
  auto loop = loops[next_loop++ % loops.size()];
  auto start = [this, loop, fd = std::move(fd)]() mutable {
    auto connection = std::make_shared<Connection>(loop, shared, std::move(fd));
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
  base::Fd listening(options.socket_fd);
  if (!listening) {
    auto bound = listen_unix(options.socket_path);
    if (!bound) return bound.error();
    listening = std::move(*bound);
    ::lstat(options.socket_path.c_str(), &impl->bound);
  }
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
  impl->acceptor.emplace(impl->loops.front()->io);
  impl->pause.emplace(impl->loops.front()->io);
  error_code failure;
  impl->acceptor->assign({}, listening.get(), failure);
  if (!failure) {
    listening.release();
    impl->acceptor->non_blocking(true, failure);
  }
  if (failure) return base::error("io_error", "cannot listen: " + failure.message());
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

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { stop(0); }
int Server::open_connections() const { return impl_->open; }

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
    impl->acceptor->close(ignored);
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
