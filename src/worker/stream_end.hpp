// What the worker's ends of streams have in common: the request that comes first, the last words,
// and that the other end's end is theirs.
#pragma once
#include <string>
#include <utility>

#include "net/relay.hpp"

namespace spell::worker {

class StreamEnd : public net::Relayed {
 public:
  explicit StreamEnd(net::MessageStream stream) : stream_(std::move(stream)) {}

  void watch(std::vector<pollfd>& files) final {
    files.push_back({stream_.fd(), stream_.events(), 0});
    if (begun_ && !ending_) watch_own(files);
  }
  bool serve(std::span<const pollfd> files) final;
  std::optional<Clock::time_point> due() const final { return ending_ ? ending_ : own_due(); }

 protected:
  virtual void begin(std::string_view request) = 0;
  virtual void message(std::string_view message) = 0;
  virtual void watch_own(std::vector<pollfd>&) {}
  virtual void serve_own() {}
  virtual std::optional<Clock::time_point> own_due() const { return std::nullopt; }

  void opened() { stream_.send(model::stream_message(model::stream::opened)); }
  void fail(const Error& error) { end(model::failed_message(error)); }
  /// The last message.
  void end(const std::string& message);
  bool ending() const { return ending_.has_value(); }

  net::MessageStream stream_;

 private:
  bool begun_ = false;
  std::optional<Clock::time_point> ending_;  ///< until then the other end may take more of the rest
};

}  // namespace spell::worker
