// A command inside a run. A thread of its own serves the stream; the caller's threads meet it at
// the shared state.
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/error.hpp"
#include "client/call_wait.hpp"
#include "client/connection.hpp"
#include "net/relay.hpp"
#include "spell/json.hpp"
#include "spell/run.hpp"

namespace spell {

namespace {

using namespace detail;
namespace stream = model::stream;

struct SharedSession {
  std::mutex mutex;
  std::condition_variable_any changed;
  // from the run
  std::deque<SessionOutput> received;
  std::size_t held = 0, taken = 0;  ///< bytes in `received`; bytes read, not yet told
  bool opened = false, over = false;
  std::optional<SessionExit> exit;
  std::optional<Error> failure;
  // to the run
  std::string input;
  bool input_ended = false;
  std::deque<std::string> messages;
  bool closed = false;  ///< by the caller
};

class SessionEnd : public net::Relayed {
 public:
  SessionEnd(net::MessageStream stream, std::shared_ptr<SharedSession> shared)
      : stream_(std::move(stream)), shared_(std::move(shared)) {}
  ~SessionEnd() override {
    std::lock_guard lock(shared_->mutex);
    shared_->over = true;
    shared_->changed.notify_all();
  }

  void watch(std::vector<pollfd>& files) override {
    files.push_back({stream_.fd(), stream_.events(), 0});
  }

  bool serve(std::span<const pollfd>) override {
    std::lock_guard lock(shared_->mutex);
    if (shared_->closed) return false;
    give();
    auto served = stream_.serve();
    bool last = false;
    while (auto message = stream_.next())
      if (!message->empty()) last = take(*message) || last;
    shared_->changed.notify_all();
    if (last) return false;
    if (!served) {
      shared_->failure = base::error("connection_lost",
                                     "the connection to the command was lost; it has been hung up");
      return false;
    }
    give();
    (void)stream_.flush();  // of a failure the next round tells
    return true;
  }

 private:
  void give() {
    auto& shared = *shared_;
    for (auto& message : shared.messages) stream_.send(message);
    shared.messages.clear();
    if (shared.taken >= model::stream_window / 4) {
      stream_.send(model::stream_message(stream::window, std::to_string(shared.taken)));
      shared.taken = 0;
    }
    while (!shared.input.empty() && credit_ > 0 && stream_.queued() < model::stream_window) {
      auto size = std::min({shared.input.size(), model::stream_piece, credit_});
      stream_.send(model::stream_message(stream::data, shared.input.substr(0, size)));
      shared.input.erase(0, size);
      credit_ -= size;
    }
    if (shared.input_ended && shared.input.empty() && !end_sent_) {
      end_sent_ = true;
      stream_.send(model::stream_message(stream::end_of_data));
    }
  }

  /// True: it was the last.
  bool take(const std::string& message) {
    auto& shared = *shared_;
    std::string_view text = std::string_view(message).substr(1);
    switch (message.front()) {
      case stream::opened:
        shared.opened = true;
        return false;
      case stream::data:
      case stream::error_data:
        shared.received.push_back({std::string(text), message.front() == stream::error_data});
        shared.held += text.size();
        if (shared.held + shared.taken <= model::stream_window) return false;
        shared.failure = base::error("invalid_stream", "more came than was asked for");
        return true;
      case stream::window:
        credit_ += static_cast<std::size_t>(
            std::clamp<std::int64_t>(model::number_in(text), 0, model::stream_window));
        return false;
      case stream::exit: {
        json end = json::parse(text, nullptr, false);
        SessionExit exit;
        if (end.is_object() && end.contains("code") && end["code"].is_number_integer())
          exit.code = end["code"];
        if (end.is_object() && end.contains("signal") && end["signal"].is_number_integer())
          exit.signal = end["signal"].get<int>();
        shared.exit = exit;
        return true;
      }
      case stream::failed:
        shared.failure = model::failed_error(text);
        return true;
      default:
        return false;
    }
  }

  net::MessageStream stream_;
  std::shared_ptr<SharedSession> shared_;
  std::size_t credit_ = model::stream_window;
  bool end_sent_ = false;
};

}  // namespace

struct Session::Impl {
  std::shared_ptr<Connection> connection;
  std::shared_ptr<SharedSession> shared = std::make_shared<SharedSession>();
  net::RelayLoop loop;

  ~Impl() {
    {
      std::lock_guard lock(shared->mutex);
      shared->closed = true;
    }
    loop.wake();
  }

