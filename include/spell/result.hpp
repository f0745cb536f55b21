// Result<T>: a value or an Error. Functions that may fail say so with it; value() throws for those
// who like that.
#pragma once
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "spell/error.hpp"

namespace spell {

/// A `T` or an Error. Default-constructed it holds the error "unknown error".
/// `Result<>` carries no value: success or an Error.
template <class T = void>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result() : state_(Error{}) {}
  Result(Error error) : state_(std::move(error)) {}
  template <class U = T, class = std::enable_if_t<std::is_constructible_v<T, U&&> &&
                                                  !std::is_same_v<std::decay_t<U>, Result> &&
                                                  !std::is_same_v<std::decay_t<U>, Error>>>
  Result(U&& value) : state_(std::in_place_index<1>, std::forward<U>(value)) {}

  bool ok() const noexcept { return state_.index() == 1; }
  explicit operator bool() const noexcept { return ok(); }

  /// The value. Throws the Error if there is none.
  T& value() & {
    require();
    return *std::get_if<1>(&state_);
  }
  const T& value() const& {
    require();
    return *std::get_if<1>(&state_);
  }
  /// By value, so that `for (auto& run : client.machines().list().value())` is safe.
  T value() && {
    require();
    return std::move(*std::get_if<1>(&state_));
  }
  T value_or(T other) const& { return ok() ? *std::get_if<1>(&state_) : std::move(other); }

  /// The value. Undefined if there is none: check ok() first.
  T& operator*() & noexcept { return *std::get_if<1>(&state_); }
  const T& operator*() const& noexcept { return *std::get_if<1>(&state_); }
  T operator*() && noexcept { return std::move(*std::get_if<1>(&state_)); }
  T* operator->() noexcept { return std::get_if<1>(&state_); }
  const T* operator->() const noexcept { return std::get_if<1>(&state_); }

  /// The error. Undefined if there is a value: check ok() first.
  const Error& error() const noexcept { return *std::get_if<0>(&state_); }
  Error& error() noexcept { return *std::get_if<0>(&state_); }

 private:
  void require() const {
    if (!ok()) throw *std::get_if<0>(&state_);
  }
  std::variant<Error, T> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() : error_(Error{}) {}
  Result(Error error) : error_(std::move(error)) {}
  /// Success.
  static Result done() {
    Result r;
    r.error_.reset();
    return r;
  }

  bool ok() const noexcept { return !error_; }
  explicit operator bool() const noexcept { return ok(); }
  void value() const {
    if (error_) throw *error_;
  }
  const Error& error() const noexcept { return *error_; }
  Error& error() noexcept { return *error_; }

 private:
  std::optional<Error> error_;
};

/// `return ok();` in a function that returns Result<>.
inline Result<> ok() { return Result<>::done(); }

}  // namespace spell
