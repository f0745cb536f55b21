// The worker's ends of two-way streams: commands inside runs, their figures, connections to ports.
// What is asked for comes over the stream itself; see model/stream.hpp. One thread for all streams,
// and a few that dial. Thread-safe.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/pool.hpp"
#include "net/relay.hpp"
#include "worker/figures.hpp"
#include "worker/gpu_figures.hpp"
#include "worker/link.hpp"

namespace spell::worker {

/// What a stream is to lead to.
struct StreamOrder {
  std::string id, kind;  ///< see model::Command
  std::string folder;    ///< the run's; "": it is not here
  std::int64_t number = 0;
  std::string gpus{};  ///< as in its CUDA_VISIBLE_DEVICES; see GpuFigures::look()
};

class Streams {
 public:
  Streams(Link& link, std::string machine, std::int64_t cores, std::int64_t memory)
      : link_(link), machine_(std::move(machine)), cores_(cores), memory_(memory) {}
  ~Streams() { stop(); }
  void open(StreamOrder, CallOptions);
  void stop();
  std::size_t size() const { return loop_.size(); }

 private:
  std::unique_ptr<net::Relayed> make_end(StreamOrder, net::MessageStream);

  Link& link_;
  const std::string machine_;
  const std::int64_t cores_, memory_;
  Figures figures_;  ///< of the loop's thread
  GpuFigures gpus_;
  base::Pool dials_{4};
  net::RelayLoop loop_;
};

}  // namespace spell::worker
