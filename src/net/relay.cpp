#include "net/relay.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace spell::net {

namespace stream = model::stream;

// ---- the loop

RelayLoop::RelayLoop() {
  int ends[2];
  if (::pipe(ends) != 0) return;
  for (int end : ends) {
    ::fcntl(end, F_SETFD, FD_CLOEXEC);
    ::fcntl(end, F_SETFL, O_NONBLOCK);
  }
  wake_ = base::Fd(ends[0]);
  waker_ = base::Fd(ends[1]);
}

void RelayLoop::add(std::unique_ptr<Relayed> relayed) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    added_.push_back(std::move(relayed));
    ++size_;
    if (!thread_.joinable()) {
      sigset_t all, before;
      sigfillset(&all);
      ::pthread_sigmask(SIG_SETMASK, &all, &before);
      thread_ = std::thread([this] { loop(); });
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
  }
  wake();
}

void RelayLoop::wake() {
  char byte = 0;
  (void)!::write(waker_.get(), &byte, 1);
}

std::size_t RelayLoop::size() const {
  std::lock_guard lock(mutex_);
  return size_;
}

void RelayLoop::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  if (thread_.joinable()) thread_.join();
  added_.clear();
}

void RelayLoop::loop() {
  std::vector<std::unique_ptr<Relayed>> all;
  std::vector<pollfd> files;
  std::vector<std::size_t> ends;
  for (;;) {
    std::size_t known = all.size();
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      for (auto& relayed : added_) all.push_back(std::move(relayed));
      added_.clear();
      size_ = all.size();
    }
    files.assign(1, {wake_.get(), POLLIN, 0});
    ends.clear();
    std::optional<Relayed::Clock::time_point> due;
    for (auto& relayed : all) {
      relayed->watch(files);
      ends.push_back(files.size());
      if (auto at = relayed->due(); at && (!due || *at < *due)) due = at;
    }
    int timeout = -1;
    if (due) {
      auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Relayed::Clock::now());
      timeout = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
    }
    // What came along with a stream's opening has been read already: no descriptor tells of it.
    if (all.size() > known) timeout = 0;
    int ready = ::poll(files.data(), static_cast<nfds_t>(files.size()), timeout);
    bool woken = ready > 0 && files[0].revents != 0;
    char bytes[256];
    while (woken && ::read(wake_.get(), bytes, sizeof bytes) > 0) {
    }
    auto now = Relayed::Clock::now();
    std::size_t begin = 1, kept = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      std::span<const pollfd> own(files.data() + begin, ends[i] - begin);
      begin = ends[i];
      auto at = all[i]->due();
      bool wanted = woken || i >= known || (at && *at <= now) ||
                    std::any_of(own.begin(), own.end(), [](auto& file) { return file.revents; });
      if (wanted && !all[i]->serve(own)) {
        all[i].reset();
        continue;
      }
      if (kept != i) all[kept] = std::move(all[i]);
      ++kept;
    }
    all.resize(kept);
  }
}

// ---- bytes

Relay::Relay(base::Fd sink, std::vector<Source> sources, std::string end_of_input)
    : sink_(std::move(sink)),
      sources_(std::move(sources)),
      end_of_input_(std::move(end_of_input)) {}

void Relay::watch(std::vector<pollfd>& files, const MessageStream& stream) const {
  files.push_back({pending_.empty() ? -1 : sink_.get(), POLLOUT, 0});
  bool room = credit_ > 0 && stream.queued() < model::stream_window;
  for (auto& source : sources_) files.push_back({room ? source.fd.get() : -1, POLLIN, 0});
}

void Relay::serve(MessageStream& to) {
  write();
  if (taken_ >= model::stream_window / 4) {
    allowed_ += static_cast<std::int64_t>(taken_);
    to.send(model::stream_message(stream::window, std::to_string(taken_)));
    taken_ = 0;
  }
  read(to);
}

void Relay::write() {
  while (!pending_.empty() && sink_) {
    ssize_t n = ::write(sink_.get(), pending_.data(), pending_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n < 0) {  // nobody reads it any more: what comes is dropped
      sink_.reset();
      break;
    }
    taken_ += static_cast<std::size_t>(n);
    pending_.erase(0, static_cast<std::size_t>(n));
  }
  if (!sink_) taken_ += pending_.size(), pending_.clear();
  if (sink_ended_ && sink_ && end_of_input_.empty()) {
    ::shutdown(sink_.get(), SHUT_WR);  // of a socket; others end by being closed
    sink_.reset();
  }
}

void Relay::read(MessageStream& to) {
  char buffer[model::stream_piece];
  quiet_ = true;
  for (auto& source : sources_) {
    // A few pieces in a row: others of this thread want their turn.
    for (int round = 0; source.fd; ++round) {
      if (round == 4 || credit_ <= 0 || to.queued() >= model::stream_window) {
        quiet_ = false;
        break;
      }
      auto size = std::min<std::size_t>(sizeof buffer, static_cast<std::size_t>(credit_));
      ssize_t n = ::read(source.fd.get(), buffer, size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
      if (n <= 0) {
        cut_ = cut_ || (n < 0 && errno != EIO);  // EIO: of a terminal whose programs have gone
        source.fd.reset();
        break;
      }
      to.send(model::stream_message(source.kind, {buffer, static_cast<std::size_t>(n)}));
      credit_ -= n;
    }
  }
  bool ended = std::none_of(sources_.begin(), sources_.end(),
                            [](auto& source) { return static_cast<bool>(source.fd); });
  if (ended && !end_sent_ && !cut_) {
    end_sent_ = true;
    to.send(model::stream_message(stream::end_of_data));
  }
}

bool Relay::drained() { return quiet_; }

void Relay::abandon() {
  linger at_once{1, 0};
  auto reset = [&](base::Fd& fd) {
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    fd.reset();
  };
  reset(sink_);
  for (auto& source : sources_) reset(source.fd);
  pending_.clear();
}

bool Relay::take(std::string_view message) {
  std::string_view text = message.substr(1);
  switch (message.front()) {
    case stream::data:
    case stream::error_data:
      allowed_ -= static_cast<std::int64_t>(text.size());
      if (allowed_ < 0 || sink_ended_) return false;
      pending_.append(text);
      return true;
    case stream::end_of_data:
      if (!sink_ended_) pending_.append(end_of_input_);
      sink_ended_ = true;
      return true;
    case stream::window: {
      auto more = model::number_in(text);
      if (more <= 0 || credit_ + more > static_cast<std::int64_t>(model::stream_window))
        return false;
      credit_ += more;
      return true;
    }
    default:
      return true;
  }
}

}  // namespace spell::net
