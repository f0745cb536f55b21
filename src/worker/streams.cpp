#include "worker/streams.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "base/error.hpp"
#include "exec/guest.hpp"
#include "exec/spool.hpp"
#include "spell/json.hpp"
#include "worker/stream_end.hpp"

namespace spell::worker {

namespace stream = model::stream;

namespace {

Error not_here(const StreamOrder& order) {
  return base::error("run_not_running",
                     "run " + std::to_string(order.number) + " is not running on its machine");
}

// ---- a command inside a run

class ExecEnd : public StreamEnd {
 public:
  ExecEnd(net::MessageStream s, StreamOrder order)
      : StreamEnd(std::move(s)), order_(std::move(order)) {}

 private:
  void begin(std::string_view text) override {
    auto request = model::parse_exec_request(text);
    if (!request) return fail(request.error());
    auto guest = order_.folder.empty()
                     ? Result<exec::Guest>(not_here(order_))
                     : exec::Guest::start(order_.folder, {.command = std::move(request->command),
                                                          .env = std::move(request->env),
                                                          .terminal = request->terminal,
                                                          .columns = request->columns,
                                                          .rows = request->rows});
    if (!guest) return fail(guest.error());
    guest_ = std::move(*guest);
    std::vector<net::Relay::Source> sources;
    sources.push_back({std::move(guest_->output), stream::data});
    if (guest_->errors) sources.push_back({std::move(guest_->errors), stream::error_data});
    relay_ = net::Relay(std::move(guest_->input), std::move(sources),
                        request->terminal ? "\x04" : "");  // ^D, as who types it
  }

  void message(std::string_view text) override {
    if (!guest_) return;
    if (text.front() == stream::signal) {
      auto number = model::number_in(text.substr(1));
      if (number > 0 && number < 65) guest_->send_signal(static_cast<int>(number));
    } else if (text.front() == stream::resize) {
      model::TerminalSize size;
      if (model::parse_resize(text.substr(1), size)) guest_->resize(size.columns, size.rows);
    } else if (!relay_.take(text)) {
      fail(base::error("invalid_stream", "more was sent than the window allows"));
    }
  }

  void watch_own(std::vector<pollfd>& files) override {
    if (!guest_) return;
    files.push_back({exit_ ? -1 : guest_->event_fd(), POLLIN, 0});
    relay_.watch(files, stream_);
  }

  void serve_own() override {
    if (!guest_) return;
    if (!exit_) {
      auto next = guest_->next();
      if (!next) return fail(next.error());
      if (guest_->started() && !opened_) {
        opened_ = true;
        opened();
      }
      exit_ = *next;
    }
    relay_.serve(stream_);
    // Its end is the end of its first process: what it wrote before is there by now.
    if (!exit_ || !relay_.drained()) return;
    nlohmann::json end{{"code", exit_->code}};
    if (exit_->signal) end["signal"] = *exit_->signal;
    StreamEnd::end(model::stream_message(stream::exit, end.dump()));
  }

  StreamOrder order_;
  std::optional<exec::Guest> guest_;
  net::Relay relay_;
  std::optional<exec::Guest::Exit> exit_;
  bool opened_ = false;
};

// ---- a connection to a port

class ForwardEnd : public StreamEnd {
 public:
  ForwardEnd(net::MessageStream s, StreamOrder order, std::string machine)
      : StreamEnd(std::move(s)), order_(std::move(order)), machine_(std::move(machine)) {}

 private:
  void begin(std::string_view text) override {
    auto request = model::parse_forward_request(text);
    if (!request) return fail(request.error());
    if (order_.folder.empty()) return fail(not_here(order_));
    port_ = request->port;
    connect(AF_INET);
  }

  void connect(int family) {
    family_ = family;
    socket_ = base::Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_) return fail(base::errno_error("make a socket"));
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
    if (relay_) return relay_->watch(files, stream_);
    files.push_back({socket_.get(), POLLOUT, 0});
  }

  void serve_own() override {
    if (!relay_) {
      pollfd ready{socket_.get(), POLLOUT, 0};
      if (!socket_ || ::poll(&ready, 1, 0) == 0) return;
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return refused();
      connected();
      if (!relay_) return;
    }
    relay_->serve(stream_);
    if (relay_->over()) StreamEnd::end(model::stream_message(stream::exit, "{}"));
  }

