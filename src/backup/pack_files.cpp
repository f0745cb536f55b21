#include "backup/pack_files.hpp"

#include <sys/mman.h>

#include <mutex>
#include <vector>

#include "base/clock.hpp"

namespace spell::backup {

namespace {
constexpr std::int64_t memory_limit = 16 << 20, spool_limit = 64 << 20;
}

struct PackFiles::Pool {
  std::mutex mutex;
  int to_be_made;
  std::vector<base::Fd> idle;
  std::int64_t idle_since = 0;
};

PackFiles::PackFiles(std::function<Result<base::Fd>()> spool, int in_memory)
    : spool_(std::move(spool)), pool_(std::make_shared<Pool>()) {
  pool_->to_be_made = in_memory;
  pool_->idle.reserve(static_cast<std::size_t>(in_memory));
}

Result<PackFiles::File> PackFiles::take() {
  base::Fd file;
  {
    std::lock_guard lock(pool_->mutex);
    if (!pool_->idle.empty()) {
      file = std::move(pool_->idle.back());
      pool_->idle.pop_back();
    } else if (pool_->to_be_made > 0) {
      file = base::Fd(::memfd_create("spell-pack", MFD_CLOEXEC));
      if (file) --pool_->to_be_made;
    }
  }
  if (!file) {
    auto made = spool_();
    if (!made) return made.error();
    return File{std::make_shared<base::Fd>(std::move(*made)), spool_limit};
  }
  auto give_back = [pool = pool_](base::Fd* mine) {
    std::unique_ptr<base::Fd> held(mine);
    std::lock_guard lock(pool->mutex);
    pool->idle.push_back(std::move(*held));
    pool->idle_since = base::boot_ns();
  };
  return File{{new base::Fd(std::move(file)), std::move(give_back)}, memory_limit};
}

std::optional<std::int64_t> PackFiles::idle_since() const {
  std::lock_guard lock(pool_->mutex);
  if (pool_->idle.empty()) return std::nullopt;
  return pool_->idle_since;
}

void PackFiles::free_idle() {
  std::lock_guard lock(pool_->mutex);
  pool_->to_be_made += static_cast<int>(pool_->idle.size());
  pool_->idle.clear();
}

}  // namespace spell::backup
