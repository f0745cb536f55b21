// Stream<T>: a range whose elements arrive over time. `for (auto& entry : stream)
// use(entry.value());`
#pragma once
#include <iterator>
#include <memory>
#include <optional>
#include <vector>

#include "spell/result.hpp"

namespace spell {

/// Yields Result<T>; blocks in next() until there is an element; ends by itself. After an error it
/// is at its end. Move-only; used by one thread at a time. Destroying it cancels what it waits for.
template <class T>
class Stream {
 public:
  /// Where elements come from. Implemented by the library.
  struct Source {
    virtual ~Source() = default;
    virtual std::optional<Result<T>> next() = 0;
  };
  explicit Stream(std::unique_ptr<Source> source) : source_(std::move(source)) {}

  /// The next element; nothing at the end.
  std::optional<Result<T>> next() { return source_ ? source_->next() : std::nullopt; }

  /// All that is still to come, at once; or the error that ends it.
  Result<std::vector<T>> all() {
    std::vector<T> out;
    while (auto element = next()) {
      if (!*element) return element->error();
      out.push_back(std::move(**element));
    }
    return out;
  }

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Result<T>;
    using difference_type = std::ptrdiff_t;
    using pointer = Result<T>*;
    using reference = Result<T>&;
    iterator() = default;
    explicit iterator(Stream* stream) : stream_(stream) { ++*this; }
    reference operator*() { return *current_; }
    pointer operator->() { return &*current_; }
    iterator& operator++() {
      current_ = stream_->next();
      if (!current_) stream_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(const iterator& other) const { return stream_ == other.stream_; }

   private:
    Stream* stream_ = nullptr;
    std::optional<Result<T>> current_;
  };
  iterator begin() { return iterator(this); }
  iterator end() { return iterator(); }

 private:
  std::unique_ptr<Source> source_;
};

}  // namespace spell
