#include "client/file_reader.hpp"

#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::detail {

namespace {

class Reading {
 public:
  Reading(Connection& connection, const std::string& path,
          const std::function<Result<>(std::string_view)>& sink,
          const std::function<Result<>(std::int64_t)>& announced, const Limit& limit)
      : connection_(connection),
        path_(path),
        sink_(sink),
        announced_(announced),
        limit_(limit),
        recovery_(connection, limit),
        buffer_(256 * 1024) {}

  Result<> all() {
    for (;;) {
      auto ended = one_answer();
      if (ended) return ok();
      if (sink_failed_) return ended;
      SPELL_TRY(recovery_.after(ended.error()));
    }
  }

 private:
  /// Reads one answer to its end.
  Result<> one_answer() {
    Call call{.route = model::Route::read_file, .names = {path_}};
    if (done_ > 0) call.headers.emplace_back("Range", "bytes=" + std::to_string(done_) + "-");
    auto body = connection_.open(call, limit_);
    if (!body) return body.error();
    auto& headers = (*body)->headers();
    std::string tag(net::find_header(headers, "ETag"));
    bool partial = (*body)->status() == 206;
    if (done_ == 0) {
      tag_ = tag;
      auto size = base::parse_int(net::find_header(headers, "Content-Length"));
      if (size && announced_) {
        if (auto heard = announced_(*size); !heard) return sink_failed_ = true, heard;
      }
    } else if (tag != tag_ || (partial && !begins_at(net::find_header(headers, "Content-Range")))) {
      return base::error("resource_changed", path_ + " became another file while it was read");
    }
    std::int64_t skip = partial ? 0 : done_;  // of an answer that begins at the start again
    for (;;) {
      auto left = limit_.left();
      if (!left) return left.error();
      auto size = (*body)->read(buffer_.data(), buffer_.size(), *left);
      if (!size) return size.error();
      if (*size == 0) return ok();
      recovery_.reset();
      std::string_view piece(buffer_.data(), *size);
      auto seen = std::min<std::int64_t>(skip, static_cast<std::int64_t>(piece.size()));
      skip -= seen;
      piece.remove_prefix(static_cast<std::size_t>(seen));
      if (piece.empty()) continue;
      if (auto taken = sink_(piece); !taken) return sink_failed_ = true, taken;
      done_ += static_cast<std::int64_t>(piece.size());
    }
  }

  /// "bytes 100-199/200"
  bool begins_at(std::string_view range) const {
    return range.starts_with("bytes " + std::to_string(done_) + "-");
  }

  Connection& connection_;
  const std::string& path_;
  const std::function<Result<>(std::string_view)>& sink_;
  const std::function<Result<>(std::int64_t)>& announced_;
  const Limit& limit_;
  Recovery recovery_;
  std::vector<char> buffer_;
  std::string tag_;
  std::int64_t done_ = 0;
  bool sink_failed_ = false;
};

}  // namespace

Result<> read_resource(Connection& connection, const std::string& path,
                       const std::function<Result<>(std::string_view)>& sink, const Limit& limit,
                       const std::function<Result<>(std::int64_t size)>& announced) {
  return Reading(connection, path, sink, announced, limit).all();
}

}  // namespace spell::detail
