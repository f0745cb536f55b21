#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "exec/spool.hpp"
#include "spell/json.hpp"
#include "worker/run_ends.hpp"
#include "worker/stream_end.hpp"

namespace spell::worker {

namespace stream = model::stream;

namespace {

class StatsEnd : public StreamEnd {
 public:
  StatsEnd(net::MessageStream s, StreamOrder order, StreamHost host, Figures& figures,
           GpuFigures& gpus)
      : StreamEnd(std::move(s)),
        order_(std::move(order)),
        host_(std::move(host)),
        figures_(figures),
        gpus_(gpus) {}

 private:
  static constexpr std::chrono::milliseconds first_interval{250};

  void begin(std::string_view text) override {
    auto request = model::parse_stats_request(text);
    if (!request) return fail(request.error());
    auto lock = exec::read_lock(order_.folder);
    if (!order_.supervisor || !lock || !lock->held || lock->init == 0)
      return fail(not_running(order_));
    init_ = lock->init;
    interval_ = std::chrono::milliseconds(request->interval_ms);
    before_at_ = Clock::now();
    before_ = figures_.look(init_, before_at_);
    traffic_before_ = figures_.traffic();
    next_ = before_at_ + std::min(first_interval, interval_);
    gpus_since_ = before_at_ - GpuFigures::between;
    ask_gpus(before_at_);
    opened();
  }

  void ask_gpus(Clock::time_point now) {
    if (!order_.gpus.empty()) gpus_.ask(now);
  }

  void message(std::string_view) override {}

  void watch_own(std::vector<pollfd>& files) override {
    files.push_back({order_.supervisor.get(), 0, 0});  // the run's end
  }

  /// Who waits for the GPUs' first figures is woken by them.
  std::optional<Clock::time_point> own_due() const override {
    return init_ == 0 || waits_for_gpus_ ? std::nullopt : std::optional(next_);
  }

  void serve_own() override {
    auto now = Clock::now();
    if (is_over(order_.supervisor)) return run_ended();
    if (init_ == 0 || now < next_) return;
    std::optional<std::vector<GpuStats>> gpus;
    if (order_.gpus.empty())
      gpus.emplace();
    else
      gpus = gpus_.look(order_.gpus, gpus_since_);
    waits_for_gpus_ = !gpus;
    ask_gpus(now);
    if (!gpus) return;
    next_ = now + interval_;
    auto stats = figures_.look(init_, now);
    if (stats.processes == 0) return run_ended();
    // Who does not read misses samples: the next one is newer.
    if (stream_.queued() > 0) return;
    auto traffic = figures_.traffic();
    auto elapsed = std::max<std::int64_t>(
        1, std::chrono::duration_cast<std::chrono::milliseconds>(now - before_at_).count());
    auto rate = [&](std::int64_t after, std::int64_t before) {
      return std::max<std::int64_t>(0, after - before) * 1000 / elapsed;
    };
    stats.run = order_.number;
    stats.cores = host_.cores;
    stats.memory_total = host_.memory;
    stats.cpu_millis = rate(stats.cpu_time_ms, before_.cpu_time_ms);
    stats.disk_read_rate = rate(stats.disk_read, before_.disk_read);
    stats.disk_written_rate = rate(stats.disk_written, before_.disk_written);
    stats.network_received_rate = rate(traffic.received, traffic_before_.received);
    stats.network_sent_rate = rate(traffic.sent, traffic_before_.sent);
    stats.gpus = std::move(*gpus);
    if (order_.unsaved) {
      auto left = order_.unsaved();
      stats.unsaved = left.bytes;
      if (left.since_us > 0)
        stats.unsaved_age_ms =
            std::max<std::int64_t>(0, base::boot_ns() / 1000 - left.since_us) / 1000;
    }
    before_ = stats;
    before_at_ = now;
    traffic_before_ = traffic;
    stream_.send(model::stream_message(stream::sample, nlohmann::json(stats).dump()));
  }

  void run_ended() {
    fail(base::error("run_ended", "run " + std::to_string(order_.number) + " has ended"));
  }

  StreamOrder order_;
  const StreamHost host_;
  Figures& figures_;
  GpuFigures& gpus_;
  int init_ = 0;
  std::chrono::milliseconds interval_{};
  Clock::time_point next_{}, before_at_{}, gpus_since_{};
  bool waits_for_gpus_ = false;
  RunStats before_;
  Traffic traffic_before_;
};

}  // namespace

std::unique_ptr<net::Relayed> make_stats_end(net::MessageStream opened, StreamOrder order,
                                             const StreamHost& host, Figures& figures,
                                             GpuFigures& gpus) {
  return std::make_unique<StatsEnd>(std::move(opened), std::move(order), host, figures, gpus);
}

}  // namespace spell::worker
