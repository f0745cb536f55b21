// Opt-in: the SDK's calls with an Asio completion token (`asio::use_awaitable`, `asio::use_future`,
// a callback …). The handler's signature is void(Result<T>). Includes Boost.Asio 1.81 or later.
//
//   auto ended = co_await spell::async_wait(run, asio::use_awaitable);
//
// Threads: waiting takes none; one thread of the client watches all runs that are waited for. Other
// calls are carried out by threads of the client, which come with the work and go: those that only
// ask the service by at most 16; what is given to async_call(), which may wait for as long as it
// likes (wait_metric(), the end of a log), by one each, at most 1,000 at once. Neither keeps the
// other waiting. Completions come on the handler's associated executor, never from within the call
// that began them.
//
// Cancellation is that of the associated slot, of whatever type, also before a thread has taken the
// call: it ends with the error `canceled`; what the service has already done stays done. Clients
// and runs may go before what was begun with them has completed; the executor's context has to stay
// until then.
//
// g++ before 13 destroys some temporaries twice that stand in an expression with co_await: what is
// handed over here must have a name there, and overloads that would take a temporary are deleted.
#pragma once
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/system_executor.hpp>
#include <memory>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

#include "spell/async_calls.hpp"
#include "spell/spell.hpp"

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#define SPELL_NAME_IT_FIRST 1
#else
#define SPELL_NAME_IT_FIRST 0
#endif

namespace spell {

namespace detail {

/// A handler on its way: keeps its executor at work and the client alive, hears its cancellation,
/// is completed once.
template <class T, class Handler>
class Completion {
 public:
  Completion(Handler handler, std::shared_ptr<Connection> connection)
      : connection_(std::move(connection)),
        handler_(std::move(handler)),
        work_(boost::asio::make_work_guard(
            boost::asio::get_associated_executor(handler_, boost::asio::system_executor()))) {
    auto slot = boost::asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected())
      slot.assign([stop = stop_](boost::asio::cancellation_type) mutable { stop.request_stop(); });
  }
  std::stop_token stop() const { return stop_.get_token(); }

  static void complete(std::shared_ptr<Completion> self, Result<T> result) {
    auto executor = self->work_.get_executor();
    // Its context may go when the handler has run, which may be before post() has returned.
    auto until_posted = boost::asio::make_work_guard(executor);
    boost::asio::post(executor, [self = std::move(self), result = std::move(result)]() mutable {
      boost::asio::get_associated_cancellation_slot(self->handler_).clear();
      Handler handler = std::move(self->handler_);
      self.reset();  // here, not on a thread of the client's, which may go with it
      std::move(handler)(std::move(result));
    });
  }

 private:
  std::shared_ptr<Connection> connection_;
  Handler handler_;
  std::stop_source stop_;
  boost::asio::executor_work_guard<
      boost::asio::associated_executor_t<Handler, boost::asio::system_executor>>
      work_;
};

template <class Token>
auto async_end_of(const Run& run, void (*wait)(const Run&, std::stop_token, AsyncCalls::Done),
                  Token&& token) {
  auto begin = [](auto handler, const Run& what,
                  void (*with)(const Run&, std::stop_token, AsyncCalls::Done)) {
    using Completion = Completion<RunInfo, std::decay_t<decltype(handler)>>;
    auto completion = std::make_shared<Completion>(std::move(handler), what.connection());
    auto stop = completion->stop();
    with(what, std::move(stop), [completion](Result<RunInfo> info) mutable {
      Completion::complete(std::move(completion), std::move(info));
    });
  };
  return boost::asio::async_initiate<Token, void(Result<RunInfo>)>(std::move(begin), token, run,
                                                                   wait);
}

}  // namespace detail

