#include "backup/pack_files.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <mutex>
#include <vector>

#include "base/clock.hpp"

namespace spell::backup {

namespace {
constexpr std::int64_t memory_limit = 8 << 20, spool_limit = 64 << 20;
/// With the object that reaches the limit, and the index; one with more of it than usual has its
/// end in the file alone.
constexpr std::size_t mapped_size = memory_limit + (1 << 20);
}  // namespace

std::unique_ptr<PackFile> PackFile::in_memory() {
  auto out = std::make_unique<PackFile>(base::Fd(::memfd_create("spell-pack", MFD_CLOEXEC)));
  if (!out->file_ || ::ftruncate(out->fd(), mapped_size) != 0) return {};
  void* at = ::mmap(nullptr, mapped_size, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd(), 0);
  if (at == MAP_FAILED) return {};
  out->mapped_ = {static_cast<char*>(at), mapped_size};
  return out;
}

PackFile::~PackFile() {
  if (!mapped_.empty()) ::munmap(mapped_.data(), mapped_.size());
}

spellfs::PackPlace PackFile::place() const {
  return {fd(), mapped_.empty() ? spool_limit : memory_limit, mapped_};
}

std::string_view PackFile::bytes(std::int64_t size) const {
  if (static_cast<std::size_t>(size) > mapped_.size()) return {};
  return {mapped_.data(), static_cast<std::size_t>(size)};
}

struct PackFiles::Pool {
  std::mutex mutex;
  int to_be_made;
  std::vector<std::unique_ptr<PackFile>> idle;
  std::int64_t idle_since = 0;
};

PackFiles::PackFiles(std::function<Result<base::Fd>()> spool, int in_memory)
    : spool_(std::move(spool)), pool_(std::make_shared<Pool>()) {
  pool_->to_be_made = in_memory;
  pool_->idle.reserve(static_cast<std::size_t>(in_memory));
}

Result<std::shared_ptr<PackFile>> PackFiles::take() {
  std::unique_ptr<PackFile> file;
  {
    std::lock_guard lock(pool_->mutex);
    if (!pool_->idle.empty()) {
      file = std::move(pool_->idle.back());
      pool_->idle.pop_back();
    } else if (pool_->to_be_made > 0) {
      file = PackFile::in_memory();
      if (file) --pool_->to_be_made;
    }
  }
  if (!file) {
    auto made = spool_();
    if (!made) return made.error();
    return std::make_shared<PackFile>(std::move(*made));
  }
  return std::shared_ptr<PackFile>(file.release(), [pool = pool_](PackFile* mine) {
    std::unique_ptr<PackFile> held(mine);
    std::lock_guard lock(pool->mutex);
    pool->idle.push_back(std::move(held));
    pool->idle_since = base::boot_ns();
  });
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
