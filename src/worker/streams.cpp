#include "worker/streams.hpp"

#include <utility>

#include "base/error.hpp"
#include "worker/stream_end.hpp"

namespace spell::worker {

namespace {

class UnknownEnd : public StreamEnd {
 public:
  UnknownEnd(net::MessageStream s, std::string kind)
      : StreamEnd(std::move(s)), kind_(std::move(kind)) {}

 private:
  void begin(std::string_view) override {
    fail(base::error("not_available", "the machine's worker is older and does not know '" + kind_ +
                                          "': upgrade it"));
  }
  void message(std::string_view) override {}
  std::string kind_;
};

}  // namespace

std::unique_ptr<net::Relayed> Streams::make_end(StreamOrder order, net::MessageStream opened) {
  if (order.kind == "exec") return make_exec_end(std::move(opened), std::move(order));
  if (order.kind == "forward") return make_forward_end(std::move(opened), std::move(order), host_);
  if (order.kind == "stats")
    return make_stats_end(std::move(opened), std::move(order), host_, figures_, gpus_);
  return std::make_unique<UnknownEnd>(std::move(opened), order.kind);
}

void Streams::open(StreamOrder order, CallOptions options) {
  auto shared = std::make_shared<StreamOrder>(std::move(order));
  dials_.post([this, shared, options]() mutable {
    // Whoever asked may have gone meanwhile; a service that cannot be reached has forgotten it.
    auto opened = link_.open_stream(shared->id, options);
    if (opened) loop_.add(make_end(std::move(*shared), std::move(*opened)));
  });
}

void Streams::stop() {
  dials_.stop();
  loop_.stop();
  gpus_.stop();
}

}  // namespace spell::worker