namespace detail {

template <class Operation, class Token>
auto async_call_of(const Client& client, AsyncCalls::Length length, Operation&& operation,
                   Token&& token) {
  using Plain = std::decay_t<Operation>;
  using Answer = std::invoke_result_t<Plain&, CallOptions>;
  static_assert(!SPELL_NAME_IT_FIRST || std::is_lvalue_reference_v<Operation> ||
                    std::is_trivially_destructible_v<Plain>,
                "give the operation a name first: g++ before 13 destroys such temporaries twice");
  auto begin = [](auto handler, std::shared_ptr<Connection> connection, AsyncCalls::Length kind,
                  Plain what) {
    using Completion = Completion<typename Answer::value_type, std::decay_t<decltype(handler)>>;
    auto completion = std::make_shared<Completion>(std::move(handler), connection);
    auto call = std::make_shared<Plain>(std::move(what));
    auto stop = completion->stop();
    AsyncCalls::in_background(connection, kind, std::move(stop),
                              [completion, call](bool canceled) mutable {
                                CallOptions options;
                                options.stop = completion->stop();
                                Answer answer(Error("canceled", "the call was canceled"));
                                if (!canceled) answer = (*call)(options);
                                call.reset();
                                Completion::complete(std::move(completion), std::move(answer));
                              });
  };
  return boost::asio::async_initiate<Token, void(Answer)>(
      std::move(begin), token, client.connection(), length, std::forward<Operation>(operation));
}

}  // namespace detail

/// Any call of the SDK that blocks, as a function of its options, which carry the cancellation. It
/// runs on another thread, which it keeps for as long as it likes.
///
///   auto list = [client](CallOptions options) { return client.machines().list(options); };
///   auto machines = co_await spell::async_call(client, list, asio::use_awaitable);
template <class Operation, class Token>
auto async_call(const Client& client, Operation&& operation, Token&& token) {
  return detail::async_call_of(client, AsyncCalls::Length::any, std::forward<Operation>(operation),
                               std::forward<Token>(token));
}

/// Runs::create.
template <class Token>
auto async_run(const Client& client, const RunSpec& spec, const std::string& key, Token&& token) {
  auto create = [client, spec, key](CallOptions options) {
    return client.runs().create(spec, key, options);
  };
  return detail::async_call_of(client, AsyncCalls::Length::brief, create,
                               std::forward<Token>(token));
}
template <class Token>
auto async_run(const Client& client, const RunSpec& spec, Token&& token) {
  return async_run(client, spec, std::string(), std::forward<Token>(token));
}
#if SPELL_NAME_IT_FIRST
template <class... Rest>
void async_run(const Client&, RunSpec&&, Rest&&...) = delete;  // give the spec a name first
#endif

/// Run::wait, of any number of runs at once.
template <class Token>
auto async_wait(const Run& run, Token&& token) {
  return detail::async_end_of(run, &AsyncCalls::wait, std::forward<Token>(token));
}

/// Run::wait_success, of any number of runs at once.
template <class Token>
auto async_wait_success(const Run& run, Token&& token) {
  return detail::async_end_of(run, &AsyncCalls::wait_success, std::forward<Token>(token));
}

/// Run::info.
template <class Token>
auto async_info(const Run& run, Token&& token) {
  auto info = [run](CallOptions options) { return run.info(options); };
  return detail::async_call_of(Client(run.connection()), AsyncCalls::Length::brief, info,
                               std::forward<Token>(token));
}

/// Run::stop.
template <class Token>
auto async_stop(const Run& run, Token&& token) {
  auto stop = [run](CallOptions options) { return run.stop(options); };
  return detail::async_call_of(Client(run.connection()), AsyncCalls::Length::brief, stop,
                               std::forward<Token>(token));
}

/// Run::kill.
template <class Token>
auto async_kill(const Run& run, Token&& token) {
  auto kill = [run](CallOptions options) { return run.kill(options); };
  return detail::async_call_of(Client(run.connection()), AsyncCalls::Length::brief, kill,
                               std::forward<Token>(token));
}

}  // namespace spell
