#include "worker/build_output.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "model/log.hpp"

namespace spell::worker {

namespace {
constexpr std::size_t longest_line = 4000, kept = 20;
}

void BuildOutput::end_line(std::vector<std::string>& lines) {
  // Of a progress bar what was shown last.
  while (line_.ends_with('\r')) line_.pop_back();
  if (auto cr = line_.rfind('\r'); cr != line_.npos) line_.erase(0, cr + 1);
  std::replace(line_.begin(), line_.end(), '\0', ' ');  // no text of the protocol has any
  std::string line = base::to_utf8(line_);
  line_.clear();
  if (base::trim(line).empty()) return;
  last_.push_back(line);
  if (last_.size() > kept) last_.pop_front();
  lines.push_back(std::move(line));
}

void BuildOutput::take(std::string_view bytes) {
  std::vector<std::string> lines;
  for (char c : bytes) {
    if (c == '\n')
      end_line(lines);
    else if (line_.size() < longest_line || c == '\r')
      line_ += c;
  }
  if (line_.size() > 4 * longest_line) line_.clear();  // of carriage returns alone
  if (!lines.empty()) say_(lines);
}

void BuildOutput::read(std::int64_t spool_end) {
  for (;;) {
    auto before = read_;
    auto shipped = spool_.ship(spool_end, [&](std::int64_t offset, std::string frames) {
      model::FrameParser parser;
      parser.feed(frames);
      for (;;) {
        auto frame = parser.next();
        if (!frame || !*frame) break;
        take((**frame).payload);
        offset += static_cast<std::int64_t>((**frame).payload.size());
      }
      read_ = std::max(read_, offset);
      return Result<std::int64_t>(read_);
    });
    if (!shipped || read_ == before) return;
  }
}

void BuildOutput::finish() {
  if (!line_.empty()) take("\n");
}

}  // namespace spell::worker
