// A run's metrics as a stream, page by page, run by run of its chain; and waiting for a point.
#include <charconv>
#include <ostream>

#include "base/error.hpp"
#include "client/chain.hpp"
#include "client/connection.hpp"
#include "client/run_poll.hpp"
#include "spell/json.hpp"

namespace spell {

namespace {

using namespace detail;
using model::Route;

class MetricSource : public Stream<Metric>::Source {
 public:
  MetricSource(std::shared_ptr<Connection> connection, std::int64_t run, MetricOptions options,
               const CallOptions& call)
      : connection_(std::move(connection)),
        run_(run),
        options_(std::move(options)),
        limit_(call, connection_->waiter()) {}

  std::optional<Result<Metric>> next() override {
    while (at_ == page_.size() && !ended_) {
      auto turned = turn();
      if (turned) continue;
      ended_ = true;
      return Result<Metric>(turned.error());
    }
    if (at_ == page_.size()) return std::nullopt;
    return Result<Metric>(std::move(page_[at_++]));
  }

 private:
  Result<> turn() {
    if (all_read_) return go_on();
    Call call{.route = Route::metric_points,
              .names = {std::to_string(run_)},
              .query = {{"from", from_}, {"limit", "10000"}}};
    if (!options_.name.empty()) call.query.emplace_back("name", options_.name);
    if (options_.first) call.query.emplace_back("first", std::to_string(*options_.first));
    if (options_.last) call.query.emplace_back("last", std::to_string(*options_.last));
    if (options_.follow) {
      auto wait = std::min(longest_poll, limit_.time_left().value_or(longest_poll));
      call.query.emplace_back("wait_ms", std::to_string(wait.count()));
    }
    auto answer = connection_->call(call, limit_);
    if (!answer) return answer.error();
    auto page = member<std::vector<Metric>>(*answer, "metrics");
    if (!page) return page.error();
    auto next = member<std::string>(*answer, "next");
    if (!next) return next.error();
    auto final = member<bool>(*answer, "final");
    if (!final) return final.error();
    all_read_ = *final || (!options_.follow && *next == from_);
    page_ = std::move(*page);
    at_ = 0;
    from_ = std::move(*next);
    return ok();
  }

  /// To the next run of the chain.
  Result<> go_on() {
    auto info = poll_run(*connection_, run_, -1, limit_, false);
    if (!info) return info.error();
    auto next = successor(*info);
    ended_ = !next;
    if (!next) return ok();
    run_ = *next;
    from_ = "0";
    all_read_ = false;
    return ok();
  }

  std::shared_ptr<Connection> connection_;
  std::int64_t run_;
  MetricOptions options_;
  Limit limit_;
  std::string from_ = "0";
  std::vector<Metric> page_;
  std::size_t at_ = 0;
  bool all_read_ = false, ended_ = false;  ///< of the run; of the chain
};

using Compare = bool (*)(double, double);
Compare compare_of(std::string_view op) {
  if (op == "<") return [](double a, double b) { return a < b; };
  if (op == "<=") return [](double a, double b) { return a <= b; };
  if (op == ">") return [](double a, double b) { return a > b; };
  if (op == ">=") return [](double a, double b) { return a >= b; };
  if (op == "==") return [](double a, double b) { return a == b; };
  return nullptr;
}

std::string metric_text(double number) {
  char text[40];
  return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Metric& metric) {
  out << metric.index << ' ';
  return metric.is_number() ? out << metric_text(metric.number())
                            : out << std::get<std::string>(metric.value);
}

Stream<Metric> Run::metrics(MetricOptions options) const {
  CallOptions call{.timeout = options.timeout, .stop = options.stop};
  return Stream<Metric>(std::make_unique<MetricSource>(connection_, id_, std::move(options), call));
}

Result<std::vector<MetricInfo>> Run::metric_names(CallOptions options) const {
  auto answer =
      connection_->call({.route = Route::list_metrics, .names = {std::to_string(id_)}}, options);
  if (!answer) return answer.error();
  return member<std::vector<MetricInfo>>(*answer, "metrics");
}

Result<Metric> Run::wait_metric(std::string_view name, std::string_view op, double value,
                                CallOptions options) const {
  auto holds = compare_of(op);
  if (!holds)
    return base::error("invalid_request",
                       "'" + std::string(op) + "' compares nothing; there are <, <=, >, >= and ==");
  MetricOptions wanted;
  wanted.name = name;
  wanted.follow = true;
  MetricSource points(connection_, id_, std::move(wanted), options);
  while (auto point = points.next()) {
    if (!*point || ((*point)->is_number() && holds((*point)->number(), value))) return *point;
  }
  return base::error("wait_failed", "run " + std::to_string(id_) + " has ended, and its metric " +
                                        std::string(name) + " was never " + std::string(op) + " " +
                                        metric_text(value));
}

}  // namespace spell
