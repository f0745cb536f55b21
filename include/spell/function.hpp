// A function of the caller's, to be called back: a lambda, a function, whatever can be called so.
#pragma once
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace spell {

template <class Signature>
class Function;

/// As std::function, whose header takes a program that includes this library longer to compile than
/// all callbacks of it are worth. Copies share what is called, and its state.
template <class R, class... A>
class Function<R(A...)> {
 public:
  Function() = default;
  Function(std::nullptr_t) {}
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Function> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, A...>) Function(F&& function) {
    using Held = Call<std::decay_t<F>>;
    // A null pointer or an empty std::function is no function here either.
    if constexpr (requires { function == nullptr; })
      if (function == nullptr) return;
    call_ = std::make_shared<Held>(std::forward<F>(function));
  }
  explicit operator bool() const noexcept { return call_ != nullptr; }
  /// There must be a function.
  R operator()(A... arguments) const { return call_->call(std::forward<A>(arguments)...); }

 private:
  struct AnyCall {
    virtual ~AnyCall() = default;
    virtual R call(A... arguments) = 0;
  };
  template <class F>
  struct Call final : AnyCall {
    F function;
    template <class G>
    explicit Call(G&& given) : function(std::forward<G>(given)) {}
    R call(A... arguments) override {
      if constexpr (std::is_void_v<R>)
        function(std::forward<A>(arguments)...);
      else
        return function(std::forward<A>(arguments)...);
    }
  };
  std::shared_ptr<AnyCall> call_;
};

}  // namespace spell
