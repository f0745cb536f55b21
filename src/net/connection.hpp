// One connection of the server: reads a request, hands it to the handler, writes the answer, and so
// on.
//
//   receiving --request--> handling --answer--> answering --written--> receiving | draining |
//   closed              \--upgrade--> streaming --> draining | closed
//
// It lives on the thread of its Loop; only what is marked so may be called from elsewhere. Nothing
// is held while it is idle: bytes are read into the loop's buffer, and readiness of the socket is
// the only thing it waits for.
#pragma once
#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "net/parser.hpp"
#include "net/server.hpp"
#include "net/transport.hpp"
#include "net/websocket.hpp"

namespace spell::net {

class Connection;

struct Stream::Impl {
  explicit Impl(std::shared_ptr<Connection> c) : connection(std::move(c)) {}
  std::shared_ptr<Connection> connection;
};

/// A thread's event loop and the connections that live on it.
struct Loop {
  static constexpr std::size_t buffer_size = 256 * 1024;

  /// From any thread. What is posted happens in the order of the calls, whichever threads they come
  /// from: one that has returned is before one that begins. Nothing happens once the loop has been
  /// closed.
  template <class Work>
  void post(Work work) {
    std::lock_guard lock(mutex);
    if (!closed) boost::asio::post(io, std::move(work));
  }

  // Without the hint of a single thread: with it what the loop's own thread posts waits apart until
  // its handler has returned, and what others post meanwhile overtakes it.
  boost::asio::io_context io;
  std::unique_ptr<char[]> buffer{new char[buffer_size]};
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
  std::mutex mutex;
  bool closed = false;  ///< guarded by mutex
};

/// What the connections of a server share. `handler` and `released` are used by open connections
/// only.
struct ServerShared {
  ServerOptions options;
  Handler* handler = nullptr;
  std::string id_prefix;
  std::atomic<std::uint64_t> next_id = 0;
  std::function<void()> released;  ///< a connection has been closed
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Loop>, std::shared_ptr<ServerShared>, Transport, std::string door);

  void start();
  /// Closes now if it is idle, else after the answer.
  void finish();
  void close();
  /// See Reply::belongs_to().
  void set_owner(std::string whom) { owner_ = std::move(whom); }
  const std::string& owner() const { return owner_; }
  const std::string& door() const { return door_; }

  /// From any thread; `request` is the number of the request that is answered, anything for another
  /// one is ignored.
  void answer(std::uint64_t request, Response, std::shared_ptr<BodySource> = {},
              std::optional<std::int64_t> size = {});
  void answer_dropped(std::uint64_t request);
  void call_on_close(std::uint64_t request, std::function<void()>);

  // connection_stream.cpp. From any thread; once it is a stream it stays one.
  void upgrade(std::uint64_t request);
  void receive_message(std::function<void(Result<std::string>)>);
  void send_message(std::string, std::function<void(Result<>)>);
  void close_stream();

 private:
  static constexpr int drain_ms = 2000;
  enum class Phase { receiving, handling, answering, streaming, draining, closed };

  /// What a connection has as a stream.
  struct Streaming {
    MessageReader reader{true};
    std::string out;       ///< being written
    std::size_t sent = 0;  ///< bytes of it
    bool writing = false;  ///< waits until the socket takes more
    bool ending = false;   ///< nothing more will be sent
    std::function<void(Result<std::string>)> receiver;
    std::function<void(Result<>)> sender;
  };

  void stream_readable();
  void stream_advance();
  void stream_write();
  void drain_to_end();

  void arm();
  void readable();
  void receive();
  void drain();
  void take(std::string_view bytes);
  std::string_view parse(std::string_view bytes);
  bool begin_request(std::string_view rest);
  bool add_body(std::string_view piece);
  void dispatch();
  void fail(const Error&);
  void set_deadline(int ms);
  void wait_deadline();
  void next_request();

  void begin_answer(Response, std::shared_ptr<BodySource>, std::optional<std::int64_t> size);
  void pull();
  void pulled(Result<std::string>);
  void advance();
  void write(std::string_view last = {});
  void write_on();

  const std::shared_ptr<Loop> loop_;
  const std::shared_ptr<ServerShared> shared_;
  Transport transport_;
  boost::asio::posix::stream_descriptor waiter_;  ///< tells when the transport's socket is ready
  boost::asio::steady_timer timer_;
  std::chrono::steady_clock::time_point deadline_{};
  Phase phase_ = Phase::receiving;
  bool armed_ = false, timing_ = false, finishing_ = false;
  const std::uint32_t peer_uid_;
  std::optional<std::string> peer_key_;  ///< looked up for the first request
  const std::string peer_address_, door_;
  const int peer_port_;
  std::string owner_;

  // the request
  std::optional<MessageParser> parser_;
  std::string pending_;  ///< received, not yet parsed
  Request request_;
  BodyRule rule_;
  bool begun_ = false;  ///< the head has been looked at
  bool keep_alive_ = false, http_1_0_ = false, no_body_ = false;
  std::uint64_t number_ = 0;
  std::function<void()> on_close_;
  std::string upgrade_key_;  ///< of a request that wants a stream
  std::unique_ptr<Streaming> stream_;

  // the answer
  std::string head_, piece_;               ///< being written
  std::array<std::string_view, 3> parts_;  ///< of them, what is not yet out
  bool writing_ = false, chunked_ = false, pulling_ = false;
  std::shared_ptr<BodySource> source_;
  std::optional<std::string> next_;
  std::optional<std::int64_t> remaining_;
};

}  // namespace spell::net
