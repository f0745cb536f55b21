#include "client/pack_sender.hpp"

#include <system_error>

#include "base/error.hpp"
#include "client/code_cache.hpp"

namespace spell::detail {

PackSender::~PackSender() {
  given_up_.request_stop();
  if (sending_.valid()) sending_.wait();
}

Result<> PackSender::open() {
  for (auto& file : files_) {
    auto made = make_unnamed_file(connection_);
    if (!made) return made.error();
    file = std::move(*made);
  }
  return ok();
}

Result<spellfs::PackPlace> PackSender::next(std::int64_t size) {
  SPELL_TRY(arrived());
  sending_size_ = size;
  int fd = files_[present_].get();
  try {
    sending_ = std::async(std::launch::async, [this, fd, size] { return send(fd, size); });
  } catch (const std::system_error&) {  // no thread to be had: one after the other
    std::promise<Result<>> done;
    done.set_value(send(fd, size));
    sending_ = done.get_future();
  }
  present_ = 1 - present_;
  return place();
}

Result<> PackSender::finish(spellfs::PackWriter& writer) {
  if (writer.objects() > 0) {
    auto size = writer.finish();
    if (!size) return size.error();
    if (auto sent = next(*size); !sent) return sent.error();
  }
  return arrived();
}

Result<> PackSender::arrived() {
  if (!sending_.valid()) return ok();
  SPELL_TRY(sending_.get());
  sent_ += sending_size_;
  return ok();
}

Result<> PackSender::send(int fd, std::int64_t size) {
  // Ends with the caller's call, and with this object.
  std::stop_callback chain(limit_.stop(), [this] { given_up_.request_stop(); });
  auto left = limit_.left();
  if (!left) return left.error();
  left->stop = given_up_.get_token();
  auto answer = connection_.call({.route = model::Route::send_objects,
                                  .headers = {{"Content-Type", "application/vnd.spell.pack"}},
                                  .body_fd = fd,
                                  .body_size = size,
                                  .owner = owner_},
                                 *left);
  if (!answer) return answer.error();
  return ok();
}

}  // namespace spell::detail
