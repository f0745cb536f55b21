// Reads a run's log as one stream: its output and, at their places, its events; from a cursor on,
// and on while it grows.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "model/log.hpp"
#include "net/server.hpp"
#include "service/hub.hpp"
#include "service/log_store.hpp"
#include "service/readers.hpp"

namespace spell::service {

enum class LogFormat { frames, text, jsonl, sse };

struct LogQuery {
  std::string run;  ///< id
  std::int64_t number = 0;
  model::LogCursor from{};
  LogFormat format = LogFormat::frames;
  bool follow = false, output_only = false;
};

/// Frames into another form; keeps what it needs from piece to piece.
class LogFormatter {
 public:
  LogFormatter(LogFormat format, std::int64_t run, model::LogCursor from)
      : format_(format), run_(run), cursor_(from) {}
  Result<std::string> feed(std::string frames);

 private:
  LogFormat format_;
  std::int64_t run_;
  model::LogCursor cursor_;
  std::string status_ = "machine_requested";
};

class LogReader : public net::BodySource, public std::enable_shared_from_this<LogReader> {
 public:
  LogReader(Readers& readers, LogStore& logs, Hub& hub, LogQuery query);
  ~LogReader() override;
  void pull(std::function<void(Result<std::string>)> done) override;
  void cancel() override;

 private:
  /// What can be read now; "" and `ended_` at the end, "" alone when there is nothing yet.
  Result<std::string> read();
  void look();

  Readers& readers_;
  LogStore& logs_;
  const LogQuery query_;
  Hub::Listener news_;
  model::LogCursor cursor_;
  LogFormatter formatter_;
  bool ended_ = false;
  std::mutex mutex_;
  std::function<void(Result<std::string>)> waiting_;
};

}  // namespace spell::service
