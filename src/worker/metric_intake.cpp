#include "worker/metric_intake.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "model/log.hpp"
#include "net/socket.hpp"
#include "worker/loopback_user.hpp"

namespace spell::worker {

namespace {

constexpr std::int64_t body_limit = 256 << 10;  // what comes of it fits a frame

int status_of(const Error& error) {
  static const std::map<std::string, int> statuses{{"invalid_metric", 400}, {"not_permitted", 403},
                                                   {"not_found", 404},      {"too_large", 413},
                                                   {"run_ended", 410},      {"disk_full", 507}};
  auto found = statuses.find(error.code());
  return found == statuses.end() ? 500 : found->second;
}

}  // namespace

void MetricIntake::stop() {
  std::unique_ptr<net::Server> server;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    server = std::move(server_);
  }
  if (server) server->stop(0);
}

std::shared_ptr<MetricIntake::Endpoint> MetricIntake::find(const std::string& run) const {
  std::lock_guard lock(mutex_);
  auto found = endpoints_.find(run);
  return found == endpoints_.end() ? nullptr : found->second;
}

Result<int> MetricIntake::open(const std::string& run, const std::string& folder, int port) {
  auto endpoint = find(run);
  if (endpoint) {
    std::lock_guard lock(endpoint->mutex);
    if (endpoint->open) return endpoint->port;
  } else {
    endpoint = std::make_shared<Endpoint>();
    endpoint->path = folder + "/metrics";
    SPELL_TRY(load(*endpoint));
    std::lock_guard lock(mutex_);
    endpoints_[run] = endpoint;
  }
  std::lock_guard all(mutex_);
  auto where = listen(port);
  if (!where) return where;
  runs_[std::to_string(*where)] = run;
  std::lock_guard lock(endpoint->mutex);
  endpoint->open = true;
  endpoint->port = *where;
  return where;
}

/// With mutex_ held.
Result<int> MetricIntake::listen(int port) {
  if (stopped_) return base::error("canceled", "the worker ends");
  if (port == 0 && !spare_.empty()) {
    port = spare_.back();
    spare_.pop_back();
    return port;
  }
  auto listening = net::listen_tcp("127.0.0.1:" + std::to_string(port));
  if (!listening) return listening.error();
  port = net::local_port(listening->get());
  if (!server_) {
    auto server = net::Server::start({}, *this);
    if (!server) return server.error();
    server_ = std::move(*server);
  }
  server_->open_door(std::move(*listening), std::to_string(port));
  return port;
}

void MetricIntake::belongs_to(const std::string& run, std::uint32_t user) {
  if (auto endpoint = find(run)) {
    std::lock_guard lock(endpoint->mutex);
    endpoint->user = user;
  }
}

MetricIntake::Size MetricIntake::size(const std::string& run) const {
  auto endpoint = find(run);
  if (!endpoint) return {};
  std::lock_guard lock(endpoint->mutex);
  return endpoint->size;
}

void MetricIntake::close(const std::string& run) {
  auto endpoint = find(run);
  if (!endpoint) return;
  std::lock_guard all(mutex_);
  std::lock_guard lock(endpoint->mutex);
  if (!endpoint->open) return;
  endpoint->open = false;
  std::string door = std::to_string(endpoint->port);
  runs_.erase(door);
  if (spare_.size() < spare_limit)
    spare_.push_back(endpoint->port);
  else if (server_)
    server_->close_door(door);
}

void MetricIntake::forget(const std::string& run) {
  close(run);
  std::lock_guard lock(mutex_);
  endpoints_.erase(run);
}

/// What an earlier worker has taken. A frame that was cut short was not answered: it goes.
Result<> MetricIntake::load(Endpoint& endpoint) const {
  auto spool = base::open(endpoint.path, O_RDWR | O_APPEND);
  if (!spool) return spool.error().code() == "not_found" ? ok() : Result<>(spool.error());
  std::string payload;
  for (char head[model::frame_header_size];;) {
    auto n = base::pread_full(spool->get(), head, sizeof head, endpoint.size.spool);
    if (!n) return n.error();
    auto header = model::parse_frame_header({head, *n});
    if (!header) break;
    payload.resize(header->size);
    n = base::pread_full(spool->get(), payload.data(), payload.size(),
                         endpoint.size.spool + static_cast<std::int64_t>(sizeof head));
    if (!n) return n.error();
    if (*n < payload.size()) break;
    for (std::string_view lines = payload; !lines.empty();) {
      auto end = std::min(lines.find('\n'), lines.size() - 1) + 1;
      if (auto point = model::parse_metric_line(lines.substr(0, end)))
        endpoint.next[point->name] = point->index + 1;
      lines.remove_prefix(end);
    }
    endpoint.size.bytes += header->size;
    endpoint.size.spool += static_cast<std::int64_t>(sizeof head) + header->size;
  }
  if (::ftruncate(spool->get(), static_cast<off_t>(endpoint.size.spool)) != 0)
    return base::errno_error("truncate " + endpoint.path);
  endpoint.spool = std::move(*spool);
  return ok();
}

