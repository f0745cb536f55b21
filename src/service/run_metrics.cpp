// The metrics of a run.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <mutex>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "model/fields.hpp"
#include "model/log.hpp"
#include "model/metric.hpp"
#include "model/status.hpp"
#include "service/api.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

/// Read at once; so much of other names may have to be passed over for one answer.
constexpr std::size_t piece_size = 1 << 20;
constexpr int pieces_at_once = 8;

/// Shows the points of these frames, in their order. Returns where the frames after them begin.
Result<std::int64_t> each_point(std::string_view frames, std::int64_t from,
                                const std::function<void(Metric)>& see) {
  model::FrameParser parser;
  parser.feed(frames);
  for (;;) {
    auto frame = parser.next();
    if (!frame) return frame.error();
    if (!*frame) return from;
    auto& [header, payload] = **frame;
    from = static_cast<std::int64_t>(header.sequence) + header.size;
    Time time{std::chrono::microseconds(header.time_us)};
    for (auto lines = payload; !lines.empty();) {
      auto end = std::min(lines.find('\n'), lines.size() - 1) + 1;
      if (auto point = model::parse_metric_line(lines.substr(0, end))) {
        point->time = time;
        see(std::move(*point));
      }
      lines.remove_prefix(end);
    }
  }
}

struct Query {
  std::string name;
  std::int64_t first = INT64_MIN, last = INT64_MAX, from = 0, limit = 0;
  bool wants(const Metric& point) const {
    return (name.empty() || point.name == name) && point.index >= first && point.index <= last;
  }
};

struct Points {
  json list = json::array();
  std::int64_t next = 0;
  bool final = false;
};

/// Somewhat more than `limit` points: what came at once stays together.
Result<Points> read_points(Context& context, const std::string& run, const Query& query) {
  Points out;
  out.next = query.from;
  // In this order: a run that is final here has all its points.
  auto record = context.readers.with([&](store::Reader& reader) { return reader.find_run(run); });
  if (!record) return record.error();
  bool ended = !*record || model::is_final((*record)->status);
  std::string name = LogStore::metrics_of(run);
  auto size = context.logs.size(name);
  if (!size) return size.error();
  for (int piece = 0; piece < pieces_at_once && out.next < *size; ++piece) {
    auto frames = context.logs.read(name, out.next, *size, piece_size);
    if (!frames) return frames.error();
    std::string_view rest = *frames;
    while (!rest.empty() && static_cast<std::int64_t>(out.list.size()) < query.limit) {
      auto header = model::parse_frame_header(
          rest.substr(0, std::min(rest.size(), model::frame_header_size)));
      if (!header) return header.error();
      auto whole = std::min(rest.size(), model::frame_header_size + header->size);
      auto next = each_point(rest.substr(0, whole), out.next, [&](Metric point) {
        if (query.wants(point)) out.list.push_back(std::move(point));
      });
      if (!next) return next.error();
      out.next = *next;
      rest.remove_prefix(whole);
    }
    if (frames->empty() || static_cast<std::int64_t>(out.list.size()) >= query.limit) break;
  }
  out.final = ended && out.next >= *size;
  return out;
}

/// One request for points; waits for some where there are none.
struct Watch : std::enable_shared_from_this<Watch> {
  Context& context;
  const Call call;
  const std::string run;
  Query query;
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> timer = 0;
  std::mutex reading;
  Hub::Listener news;

  Watch(Context& where, Call what, std::string id, Query asked)
      : context(where),
        call(std::move(what)),
        run(std::move(id)),
        query(std::move(asked)),
        news(context.hub, run) {}

  /// Asks to be woken, then looks: what happens in between is not missed.
  void start() {
    news.start([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->look(false);
    });
    look(false);
  }
  void look(bool in_any_case) {
    context.log_jobs.post([self = shared_from_this(), in_any_case] { self->read(in_any_case); });
  }
  void give_up() {
    done = true;
    leave();
  }

 private:
  void read(bool in_any_case) {
    std::lock_guard lock(reading);
    if (done) return leave();
    auto points = read_points(context, run, query);
    // What was passed over need not be read again.
    if (points && points->list.empty() && !points->final) {
      query.from = points->next;
      if (!in_any_case) return;
    }
    if (done.exchange(true)) return leave();
    leave();
    if (!points) return refuse(call, points.error());
    answer(call, {{"metrics", std::move(points->list)},
                  {"next", std::to_string(points->next)},
                  {"final", points->final}});
  }
  void leave() {
    news.stop();
    context.timer.cancel(timer);
  }
};

Result<Query> query_of(const Call& call) {
  Query query;
  query.name = call->query("name");
  for (auto& [name, out] : {std::pair("first", &query.first), std::pair("last", &query.last)}) {
    auto value = call->number(name, *out, -model::integer_limit, model::integer_limit);
    if (!value) return value.error();
    *out = *value;
  }
  auto from = call->number("from", 0, 0, INT64_MAX);
  if (!from) return from.error();
  query.from = *from;
  auto limit = call->number("limit", 1000, 1, 10'000);
  if (!limit) return limit.error();
  query.limit = *limit;
  return query;
}

}  // namespace

void list_metrics(Context& context, Call call) {
  auto run = find_run(context, call);
  if (!run) return refuse(call, run.error());
  context.log_jobs.post([&context, call, id = run->id] {
    std::map<std::string, MetricInfo> found;
    std::string name = LogStore::metrics_of(id);
    auto size = context.logs.size(name);
    if (!size) return refuse(call, size.error());
    for (std::int64_t at = 0; at < *size;) {
      auto frames = context.logs.read(name, at, *size, piece_size);
      if (!frames) return refuse(call, frames.error());
      if (frames->empty()) break;
      auto next = each_point(*frames, at, [&](Metric point) {
        auto& info = found[point.name];
        ++info.points;
        if (point.is_number() && !std::isnan(point.number())) {
          double number = point.number();
          info.least = std::min(info.least.value_or(number), number);
          info.most = std::max(info.most.value_or(number), number);
        }
        info.name = point.name;
        info.last = std::move(point);
      });
      if (!next) return refuse(call, next.error());
      at = *next;
    }
    json list = json::array();
    for (auto& [key, info] : found) list.push_back(info);
    answer(call, {{"metrics", std::move(list)}});
  });
}

void metric_points(Context& context, Call call) {
  auto query = query_of(call);
  if (!query) return refuse(call, query.error());
  auto wait = call->number("wait_ms", 0, 0, 60'000);
  if (!wait) return refuse(call, wait.error());
  auto run = find_run(context, call);
  if (!run) return refuse(call, run.error());
  auto watch = std::make_shared<Watch>(context, std::move(call), run->id, std::move(*query));
  if (*wait == 0) return watch->look(true);
  watch->timer =
      context.timer.after(std::chrono::milliseconds(*wait), [watch] { watch->look(true); });
  watch->call->reply.on_close([watch] { watch->give_up(); });
  watch->start();
}

}  // namespace spell::service
