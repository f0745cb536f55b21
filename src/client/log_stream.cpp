// A run's log as a stream that heals itself: after every loss it goes on where it was, by cursor;
// after an interruption in the log of the run that goes on.
#include "client/log_stream.hpp"

#include <vector>

#include "base/error.hpp"
#include "client/chain.hpp"
#include "client/log_cutter.hpp"
#include "client/run_poll.hpp"

namespace spell {

namespace {

using namespace detail;

class LogSource : public Stream<LogEntry>::Source {
 public:
  LogSource(std::shared_ptr<Connection> connection, std::int64_t run, LogOptions options,
            const Limit& limit)
      : connection_(std::move(connection)),
        run_(run),
        options_(std::move(options)),
        limit_(limit),
        recovery_(*connection_, limit_),
        cutter_(run, options_.raw, options_.only),
        buffer_(256 * 1024) {}

  std::optional<Result<LogEntry>> next() override {
    while (!ended_) {
      if (auto entry = cutter_.next()) return Result<LogEntry>(std::move(*entry));
      if (finished_ && !next_) break;
      if (finished_) go_to(*next_);
      if (auto advanced = advance(); !advanced) {
        ended_ = true;
        return Result<LogEntry>(advanced.error());
      }
    }
    ended_ = true;
    return std::nullopt;
  }

 private:
  void go_to(std::int64_t run) {
    run_ = run;
    next_.reset();
    cutter_ = LogCutter(run, options_.raw, options_.only);
    options_.tail.reset();
    recovery_.reset();
    finished_ = false;
  }

  /// One frame, or one piece of the answer, further.
  Result<> advance() {
    auto frame = parser_.next();
    if (!frame) return frame.error();
    if (*frame) return cutter_.feed((*frame)->header, (*frame)->payload);
    auto read = read_more();
    if (read) return ok();
    body_.reset();
    return recovery_.after(read.error());
  }

  Result<> read_more() {
    if (!body_) SPELL_TRY(open());
    auto left = limit_.left();
    if (!left) return left.error();
    auto size = body_->read(buffer_.data(), buffer_.size(), *left);
    if (!size) return size.error();
    if (*size == 0) return body_ended();
    recovery_.reset();
    brought_something_ = true;
    parser_.feed({buffer_.data(), *size});
    return ok();
  }

  Result<> open() {
    if (options_.tail && !cutter_.cursor()) {
      auto last = last_of_chain(*connection_, run_, limit_);
      if (!last) return last.error();
      if (last->id != run_) cutter_ = LogCutter(last->id, options_.raw, options_.only);
      run_ = last->id;
    }
    Call call{.route = model::Route::run_log,
              .names = {std::to_string(run_)},
              .query = {{"format", "frames"}}};
    if (options_.follow) call.query.emplace_back("follow", "1");
    if (options_.only == LogKind::output) call.query.emplace_back("output_only", "1");
    if (auto cursor = cutter_.cursor()) {
      call.query.emplace_back("cursor", cursor->text());
    } else if (options_.tail) {
      call.query.emplace_back("tail", std::to_string(*options_.tail));
    }
    auto body = connection_->open(call, limit_, recovery_);
    if (!body) return body.error();
    body_ = std::move(*body);
    parser_ = {};
    // Says which entries a tail leaves out, so that they do not appear after a loss.
    if (auto begin =
            model::LogCursor::parse(net::find_header(body_->headers(), "X-Spell-Log-Cursor")))
      cutter_.begin_at(*begin);
    brought_something_ = false;
    return ok();
  }

  /// A service that is being stopped ends its answers too, so a followed log has ended only when
  /// the run has, and all is read.
  Result<> body_ended() {
    body_.reset();
    auto info = poll_run(*connection_, run_, -1, limit_, false);
    if (!info) return info.error();
    if (options_.follow) {
      auto cursor = cutter_.cursor();
      bool all_read = cursor && cursor->bytes >= info->log_bytes;
      if (!info->status.is_final() || !(all_read || !brought_something_))
        return base::error("connection_lost", "the service ended the log of a run that goes on");
    }
    cutter_.finish();
    finished_ = true;
    next_ = successor(*info);
    return ok();
  }

  std::shared_ptr<Connection> connection_;
  std::int64_t run_;
  LogOptions options_;
  Limit limit_;
  Recovery recovery_;
  LogCutter cutter_;
  model::FrameParser parser_;
  std::unique_ptr<Body> body_;
  std::vector<char> buffer_;
  std::optional<std::int64_t> next_;  ///< of the chain, once this one is finished
  bool brought_something_ = false, finished_ = false, ended_ = false;
};

}  // namespace

Stream<LogEntry> detail::log_of(const std::shared_ptr<Connection>& connection, std::int64_t run,
                                LogOptions options, const Limit& limit) {
  return Stream<LogEntry>(std::make_unique<LogSource>(connection, run, std::move(options), limit));
}

Stream<LogEntry> Run::logs(LogOptions options) const {
  Limit limit({.timeout = options.timeout, .stop = options.stop}, connection_->waiter());
  return log_of(connection_, id_, std::move(options), limit);
}

}  // namespace spell
