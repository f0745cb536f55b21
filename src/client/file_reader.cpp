#include "client/file_reader.hpp"

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::detail {

namespace {

constexpr std::int64_t first_window = 1 << 20;

/// "bytes 100-199/200"
struct ContentRange {
  std::int64_t from = -1, size = -1;
};
ContentRange parse_content_range(std::string_view text) {
  constexpr std::string_view unit = "bytes ";
  auto dash = text.find('-'), slash = text.find('/');
  if (!text.starts_with(unit) || dash == text.npos || slash == text.npos || slash < dash) return {};
  auto from = base::parse_int(text.substr(unit.size(), dash - unit.size()));
  auto size = base::parse_int(text.substr(slash + 1));
  if (!from || !size) return {};
  return {*from, *size};
}

}  // namespace

void FileReader::seek(std::int64_t offset) {
  if (offset == offset_) return;
  offset_ = offset;
  window_ = first_window;
  body_.reset();
}

Result<std::int64_t> FileReader::size(const Limit& limit) {
  Recovery recovery(connection_, limit);
  while (!size_)
    if (auto asked = ask(limit, recovery); !asked) SPELL_TRY(recovery.after(asked.error()));
  return *size_;
}

Result<std::size_t> FileReader::read(char* buffer, std::size_t size, const Limit& limit) {
  Recovery recovery(connection_, limit);
  for (;;) {
    if (size == 0 || (size_ && offset_ >= *size_)) return std::size_t(0);
    auto n = attempt(buffer, size, limit, recovery);
    if (n) return n;
    if (n.error().code() == "canceled" || n.error().code() == "timeout") return n;
    body_.reset();
    SPELL_TRY(recovery.after(n.error()));
  }
}

Result<std::size_t> FileReader::attempt(char* buffer, std::size_t size, const Limit& limit,
                                        Recovery& recovery) {
  for (;;) {
    if (!body_) SPELL_TRY(ask(limit, recovery));
    if (!body_ || offset_ >= *size_) return std::size_t(0);
    auto left = limit.left();
    if (!left) return left.error();
    auto n = body_->read(buffer, size, *left);
    if (!n) return n;
    if (*n == 0) return base::error("connection_lost", path_ + " came short");
    std::int64_t from = body_at_;
    body_at_ += static_cast<std::int64_t>(*n);
    if (body_at_ > body_end_)
      return base::error("invalid_answer", "the service sent more of " + path_ + " than there is");
    // Of an answer that began at the start again.
    if (body_at_ <= offset_) {
      leave_at_end(limit);
      continue;
    }
    auto skip = static_cast<std::size_t>(offset_ - from);
    std::copy(buffer + skip, buffer + *n, buffer);
    offset_ = body_at_;
    leave_at_end(limit);
    return *n - skip;
  }
}

Result<> FileReader::ask(const Limit& limit, Recovery& recovery) {
  Call call{.route = model::Route::read_file, .names = {path_}};
  if (offset_ > 0) {
    std::string range = "bytes=" + std::to_string(offset_) + "-";
    if (window_ < INT64_MAX - offset_) range += std::to_string(offset_ + window_ - 1);
    call.headers.emplace_back("Range", range);
    window_ = window_ < INT64_MAX / 4 ? window_ * 4 : INT64_MAX;
  }
  auto body = connection_.open(call, limit, recovery);
  if (!body) {
    // Behind the end there is nothing; how far away that is, a range from the start tells.
    if (body.error().code() != "range_not_satisfiable" || size_) return body.error();
    std::int64_t wanted = std::exchange(offset_, 0);
    auto asked = ask(limit, recovery);
    offset_ = wanted;
    return asked;
  }
  SPELL_TRY(look_at((*body)->headers(), (*body)->status()));
  body_ = std::move(*body);
  leave_at_end(limit);
  return ok();
}

/// An answer that was read to its end sets its connection free.
void FileReader::leave_at_end(const Limit& limit) {
  if (body_at_ < body_end_) return;
  char more = 0;
  if (auto left = limit.left()) (void)body_->read(&more, 1, *left);
  body_.reset();
}

Result<> FileReader::look_at(const net::Headers& headers, int status) {
  std::string tag(net::find_header(headers, "ETag"));
  if (!tag_.empty() && tag != tag_)
    return base::error("resource_changed", path_ + " became another file while it was read");
  tag_ = tag;
  auto length = base::parse_int(net::find_header(headers, "Content-Length"));
  ContentRange range{0, length.value_or(-1)};
  if (status == 206) range = parse_content_range(net::find_header(headers, "Content-Range"));
  if (range.size < 0 || (range.from != 0 && range.from != offset_) ||
      (size_ && *size_ != range.size))
    return base::error("invalid_answer",
                       "the service does not say which part of " + path_ + " it sends");
  size_ = range.size;
  body_at_ = range.from;
  body_end_ = status == 206 && length ? range.from + *length : range.size;
  return ok();
}

Result<> read_resource(Connection& connection, const std::string& path,
                       const std::function<Result<>(std::string_view)>& sink, const Limit& limit,
                       const std::function<Result<>(std::int64_t size)>& announced) {
  FileReader reader(connection, path);
  if (announced) {
    auto size = reader.size(limit);
    if (!size) return size.error();
    SPELL_TRY(announced(*size));
  }
  std::vector<char> buffer(256 * 1024);
  for (;;) {
    auto n = reader.read(buffer.data(), buffer.size(), limit);
    if (!n) return n.error();
    if (*n == 0) return ok();
    SPELL_TRY(sink({buffer.data(), *n}));
  }
}

}  // namespace spell::detail
