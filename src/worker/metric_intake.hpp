// Metrics on their way in: each run has an HTTP endpoint on this machine's loopback
// ($SPELL_METRICS) that takes POST /user-metrics; see model/metric.hpp. What it has taken is in
// `metrics` in the run's folder, as frames of a log, before it answers, and survives this process.
// A run with a user of its own has the endpoint to itself. Thread-safe; one thread, from the first
// endpoint on.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "model/metric.hpp"
#include "net/server.hpp"

namespace spell::worker {

class MetricIntake : private net::Handler {
 public:
  static constexpr std::size_t name_limit = 10'000;  ///< names of a run
  /// Sockets that go on listening for later runs: to open one costs a short run more than all else
  /// here.
  static constexpr std::size_t spare_limit = 64;

  /// Of a run's points: bytes of the frames' payloads, and of the spool.
  struct Size {
    std::int64_t bytes = 0, spool = 0;
  };
  /// Called from the intake's thread after each answer that brought something.
  using Told = std::function<void(const std::string& run)>;
  explicit MetricIntake(Told told) : told_(std::move(told)) {}
  ~MetricIntake() override { stop(); }
  void stop();

  /// `port`: as it was before; 0: any. Returns the port, of an open endpoint too. Error of the
  /// system where it is taken; what came earlier is known then nevertheless.
  Result<int> open(const std::string& run, const std::string& folder, int port);
  /// From now on only this user's points are taken.
  void belongs_to(const std::string& run, std::uint32_t user);
  /// What has been taken of a run, open or not.
  Size size(const std::string& run) const;
  /// Takes no more. size() goes on to know the run.
  void close(const std::string& run);
  void forget(const std::string& run);

 private:
  struct Endpoint {
    std::string path;
    base::Fd spool{};  ///< made with the first point
    bool open = false;
    int port = 0;
    std::uint32_t user = 0;
    Size size{};
    std::map<std::string, std::int64_t> next{};  ///< index, by name
    std::mutex mutex{};
  };
  std::shared_ptr<Endpoint> find(const std::string& run) const;
  Result<int> listen(int port);
  Result<> load(Endpoint&) const;
  Result<> take(Endpoint&, std::vector<model::SentMetric>) const;

  Result<net::BodyRule> body_rule(const net::Request&) override;
  void handle(net::Request, net::Reply) override;
  net::Response error(const Error&, const std::string& request_id) override;

  const Told told_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Endpoint>> endpoints_;
  std::map<std::string, std::string> runs_;  ///< by the name of the door, which is its port
  std::vector<int> spare_;                   ///< ports that listen for no run
  std::unique_ptr<net::Server> server_;
  bool stopped_ = false;
};

}  // namespace spell::worker