  StreamOrder order_;
  std::string machine_;
  int port_ = 0, family_ = AF_INET;
  base::Fd socket_;
  std::vector<std::string> early_;
  std::size_t early_bytes_ = 0;
  std::optional<net::Relay> relay_;
};

// ---- figures

class StatsEnd : public StreamEnd {
 public:
  StatsEnd(net::MessageStream s, StreamOrder order, Figures& figures, GpuFigures& gpus,
           std::int64_t cores, std::int64_t memory)
      : StreamEnd(std::move(s)),
        order_(std::move(order)),
        figures_(figures),
        gpus_(gpus),
        cores_(cores),
        memory_(memory) {}

 private:
  static constexpr std::chrono::milliseconds first_interval{250};

  void begin(std::string_view text) override {
    auto request = model::parse_stats_request(text);
    if (!request) return fail(request.error());
    auto lock = exec::read_lock(order_.folder);
    if (order_.folder.empty() || !lock || !lock->held || lock->init == 0)
      return fail(not_here(order_));
    init_ = lock->init;
    interval_ = std::chrono::milliseconds(request->interval_ms);
    gpus_.ask();
    before_at_ = Clock::now();
    before_ = figures_.look(init_, before_at_);
    traffic_before_ = figures_.traffic();
    next_ = before_at_ + std::min(first_interval, interval_);
    opened();
  }

  void message(std::string_view) override {}
  std::optional<Clock::time_point> own_due() const override {
    return init_ == 0 ? std::nullopt : std::optional(next_);
  }

  void serve_own() override {
    auto now = Clock::now();
    if (init_ == 0 || now < next_) return;
    next_ = now + interval_;
    auto stats = figures_.look(init_, now);
    auto lock = exec::read_lock(order_.folder);
    if (!lock || !lock->held || stats.processes == 0)
      return fail(base::error("run_ended", "run " + std::to_string(order_.number) + " has ended"));
    // Who does not read misses samples: the next one is newer.
    if (stream_.queued() > 0) return;
    auto traffic = figures_.traffic();
    auto elapsed = std::max<std::int64_t>(
        1, std::chrono::duration_cast<std::chrono::milliseconds>(now - before_at_).count());
    auto rate = [&](std::int64_t after, std::int64_t before) {
      return std::max<std::int64_t>(0, after - before) * 1000 / elapsed;
    };
    stats.run = order_.number;
    stats.cores = cores_;
    stats.memory_total = memory_;
    stats.cpu_millis = rate(stats.cpu_time_ms, before_.cpu_time_ms);
    stats.disk_read_rate = rate(stats.disk_read, before_.disk_read);
    stats.disk_written_rate = rate(stats.disk_written, before_.disk_written);
    stats.network_received_rate = rate(traffic.received, traffic_before_.received);
    stats.network_sent_rate = rate(traffic.sent, traffic_before_.sent);
    stats.gpus = gpus_.look(order_.gpus);
    gpus_.ask();
    before_ = stats;
    before_at_ = now;
    traffic_before_ = traffic;
    stream_.send(model::stream_message(stream::sample, nlohmann::json(stats).dump()));
  }

  StreamOrder order_;
  Figures& figures_;
  GpuFigures& gpus_;
  const std::int64_t cores_, memory_;
  int init_ = 0;
  std::chrono::milliseconds interval_{};
  Clock::time_point next_{}, before_at_{};
  RunStats before_;
  Traffic traffic_before_;
};

class UnknownEnd : public StreamEnd {
 public:
  UnknownEnd(net::MessageStream s, std::string kind)
      : StreamEnd(std::move(s)), kind_(std::move(kind)) {}

 private:
  void begin(std::string_view) override {
    fail(base::error("not_available", "the machine's worker is older and does not know '" + kind_ +
                                          "': upgrade it"));
  }
  void message(std::string_view) override {}
  std::string kind_;
};

}  // namespace

std::unique_ptr<net::Relayed> Streams::make_end(StreamOrder order, net::MessageStream opened) {
  if (order.kind == "exec") return std::make_unique<ExecEnd>(std::move(opened), std::move(order));
  if (order.kind == "forward")
    return std::make_unique<ForwardEnd>(std::move(opened), std::move(order), machine_);
  if (order.kind == "stats")
    return std::make_unique<StatsEnd>(std::move(opened), std::move(order), figures_, gpus_, cores_,
                                      memory_);
  return std::make_unique<UnknownEnd>(std::move(opened), order.kind);
}

void Streams::open(StreamOrder order, CallOptions options) {
  dials_.post([this, order = std::move(order), options]() mutable {
    // Whoever asked may have gone meanwhile; a service that cannot be reached has forgotten it.
    auto opened = link_.open_stream(order.id, options);
    if (opened) loop_.add(make_end(std::move(order), std::move(*opened)));
  });
}

void Streams::stop() {
  dials_.stop();
  loop_.stop();
}

}  // namespace spell::worker
