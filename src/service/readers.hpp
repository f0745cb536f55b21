// Read connections to the store, lent to one user at a time.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace spell::service {

class Readers {
 public:
  explicit Readers(std::string path) : path_(std::move(path)) {}

  /// `use(store::Reader&)` returns a Result.
  template <class Use>
  auto with(Use&& use) -> decltype(use(std::declval<store::Reader&>())) {
    auto reader = take();
    if (!reader) return reader.error();
    auto result = use(**reader);
    give_back(std::move(*reader));
    return result;
  }

 private:
  Result<std::unique_ptr<store::Reader>> take();
  void give_back(std::unique_ptr<store::Reader>);
  std::string path_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<store::Reader>> idle_;
};

}  // namespace spell::service
