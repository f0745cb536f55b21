#include "service/reactor.hpp"

namespace spell::service {

Reactor::Reactor(State& state, Observer& observer, std::function<std::int64_t()> clock_us)
    : state_(state),
      observer_(observer),
      clock_us_(std::move(clock_us)),
      thread_([this] { loop(); }) {}

void Reactor::post(Command command) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  queue_.push_back(std::move(command));
  if (queue_.size() == 1) changed_.notify_one();
}

void Reactor::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Reactor::loop() {
  for (;;) {
    std::vector<Command> commands;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      commands.swap(queue_);
    }
    std::int64_t now = clock_us_();
    std::vector<Answer> answers;
    observer_.starting(state_);
    Result<> done = state_.writer().begin();
    if (done) {
      for (auto& command : commands) answers.push_back(command(state_, now));
      done = state_.schedule(now);
      if (done) done = state_.flush();
      if (done) done = state_.writer().commit();
    } else {
      // No transaction: the commands still have to be told. Whatever they change in memory is
      // dropped below; the database takes nothing.
      for (auto& command : commands) answers.push_back(command(state_, now));
    }
    if (auto trouble = state_.writer().take_trouble()) observer_.failed(*trouble);
    if (done) {
      state_.committed();
    } else {
      state_.writer().rollback();
      observer_.failed(done.error());
      if (auto loaded = state_.load(); !loaded) observer_.failed(loaded.error());
    }
    observer_.committed(state_.take_changed(), state_);
    for (auto& answer : answers)
      if (answer) answer(done);
  }
}

}  // namespace spell::service
