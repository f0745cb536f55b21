#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "base/error.hpp"
#include "net/socket.hpp"
#include "worker/run_ends.hpp"
#include "worker/stream_end.hpp"

namespace spell::worker {

namespace stream = model::stream;

namespace {

class ForwardEnd : public StreamEnd {
 public:
  ForwardEnd(net::MessageStream s, StreamOrder order, std::string machine)
      : StreamEnd(std::move(s)), order_(std::move(order)), machine_(std::move(machine)) {}
  ~ForwardEnd() override {
    if (relay_ && !relay_->over()) relay_->abandon();
  }

 private:
  void begin(std::string_view text) override {
    auto request = model::parse_forward_request(text);
    if (!request) return fail(request.error());
    if (!order_.supervisor) return fail(not_running(order_));
    port_ = request->port;
    if (port_ == 0) return opened();
    connect(AF_INET);
  }

  void connect(int family) {
    family_ = family;
    socket_ = base::Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_) return refused();
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<std::uint16_t>(port_));
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = v4.sin_port;
    v6.sin6_addr = in6addr_loopback;
    bool first = family == AF_INET;
    auto* address = first ? reinterpret_cast<sockaddr*>(&v4) : reinterpret_cast<sockaddr*>(&v6);
    socklen_t size = first ? sizeof v4 : sizeof v6;
    if (::connect(socket_.get(), address, size) == 0) return connected();
    if (errno != EINPROGRESS) refused();
  }

  void refused() {
    if (family_ == AF_INET) return connect(AF_INET6);
    fail(base::error("connection_refused", "nothing listens on port " + std::to_string(port_) +
                                               " of machine " + machine_));
  }

  void connected() {
    net::no_delay(socket_.get());
    base::Fd sink(::fcntl(socket_.get(), F_DUPFD_CLOEXEC, 3));
    if (!sink) return fail(base::errno_error("copy a socket"));
    std::vector<net::Relay::Source> sources;
    sources.push_back({std::move(socket_), stream::data});
    relay_.emplace(std::move(sink), std::move(sources));
    opened();
    for (auto& text : std::exchange(early_, {})) message(text);
  }

  /// Who asked does not wait for the connection: what it sends until then is kept.
  void message(std::string_view text) override {
    early_bytes_ += relay_ ? 0 : text.size();
    if (relay_ ? !relay_->take(text) : early_bytes_ > 2 * model::stream_window)
      return fail(base::error("invalid_stream", "more was sent than the window allows"));
    if (!relay_) early_.emplace_back(text);
  }

  void watch_own(std::vector<pollfd>& files) override {
    files.push_back({run_over_ ? -1 : order_.supervisor.get(), 0, 0});
    if (relay_) return relay_->watch(files, stream_);
    files.push_back({socket_.get(), POLLOUT, 0});
  }

  void serve_own() override {
    run_over_ = run_over_ || is_over(order_.supervisor);
    if (socket_) finish_connecting();
    if (relay_ && !ending()) move();
    if (!relay_ && !ending() && run_over_) run_ended();
  }

  void finish_connecting() {
    pollfd ready{socket_.get(), POLLOUT, 0};
    if (::poll(&ready, 1, 0) == 0) return;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return refused();
    connected();
  }

  void move() {
    relay_->serve(stream_);
    if (relay_->cut())
      return fail(base::error("connection_lost", "port " + std::to_string(port_) + " of machine " +
                                                     machine_ + " broke the connection off"));
    // What the run has sent before its end arrives; then nobody is there to take anything.
    if (relay_->over() || (run_over_ && relay_->end_sent()))
      return StreamEnd::end(model::stream_message(stream::exit, "{}"));
    if (run_over_ && relay_->drained()) run_ended();
  }

  void run_ended() {
    fail(base::error("run_ended", "run " + std::to_string(order_.number) + " has ended"));
  }

  StreamOrder order_;
  std::string machine_;
  int port_ = 0, family_ = AF_INET;
  base::Fd socket_;  ///< while it connects
  std::vector<std::string> early_;
  std::size_t early_bytes_ = 0;
  std::optional<net::Relay> relay_;
  bool run_over_ = false;
};

}  // namespace

std::unique_ptr<net::Relayed> make_forward_end(net::MessageStream opened, StreamOrder order,
                                               const StreamHost& host) {
  return std::make_unique<ForwardEnd>(std::move(opened), std::move(order), host.name);
}

}  // namespace spell::worker
