#include "base/error.hpp"
#include "client/connection.hpp"
#include "model/stream.hpp"
#include "net/wait.hpp"
#include "spell/json.hpp"
#include "spell/run.hpp"

namespace spell {

namespace {

using namespace detail;
namespace stream = model::stream;

class StatsSource : public Stream<RunStats>::Source {
 public:
  StatsSource(std::shared_ptr<Connection> connection, std::int64_t run, const StatsOptions& options)
      : connection_(std::move(connection)),
        run_(run),
        interval_(options.interval),
        limit_({.timeout = options.timeout, .stop = options.stop}, connection_->waiter()) {}

  std::optional<Result<RunStats>> next() override {
    if (ended_) return std::nullopt;
    auto sample = read();
    ended_ = !sample;
    return sample;
  }

 private:
  Result<RunStats> read() {
    if (!stream_) {
      auto opened = connection_->upgrade(
          {.route = model::Route::stats, .names = {std::to_string(run_)}}, limit_);
      if (!opened) return opened.error();
      stream_.emplace(std::move(*opened));
      model::StatsRequest request{interval_.count()};
      stream_->send(model::stream_message(stream::request, model::to_json(request).dump()));
    }
    auto left = limit_.left();
    if (!left) return left.error();
    net::Wait wait(*left);
    for (;;) {
      auto served = stream_->serve();
      while (auto message = stream_->next()) {
        if (message->empty()) continue;
        std::string_view text = std::string_view(*message).substr(1);
        if (message->front() == stream::failed) return model::failed_error(text);
        if (message->front() != stream::sample) continue;
        json body = json::parse(text, nullptr, false);
        return member<RunStats>(json{{"stats", std::move(body)}}, "stats");
      }
      if (!served) return served.error();
      SPELL_TRY(wait.until(stream_->fd(), stream_->events()));
    }
  }

  std::shared_ptr<Connection> connection_;
  std::int64_t run_;
  std::chrono::milliseconds interval_;
  Limit limit_;
  std::optional<net::MessageStream> stream_;
  bool ended_ = false;
};

}  // namespace

Stream<RunStats> Run::stats(StatsOptions options) const {
  return Stream<RunStats>(std::make_unique<StatsSource>(connection_, id_, options));
}

}  // namespace spell
