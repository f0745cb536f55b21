#include "service/space.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"

namespace spell::service {

namespace {

constexpr std::int64_t least_reserve = 1 << 20, most_reserve = 8 << 20;
/// Nobody tells when a disk has room again, so it is looked at, at first soon, then seldom; and at
/// every request.
constexpr std::chrono::milliseconds first_delay{500}, last_delay{30'000};

}  // namespace

Space::Space(std::string folder, Timer& timer, std::function<void(bool)> changed, int keep_free,
             std::function<void()> squeeze)
    : path_(std::move(folder) + "/reserve"),
      timer_(timer),
      changed_(std::move(changed)),
      squeeze_(std::move(squeeze)),
      keep_free_(keep_free) {
  std::string disk = path_.substr(0, path_.rfind('/'));
  reserve_ = std::clamp(base::disk_size(disk) / 16, least_reserve, most_reserve);
  least_ = reserve_ / 2;
  look();
  if (!full_ && !make_reserve()) failed(base::error("disk_full", "no room for the reserve"));
}

Result<> Space::check() const {
  if (!full_) return ok();
  return base::error("disk_full",
                     "the disk of " + path_.substr(0, path_.rfind('/')) +
                         " is full: new work is refused until there is room (spell rm, spelld gc)");
}

Result<> Space::check_runs() const {
  if (keep_free_ <= 0) return ok();
  std::string folder = path_.substr(0, path_.rfind('/'));
  std::int64_t free = base::free_bytes(folder), all = base::disk_size(folder);
  if (free < 0 || all <= 0 || free >= all / 100 * keep_free_) return ok();
  return base::error("disk_low", "only " + base::format_size(free) + " of " +
                                     base::format_size(all) + " are free on the disk of " + folder +
                                     ", less than " + std::to_string(keep_free_) +
                                     " %: no new runs until there is room (spell rm, spelld gc); "
                                     "what runs goes on");
}

void Space::look() {
  std::int64_t free = base::free_bytes(path_.substr(0, path_.rfind('/')));
  if (free < 0) return;
  if (!full_ && free < least_) become_full();
  // What the reserve takes must not make the disk full again at once.
  if (full_ && free >= reserve_ + 2 * least_) make_room_again();
}

void Space::failed(const Error& error) {
  if (error.code() == "disk_full") become_full();
}

void Space::become_full() {
  {
    std::lock_guard lock(mutex_);
    if (full_) return;
    ::unlink(path_.c_str());
    full_ = true;
    delay_ = first_delay;
  }
  changed_(true);
  look_later();
}

void Space::make_room_again() {
  {
    std::lock_guard lock(mutex_);
    if (!full_ || !make_reserve()) return;
    full_ = false;
  }
  changed_(false);
}

void Space::look_later() {
  if (full_ && squeeze_) squeeze_();
  std::lock_guard lock(mutex_);
  if (!full_) return;
  timer_.after(delay_, [this] {
    look();
    look_later();
  });
  delay_ = std::min(delay_ * 2, last_delay);
}

bool Space::make_reserve() {
  struct stat st;
  if (::stat(path_.c_str(), &st) == 0 && st.st_size == reserve_ && st.st_blocks * 512 >= reserve_)
    return true;
  // Written, not only claimed: what takes the room must be there when it is given up.
  auto file = base::open(path_, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (!file) return false;
  if (::posix_fallocate(file->get(), 0, reserve_) == 0) return true;
  ::unlink(path_.c_str());
  return false;
}

}  // namespace spell::service
