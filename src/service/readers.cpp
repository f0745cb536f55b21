#include "service/readers.hpp"

namespace spell::service {

Result<std::unique_ptr<store::Reader>> Readers::take() {
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto reader = std::move(idle_.back());
      idle_.pop_back();
      return reader;
    }
  }
  auto opened = store::Reader::open(path_);
  if (!opened) return opened.error();
  return std::make_unique<store::Reader>(std::move(*opened));
}

void Readers::give_back(std::unique_ptr<store::Reader> reader) {
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(reader));
}

}  // namespace spell::service
