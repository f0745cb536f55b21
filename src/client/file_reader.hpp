// The bytes of a stored file, from any place on, over lost connections: what is missing is asked
// for as a range.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "client/connection.hpp"

namespace spell::detail {

/// One open file. Nothing is asked before the first read. Not thread-safe.
class FileReader {
 public:
  /// `tag`: the version that is meant, see tag(); "": the one that is there at the first read.
  FileReader(Connection& connection, std::string path, std::string tag = {})
      : connection_(connection), path_(std::move(path)), tag_(std::move(tag)) {}

  /// At least one byte, at most `size`; 0 at the end of the file. Error `resource_changed` when the
  /// file is another version than before.
  Result<std::size_t> read(char* buffer, std::size_t size, const Limit&);
  /// Before the first read: all from here on is going to be read.
  void begin_at(std::int64_t offset) { offset_ = offset; }
  /// Where the next read begins; beyond the end it finds nothing.
  void seek(std::int64_t offset);
  std::int64_t offset() const { return offset_; }
  /// Asks, if it is not known yet.
  Result<std::int64_t> size(const Limit&);
  /// Names the version: "" before the first read.
  const std::string& tag() const { return tag_; }

 private:
  Result<> ask(const Limit&, Recovery&);
  void leave_at_end(const Limit&);
  Result<> look_at(const net::Headers&, int status);
  Result<std::size_t> attempt(char* buffer, std::size_t size, const Limit&, Recovery&);

  Connection& connection_;
  std::string path_, tag_;
  std::optional<std::int64_t> size_;
  std::int64_t offset_ = 0;
  std::unique_ptr<Body> body_;
  std::int64_t body_at_ = 0, body_end_ = 0;  ///< place in the file of the answer's next byte
  /// Bytes to ask for. Unlimited for who reads from the start; who jumps may jump again, and an
  /// answer that is not read to its end costs the connection.
  std::int64_t window_ = INT64_MAX;
};

/// Calls `sink` with piece after piece; its error ends the reading. `announced` hears the file's
/// size first, if it is known.
Result<> read_resource(Connection&, const std::string& path,
                       const std::function<Result<>(std::string_view)>& sink, const Limit&,
                       const std::function<Result<>(std::int64_t size)>& announced = {});

}  // namespace spell::detail