  template <class Done>
  Result<> wait(std::unique_lock<std::mutex>& lock, const CallOptions& options, Done done) {
    return wait_until(lock, shared->changed, options, done);
  }

  /// The next piece of output; nothing at the end.
  Result<std::optional<SessionOutput>> read(const CallOptions& options) {
    std::unique_lock lock(shared->mutex);
    SPELL_TRY(wait(lock, options, [&] { return !shared->received.empty() || shared->over; }));
    if (shared->received.empty()) {
      if (shared->failure) return *shared->failure;
      return std::optional<SessionOutput>();
    }
    auto piece = std::move(shared->received.front());
    shared->received.pop_front();
    shared->held -= piece.bytes.size();
    shared->taken += piece.bytes.size();
    bool tell = shared->taken >= model::stream_window / 4;
    lock.unlock();
    if (tell) loop.wake();
    return std::optional(std::move(piece));
  }
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Run::exec(const std::string& command, ExecOptions options, CallOptions call) const {
  model::ExecRequest request;
  request.command = command;
  request.env = std::move(options.env);
  request.terminal = options.terminal;
  request.columns = options.columns;
  request.rows = options.rows;
  auto message = model::stream_message(
      stream::request,
      model::to_json(request).dump(-1, ' ', false, json::error_handler_t::replace));
  if (message.size() > net::message_limit)
    return base::error("too_large", "the command and its variables are longer than " +
                                        std::to_string(net::message_limit / 1024) +
                                        " KiB: put them into a file");
  Limit limit(call, connection_->waiter());
  auto opened =
      connection_->upgrade({.route = model::Route::exec, .names = {std::to_string(id_)}}, limit);
  if (!opened) return opened.error();
  opened->send(message);
  auto impl = std::make_unique<Session::Impl>();
  impl->connection = connection_;
  impl->loop.add(std::make_unique<SessionEnd>(std::move(*opened), impl->shared));
  auto left = limit.left();
  if (!left) return left.error();
  std::unique_lock lock(impl->shared->mutex);
  SPELL_TRY(impl->wait(lock, *left, [&] {
    return impl->shared->opened || impl->shared->over || impl->shared->failure;
  }));
  if (impl->shared->failure && !impl->shared->opened) {
    Error failure = *impl->shared->failure;
    lock.unlock();
    return failure;
  }
  lock.unlock();
  return Session(std::move(impl));
}

Result<std::optional<SessionOutput>> Session::read(CallOptions options) {
  return impl_->read(options);
}

Result<> Session::write(std::string_view bytes, CallOptions options) {
  auto& shared = *impl_->shared;
  while (!bytes.empty()) {
    std::unique_lock lock(shared.mutex);
    SPELL_TRY(impl_->wait(
        lock, options, [&] { return shared.input.size() < model::stream_piece || shared.over; }));
    // Nobody reads it any more: as with a pipe whose reader does not look.
    if (shared.over || shared.input_ended) return ok();
    auto piece = bytes.substr(0, model::stream_piece);
    bytes.remove_prefix(piece.size());
    shared.input.append(piece);
    lock.unlock();
    impl_->loop.wake();
  }
  return ok();
}

void Session::close_input() {
  {
    std::lock_guard lock(impl_->shared->mutex);
    impl_->shared->input_ended = true;
  }
  impl_->loop.wake();
}

void Session::resize(int columns, int rows) {
  {
    std::lock_guard lock(impl_->shared->mutex);
    impl_->shared->messages.push_back(
        model::stream_message(stream::resize, model::resize_text({columns, rows})));
  }
  impl_->loop.wake();
}

void Session::signal(int number) {
  {
    std::lock_guard lock(impl_->shared->mutex);
    impl_->shared->messages.push_back(
        model::stream_message(stream::signal, std::to_string(number)));
  }
  impl_->loop.wake();
}

Result<SessionExit> Session::wait(CallOptions options) {
  Limit limit(options, impl_->connection->waiter());
  for (;;) {
    auto left = limit.left();
    if (!left) return left.error();
    auto piece = impl_->read(*left);
    if (!piece) return piece.error();
    if (*piece) continue;
    std::lock_guard lock(impl_->shared->mutex);
    if (impl_->shared->exit) return *impl_->shared->exit;
    return base::error("connection_lost", "the connection to the command was lost");
  }
}

}  // namespace spell