Result<> MetricIntake::take(Endpoint& endpoint, std::vector<model::SentMetric> points) const {
  std::lock_guard lock(endpoint.mutex);
  if (!endpoint.open)
    return base::error("run_ended", "the run has ended: it takes no more metrics");
  std::string payload;
  std::map<std::string, std::int64_t> next;  // of those names that come
  std::size_t names = endpoint.next.size();
  for (auto& point : points) {
    Metric metric;
    metric.name = std::move(point.name);
    metric.value = std::move(point.value);
    auto [following, first] = next.try_emplace(metric.name, 0);
    if (auto known = endpoint.next.find(metric.name); first && known == endpoint.next.end())
      ++names;
    else if (first)
      following->second = known->second;
    metric.index = point.index.value_or(following->second);
    following->second = metric.index + 1;
    payload += model::metric_line(metric);
  }
  if (names > name_limit)
    return base::error("invalid_metric", "the run has metrics of " + std::to_string(name_limit) +
                                             " names already, which is all that is kept");
  if (endpoint.size.bytes + static_cast<std::int64_t>(payload.size()) > model::metrics_limit)
    return base::error("invalid_metric",
                       "the run has sent 1 GiB of metrics already, which is all that is kept");
  if (payload.empty()) return ok();
  if (!endpoint.spool) {
    auto spool = base::open(endpoint.path, O_RDWR | O_APPEND | O_CREAT, 0600);
    if (!spool) return spool.error();
    endpoint.spool = std::move(*spool);
  }
  std::string frame;
  model::FrameHeader header;
  header.sequence = static_cast<std::uint64_t>(endpoint.size.bytes);
  header.time_us = base::boot_ns() / 1000;
  model::append_frame(frame, header, payload);
  if (auto written = base::write_all(endpoint.spool.get(), frame); !written) {
    (void)!::ftruncate(endpoint.spool.get(), static_cast<off_t>(endpoint.size.spool));
    return written;
  }
  endpoint.size.bytes += static_cast<std::int64_t>(payload.size());
  endpoint.size.spool += static_cast<std::int64_t>(frame.size());
  for (auto& [name, index] : next) endpoint.next[name] = index;
  return ok();
}

Result<net::BodyRule> MetricIntake::body_rule(const net::Request&) {
  return net::BodyRule{body_limit, false};
}

void MetricIntake::handle(net::Request request, net::Reply reply) {
  auto refuse = [&](const Error& why) { reply.send(error(why, request.id)); };
  std::string run;
  {
    std::lock_guard lock(mutex_);
    if (auto found = runs_.find(request.door); found != runs_.end()) run = found->second;
  }
  auto endpoint = find(run);
  if (!endpoint)
    return refuse(base::error("run_ended", "the run has ended: it takes no more metrics"));
  if (request.method != "POST" || request.raw_target != "/user-metrics")
    return refuse(base::error("not_found", "there is POST /user-metrics, and nothing else"));
  std::uint32_t user = 0;
  {
    std::lock_guard lock(endpoint->mutex);
    user = endpoint->user;
  }
  if (user != 0 && loopback_user(request.peer_port, endpoint->port) != user)
    return refuse(base::error("not_permitted", "this is another run's"));
  auto points = model::parse_sent_metrics(request.body);
  if (!points) return refuse(points.error());
  if (auto taken = take(*endpoint, std::move(*points)); !taken) return refuse(taken.error());
  net::Response done;
  done.body = "{}";
  reply.send(std::move(done));
  told_(run);
}

net::Response MetricIntake::error(const Error& error, const std::string& request_id) {
  nlohmann::json body{
      {"error",
       {{"code", error.code()}, {"message", error.message()}, {"request_id", request_id}}}};
  net::Response response;
  response.status = status_of(error);
  response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return response;
}

}  // namespace spell::worker
