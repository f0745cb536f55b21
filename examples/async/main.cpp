// Starts runs, a hundred if no other number is given, and waits for them all on this one thread.
// ^C cancels the waiting and kills what still runs.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <iostream>
#include <list>
#include <spell/asio.hpp>

namespace asio = boost::asio;

struct Tally {
  int complete = 0, other = 0, canceled = 0;
};

asio::awaitable<void> one(spell::Client client, std::string command, Tally& tally) {
  co_await asio::this_coro::throw_if_cancelled(false);

  spell::RunSpec spec;  // with a name: see spell/asio.hpp
  spec.command = command;
  // Not canceled: what is made is to be known, so that it can be killed.
  auto whole = asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable);
  auto run = co_await spell::async_run(client, spec, whole);
  if (!run) {
    ++tally.other;
    std::cerr << run.error() << '\n';
    co_return;
  }
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() == asio::cancellation_type::none) {
    auto end = co_await spell::async_wait_success(*run, asio::use_awaitable);
    if (end || end.error().code() != "canceled") {
      ++(end ? tally.complete : tally.other);
      if (!end) std::cerr << end.error() << '\n';
      co_return;
    }
  }
  ++tally.canceled;
  // Only the waiting is.
  co_await asio::this_coro::reset_cancellation_state();
  co_await spell::async_kill(*run, asio::use_awaitable);
}

int main(int argc, char** argv) try {
  int count = argc > 1 ? std::stoi(argv[1]) : 100;
  auto client = spell::Client::from_environment().value();
  asio::io_context context;
  Tally tally;

  asio::signal_set interrupted(context, SIGINT, SIGTERM);
  std::list<asio::cancellation_signal> cancels;
  interrupted.async_wait([&](auto error, int) {
    if (!error)
      for (auto& cancel : cancels) cancel.emit(asio::cancellation_type::terminal);
  });
  int left = count;
  for (int i = 0; i < count; ++i) {
    auto done = [&](std::exception_ptr failure) {
      if (--left == 0) interrupted.cancel();
      if (failure) std::rethrow_exception(failure);
    };
    cancels.emplace_back();
    co_spawn(context, one(client, argc > 2 ? argv[2] : "echo hello", tally),
             asio::bind_cancellation_slot(cancels.back().slot(), done));
  }
  context.run();
  std::cout << tally.complete << " complete, " << tally.other << " otherwise, " << tally.canceled
            << " canceled\n";
  return tally.complete == count ? 0 : 1;
} catch (const std::exception& e) {
  std::cerr << "async: " << e.what() << '\n';
  return 2;
}
