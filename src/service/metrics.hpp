// Figures for Prometheus. Requests are counted here as they are answered; the rest is read when it
// is asked for. Thread-safe, without locks.
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "model/routes.hpp"

namespace spell::service {

struct Context;

class Metrics {
 public:
  /// Upper ends of the histogram's buckets, in seconds; the last bucket has none.
  static constexpr std::array<double, 13> bounds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                 0.1,    0.25,  0.5,    1,     2.5,  10};

  /// `waits`: the answer came when something happened, not as soon as it could: it is counted, but
  /// says nothing of how quick the service is.
  void answered(model::Route route, int status, std::chrono::microseconds took, bool waits);
  /// Of requests that reach no route.
  void refused() { ++refused_; }
  /// What answered() has counted, as Prometheus reads it.
  std::string requests() const;

 private:
  struct Counts {
    std::array<std::atomic<std::uint64_t>, 5> by_class{};  ///< 1xx … 5xx
    std::array<std::atomic<std::uint64_t>, bounds.size() + 1> buckets{};
    std::atomic<std::uint64_t> sum_us = 0;
  };
  static constexpr std::size_t most_routes = 256;
  std::array<Counts, most_routes> routes_{};
  std::atomic<std::uint64_t> refused_ = 0;
};

/// All figures: runs by status, queue, machines, storage, disk, requests, this process.
std::string all_metrics(Context&);

}  // namespace spell::service
