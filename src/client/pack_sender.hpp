// Packs on their way to the service while the next one is being written: two files take turns, so
// that reading and sending go on side by side, and the disk holds no more than two packs.
#pragma once
#include <array>
#include <future>
#include <string>

#include "base/fd.hpp"
#include "client/connection.hpp"
#include "spellfs/store.hpp"

namespace spell::detail {

/// Packs arrive in their order. Used by one thread at a time; has one of its own while it sends.
class PackSender {
 public:
  /// Of a lost connection no more than this is sent twice.
  static constexpr std::int64_t pack_size = 32 << 20;

  PackSender(Connection& connection, std::string owner, const Limit& limit)
      : connection_(connection), owner_(std::move(owner)), limit_(limit) {}
  /// Gives up what is being sent.
  ~PackSender();
  /// Makes the files; before anything else.
  Result<> open();
  /// Where to write the first pack, or the next.
  spellfs::PackPlace place() const { return {files_[present_].get(), pack_size}; }
  /// For spellfs::PackWriter: sends the pack that was written, returns the place for the next one.
  Result<spellfs::PackPlace> next(std::int64_t size);
  /// The last pack, if there is anything in it; returns when all have arrived.
  Result<> finish(spellfs::PackWriter& writer);
  /// Bytes that have arrived.
  std::int64_t sent() const { return sent_; }

 private:
  Result<> send(int fd, std::int64_t size);
  Result<> arrived();

  Connection& connection_;
  std::string owner_;
  Limit limit_;
  std::array<base::Fd, 2> files_;
  int present_ = 0;
  std::stop_source given_up_;
  std::future<Result<>> sending_;
  std::int64_t sending_size_ = 0, sent_ = 0;
};

}  // namespace spell::detail
