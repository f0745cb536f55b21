#include "service/log_reader.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "model/status.hpp"

namespace spell::service {

namespace {
constexpr std::size_t piece_size = 512 << 10;
}

Result<std::string> LogFormatter::feed(std::string frames) {
  if (format_ == LogFormat::frames) return frames;
  std::string out;
  model::FrameParser parser;
  parser.feed(frames);
  for (;;) {
    auto next = parser.next();
    if (!next) return next.error();
    if (!*next) return out;
    auto& frame = **next;
    bool output = frame.header.kind == model::FrameKind::output;
    std::string_view text = frame.payload;
    if (output) {
      cursor_.bytes = static_cast<std::int64_t>(frame.header.sequence) +
                      static_cast<std::int64_t>(frame.payload.size());
    } else {
      auto zero = text.find('\0');
      status_ = std::string(text.substr(0, zero));
      text.remove_prefix(std::min(text.size(), zero + 1));
      cursor_.entries = static_cast<std::int64_t>(frame.header.sequence);
    }
    if (format_ == LogFormat::text) {
      out += text;
      if (!output) out += '\n';
      continue;
    }
    bool step = frame.header.kind == model::FrameKind::status;
    nlohmann::json entry{{"kind", output ? "output"
                                  : step ? "status"
                                         : "system"},
                         {"run", run_},
                         {"status", output && status_ == "machine_requested" ? "running" : status_},
                         {"timestamp", base::rfc3339(frame.header.time_us)},
                         {"level", "info"},
                         {"status_event", step},
                         {"important", (frame.header.flags & model::frame_important) != 0},
                         {"stderr", output && (frame.header.flags & model::frame_stderr) != 0},
                         {"log", base::to_utf8(text)}};
    if (format_ == LogFormat::sse) out += "id: " + cursor_.text() + "\ndata: ";
    out += entry.dump();
    out += format_ == LogFormat::sse ? "\n\n" : "\n";
  }
}

LogReader::LogReader(Readers& readers, LogStore& logs, Hub& hub, LogQuery query)
    : readers_(readers),
      logs_(logs),
      query_(std::move(query)),
      news_(hub, query_.run),
      cursor_(query_.from),
      formatter_(query_.format, query_.number, query_.from) {}

LogReader::~LogReader() = default;

Result<std::string> LogReader::read() {
  // The order of these three reads is what makes the end sure: a run that is final here has all its
  // events and output.
  auto run = readers_.with([&](store::Reader& reader) { return reader.find_run(query_.run); });
  if (!run) return run.error();
  if (!*run) {
    ended_ = true;
    return std::string();
  }
  auto events = readers_.with(
      [&](store::Reader& reader) { return reader.events(query_.run, cursor_.entries, 200); });
  if (!events) return events.error();
  auto size = logs_.size(query_.run);
  if (!size) return size.error();
  // Output may be here before its worker has said "running"; it is shown after that.
  if ((*run)->started_us == 0 && !model::is_final((*run)->status)) size = 0;

  std::string out;
  std::size_t next = 0;
  const auto before = cursor_;
  while (out.size() < piece_size) {
    if (next < events->size() && (*events)[next].log_offset <= cursor_.bytes) {
      auto& event = (*events)[next++];
      cursor_.entries = event.number;
      if (query_.output_only) continue;
      model::FrameHeader header;
      header.kind = event.step ? model::FrameKind::status : model::FrameKind::system;
      header.flags = event.important ? model::frame_important : 0;
      header.sequence = static_cast<std::uint64_t>(event.number);
      header.time_us = event.time_us;
      std::string payload = event.status;
      payload += '\0';
      payload += event.text;
      model::append_frame(out, header, payload);
      continue;
    }
    std::int64_t until =
        next < events->size() ? std::min((*events)[next].log_offset, *size) : *size;
    if (cursor_.bytes >= until) break;
    auto frames = logs_.read(query_.run, cursor_.bytes, until, piece_size);
    if (!frames && out.empty()) return frames.error();
    if (!frames || frames->empty()) break;  // an error is told with the next piece
    // The last frame tells how far this went.
    std::int64_t end = cursor_.bytes;
    for (std::size_t at = 0; at + model::frame_header_size <= frames->size();) {
      auto header =
          model::parse_frame_header(std::string_view(*frames).substr(at, model::frame_header_size));
      if (!header) return header.error();
      end = static_cast<std::int64_t>(header->sequence) + header->size;
      at += model::frame_header_size + header->size;
    }
    cursor_.bytes = end;
    out += *frames;
  }
  // An event may stand behind output that has not arrived: who does not follow gets what is there.
  bool stuck = out.empty() && cursor_.entries == before.entries && cursor_.bytes == before.bytes;
  if (stuck && (!query_.follow || model::is_final((*run)->status))) ended_ = true;
  return formatter_.feed(std::move(out));
}

void LogReader::pull(std::function<void(Result<std::string>)> done) {
  {
    std::lock_guard lock(mutex_);
    waiting_ = std::move(done);
  }
  if (query_.follow)
    news_.start([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->look();
    });
  look();
}

void LogReader::look() {
  std::function<void(Result<std::string>)> done;
  Result<std::string> piece = std::string();
  {
    std::lock_guard lock(mutex_);
    if (!waiting_) return;
    // What gave nothing to show may have been passed over: only who stands still has to wait.
    model::LogCursor before;
    do {
      before = cursor_;
      piece = read();
    } while (piece && piece->empty() && !ended_ &&
             (cursor_.entries != before.entries || cursor_.bytes != before.bytes));
    if (!piece || !piece->empty() || ended_) done = std::exchange(waiting_, nullptr);
    if (!piece || ended_) news_.stop();
  }
  if (done) done(std::move(piece));
}

void LogReader::cancel() {
  std::lock_guard lock(mutex_);
  waiting_ = nullptr;
  news_.stop();
}

}  // namespace spell::service
