// The worker's ends of two-way streams: dials them, and has them served. One thread for all
// streams, and a few that dial. Thread-safe.
#pragma once
#include <string>

#include "base/pool.hpp"
#include "net/relay.hpp"
#include "worker/figures.hpp"
#include "worker/gpu_figures.hpp"
#include "worker/link.hpp"
#include "worker/run_ends.hpp"

namespace spell::worker {

class Streams {
 public:
  /// `nvidia_smi`: see read_gpus().
  Streams(Link& link, StreamHost host, const std::string& nvidia_smi)
      : link_(link), host_(std::move(host)), gpus_(nvidia_smi, [this] { loop_.wake(); }) {}
  ~Streams() { stop(); }
  void open(StreamOrder, CallOptions);
  void stop();
  std::size_t size() const { return loop_.size(); }

 private:
  std::unique_ptr<net::Relayed> make_end(StreamOrder, net::MessageStream);

  Link& link_;
  const StreamHost host_;
  Figures figures_;  ///< of the loop's thread
  GpuFigures gpus_;
  base::Pool dials_{4};
  net::RelayLoop loop_;
};

}  // namespace spell::worker
