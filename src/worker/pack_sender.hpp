// Packs on their way to the service.
#pragma once
#include <future>
#include <memory>

#include "spellfs/store.hpp"
#include "worker/link.hpp"
#include "worker/run_folder.hpp"

namespace spell::worker {

/// Sends packs one after the other while the next one is being filled. What has arrived is not
/// written again by a later save of the same run, whatever becomes of this process.
class PackSender {
 public:
  PackSender(const Folders& folders, Link& link, const model::StartCommand& start,
             const CallOptions& call)
      : folders_(folders), link_(link), start_(start), call_(call) {}
  ~PackSender() { (void)wait(); }

  Result<spellfs::PackPlace> open() {
    auto file = folders_.temporary();
    if (!file) return file.error();
    filling_ = std::move(*file);
    return spellfs::PackPlace{filling_.get(), 64 << 20};
  }
  Result<spellfs::PackPlace> next(std::int64_t size) {
    if (auto sent = wait(); !sent) return sent.error();
    sending_ = std::async(
        std::launch::async, [this, size, file = std::make_shared<base::Fd>(std::move(filling_))] {
          return link_.send_pack(start_.run, start_.epoch, file->get(), size, call_);
        });
    return open();
  }
  Result<> wait() { return sending_.valid() ? sending_.get() : ok(); }
  base::Fd take() { return std::move(filling_); }

 private:
  const Folders& folders_;
  Link& link_;
  const model::StartCommand& start_;
  const CallOptions& call_;
  base::Fd filling_;
  std::future<Result<>> sending_;
};

}  // namespace spell::worker
