// Serving many two-way streams on one thread: the ends that do not belong to a server.
#pragma once
#include <poll.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "model/stream.hpp"
#include "net/message_stream.hpp"

namespace spell::net {

/// Something that waits for descriptors. Called on the loop's thread only.
class Relayed {
 public:
  using Clock = std::chrono::steady_clock;
  virtual ~Relayed() = default;
  /// Appends what it waits for; an entry with the descriptor -1 is for nothing.
  virtual void watch(std::vector<pollfd>& files) = 0;
  /// `files`: its entries. False: it is over, and is destroyed.
  virtual bool serve(std::span<const pollfd> files) = 0;
  /// When it wants to be served whatever happens.
  virtual std::optional<Clock::time_point> due() const { return std::nullopt; }
};

/// The thread, which is there from the first add() on; signals are blocked in it. Thread-safe.
class RelayLoop {
 public:
  RelayLoop();
  ~RelayLoop() { stop(); }
  RelayLoop(const RelayLoop&) = delete;
  RelayLoop& operator=(const RelayLoop&) = delete;
  void add(std::unique_ptr<Relayed>);
  /// All are served once.
  void wake();
  std::size_t size() const;
  /// Destroys what is left. Not from the loop's thread.
  void stop();

 private:
  void loop();

  base::Fd wake_, waker_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Relayed>> added_;
  std::size_t size_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

/// Bytes between a stream and local descriptors, within the stream's windows.
class Relay {
 public:
  struct Source {
    base::Fd fd;
    char kind = model::stream::data;
  };
  Relay() = default;
  /// Non-blocking descriptors. `end_of_input`: written at the stream's end instead of closing
  /// `sink` (a terminal's way).
  Relay(base::Fd sink, std::vector<Source> sources, std::string end_of_input = {});

  void watch(std::vector<pollfd>& files, const MessageStream&) const;
  /// Moves what goes at once.
  void serve(MessageStream&);
  /// A message of the stream; false: its sender does not keep to the window. Kinds that are none of
  /// its business are left alone.
  bool take(std::string_view message);
  /// Nothing more will come from the sources: they are at their end, or have nothing now.
  bool drained();
  /// Both directions have ended, or nobody takes what would still come.
  bool over() const { return end_sent_ && flushed() && (sink_ended_ || !sink_); }
  /// The sources have ended, and the other end has been told.
  bool end_sent() const { return end_sent_; }
  /// The stream has ended, and the sink has all of it.
  bool sink_done() const { return sink_ended_ && flushed(); }
  /// The sink has what has come.
  bool flushed() const { return pending_.empty(); }
  /// A source has ended by an error: what it gave may not be all.
  bool cut() const { return cut_; }
  /// Closes everything so that nobody takes it for the end: a socket's other end sees a reset.
  void abandon();
  int sink() const { return sink_.get(); }

 private:
  void write();
  void read(MessageStream&);

  base::Fd sink_;
  std::vector<Source> sources_;
  std::string end_of_input_;
  std::string pending_;    ///< for the sink
  std::size_t taken_ = 0;  ///< bytes that the sink has taken and the other end does not know of
  std::int64_t allowed_ = static_cast<std::int64_t>(model::stream_window);  ///< bytes it may send
  std::int64_t credit_ = static_cast<std::int64_t>(model::stream_window);   ///< bytes we may send
  bool sink_ended_ = false, end_sent_ = false, quiet_ = false, cut_ = false;
};

}  // namespace spell::net
