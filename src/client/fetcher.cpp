#include "client/fetcher.hpp"

#include <algorithm>
#include <system_error>

#include "base/error.hpp"
#include "client/file_node.hpp"
#include "client/file_reader.hpp"

namespace spell::detail {

namespace {

constexpr std::size_t queue_limit = 128;

/// Failures that the next attempt may not meet.
bool is_interruption(const Error& error) {
  for (std::string_view code : {"canceled", "timeout", "connection_lost", "service_unreachable"})
    if (error.code() == code) return true;
  return error.http_status() == 503;
}

Limit stopping(const Limit& limit, const std::stop_token& stop, Waiter& waiter) {
  return Limit({.timeout = limit.time_left(), .stop = stop}, waiter);
}

}  // namespace

std::string TargetFolder::below(const std::string& name) const {
  if (shown.empty()) return name;
  return shown + (shown.back() == '/' ? "" : "/") + name;
}

TargetFolder::~TargetFolder() {
  if (fd && restore && !(failed && *failed)) restore_state(fd.get(), info);
}

Fetcher::Fetcher(Connection& connection, int threads, const Limit& limit, Tell tell)
    : connection_(connection),
      most_threads_(static_cast<std::size_t>(std::clamp(threads, 1, 64))),
      chain_(limit.stop(), [this] { stop_.request_stop(); }),
      limit_(stopping(limit, stop_.get_token(), connection.waiter())),
      tell_(std::move(tell)) {}

Fetcher::~Fetcher() {
  give_up();
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

Result<> Fetcher::push(std::shared_ptr<TargetFolder> folder, std::string name, std::string path,
                       ResourceInfo info) {
  Job job{std::move(folder), std::move(name), std::move(path), std::move(info)};
  std::unique_lock lock(mutex_);
  SPELL_TRY(wait(lock, [&] { return queue_.size() < queue_limit; }));
  queue_.push_back(std::move(job));
  if (threads_.size() < most_threads_ && queue_.size() > threads_.size() - busy_) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) return base::error("io_error", "no thread can be started");
    }
  }
  changed_.notify_all();
  return ok();
}

Result<> Fetcher::finish() {
  std::unique_lock lock(mutex_);
  auto done = wait(lock, [&] { return queue_.empty() && busy_ == 0; });
  lock.unlock();
  if (done) tell();
  return done;
}

void Fetcher::give_up() {
  failed_ = true;
  stop_.request_stop();
}

/// Tells of progress in between.
Result<> Fetcher::wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& until) {
  auto ready = [&] { return !result_ || until(); };
  while (!changed_.wait_for(lock, 100ms, ready)) {
    lock.unlock();
    tell();
    lock.lock();
  }
  return result_;
}

void Fetcher::tell() const {
  if (tell_) tell_({done_, std::max<std::int64_t>(done_, total_)});
}

void Fetcher::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ended_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    ++busy_;
    lock.unlock();
    auto fetched = failed_ ? ok() : fetch(job);
    // Its folder may be done with the job, and has to know before whether it is to stay open.
    bool first = !fetched && !failed_.exchange(true);
    job = {};
    lock.lock();
    --busy_;
    if (first) {
      result_ = std::move(fetched);
      stop_.request_stop();  // the others need not go on
    }
    changed_.notify_all();
  }
}

Result<> Fetcher::fetch(const Job& job) {
  Spot spot{job.folder->fd.get(), job.name, job.folder->below(job.name)};
  PartFile part(spot);
  SPELL_TRY(part.open(job.info.node, job.info.size));
  std::int64_t begin = part.begin();
  done_ += begin;
  auto read = read_into(part, job);
  if (read && begin > 0) {
    // What an interrupted copy had written may not have reached the disk.
    auto same = has_content(part.fd(), job.info.size, job.info.node, limit_.stop());
    if (!same) read = same.error();
    if (same && !*same) {
      done_ -= job.info.size;
      SPELL_TRY(part.restart());
      read = read_into(part, job);
    }
  }
  if (!read) {
    if (is_interruption(read.error())) part.keep();
    return read;
  }
  restore_state(part.fd(), job.info);
  SPELL_TRY(part.give_name());
  ++files_;
  return ok();
}

Result<> Fetcher::read_into(PartFile& part, const Job& job) {
  constexpr std::size_t buffer_size = 256 << 10;
  std::string tag = job.info.node.empty() ? "" : '"' + job.info.node + '"';
  if (part.begin() < job.info.size) {
    FileReader reader(connection_, job.path, tag);
    // Unlike a jump: from here on all is read.
    reader.begin_at(part.begin());
    std::string buffer(std::min(buffer_size, static_cast<std::size_t>(job.info.size)), '\0');
    for (;;) {
      auto n = reader.read(buffer.data(), buffer.size(), limit_);
      if (!n) return n.error();
      if (*n == 0) break;
      SPELL_TRY(part.write({buffer.data(), *n}));
      auto bytes = static_cast<std::int64_t>(*n);
      received_ += bytes;
      done_ += bytes;
    }
  }
  return part.finish(job.info.size);
}

}  // namespace spell::detail
