#include "worker/stream_end.hpp"

#include "base/error.hpp"

namespace spell::worker {

namespace {
constexpr std::chrono::seconds last_words{5};
}

bool StreamEnd::serve(std::span<const pollfd>) {
  auto waiting = stream_.queued();
  auto served = stream_.serve();
  while (auto text = stream_.next()) {
    if (ending_ || text->empty()) continue;
    if (begun_) {
      message(*text);
    } else if (text->front() == model::stream::request) {
      begun_ = true;
      begin(std::string_view(*text).substr(1));
    } else {
      fail(base::error("invalid_stream", "a stream begins with what is asked for"));
    }
  }
  if (!served) return false;
  if (begun_ && !ending_) serve_own();
  (void)stream_.flush();  // of a failure the next round tells
  if (!ending_) return true;
  // Who takes the last words slowly gets them all.
  if (stream_.queued() < waiting) ending_ = Clock::now() + last_words;
  return Clock::now() < *ending_;
}

void StreamEnd::end(const std::string& message) {
  if (ending_) return;
  stream_.send(message);
  stream_.finish();
  ending_ = Clock::now() + last_words;
}

}  // namespace spell::worker
