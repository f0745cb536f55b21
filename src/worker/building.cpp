#include "worker/building.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "model/image.hpp"

namespace spell::worker {

const model::ResolvedMount* mount_at(const model::StartCommand& start, std::string_view at) {
  for (auto& mount : start.mounts)
    if (mount.at == at) return &mount;
  return nullptr;
}

bool finds_data(const model::StartCommand& start) {
  auto image = mount_at(start, model::image_source) ? 1 : 0;  // that is for its environment
  return std::ssize(start.mounts) > image || !start.restore.empty();
}

Error no_build(const std::string& why) { return base::error("build_failed", why); }

std::int64_t build_limit_of(const model::StartCommand& start) {
  constexpr std::int64_t most = 3600;
  std::int64_t own = start.request.timeout.value_or(0);
  return own > 0 ? std::min(own, most) : most;
}

}  // namespace spell::worker
