#include "sched/queue.hpp"

#include <algorithm>

namespace spell::sched {

namespace {

constexpr int by_age = static_cast<int>(Priority::high) + 1;  ///< the level above all priorities

std::string key_of(const Waiting& wants, Priority priority) {
  return kind_of(wants) + '\n' + std::to_string(static_cast<int>(priority));
}

/// In millionths of what there is.
std::int64_t largest_part(const Amounts& used, const Amounts& offers) {
  std::int64_t most = 0;
  for (auto part : {&Amounts::cpus, &Amounts::memory, &Amounts::gpus})
    if (used.*part > 0 && offers.*part > 0)
      most = std::max(most, static_cast<std::int64_t>(static_cast<__int128>(used.*part) *
                                                      1'000'000 / (offers.*part)));
  return most;
}

}  // namespace

Queue::StreamKey Queue::stream_of(const Kind& kind) {
  return {kind.wants.owner, kind.wants.user, kind.wants.machine_type, kind.priority};
}

const Queue::Kind* Queue::Stream::first() const {
  for (auto& [age, kind] : heads)
    if (!kind->nowhere) return kind;
  return nullptr;
}

Queue::Kind* Queue::add(Waiting wants, Priority priority, const Age& age, bool look) {
  wants.run.clear();
  auto [entry, anew] = kinds_.try_emplace(key_of(wants, priority));
  auto& kind = entry->second;
  if (anew) {
    kind.use = &uses_[{wants.owner, wants.user}];
    kind.shape = &shapes_[shape_of(wants)];
    ++kind.shape->kinds;
    kind.wants = std::move(wants);
    kind.priority = priority;
    kind.stream = &streams_[stream_of(kind)];
    ++kind.stream->kinds;
  }
  if (kind.runs.empty() || age < kind.runs.begin()->first) {
    if (!kind.runs.empty()) kind.stream->heads.erase(kind.runs.begin()->first);
    kind.stream->heads[age] = &kind;
  }
  if (kind.runs.insert_or_assign(age, look).second) ++size_;
  return &kind;
}

void Queue::take_out(Kind* kind, const Age& age) {
  auto found = kind->runs.find(age);
  if (found == kind->runs.end()) return;
  if (found == kind->runs.begin()) {
    kind->stream->heads.erase(age);
    if (auto next = std::next(found); next != kind->runs.end())
      kind->stream->heads[next->first] = kind;
  }
  kind->runs.erase(found);
  --size_;
  if (!kind->runs.empty()) return;
  if (looking_)
    emptied_.push_back(kind);
  else
    drop_if_empty(*kind);
}

void Queue::drop_if_empty(Kind& kind) {
  if (!kind.runs.empty()) return;
  if (--kind.shape->kinds == 0) shapes_.erase(shape_of(kind.wants));
  auto key = key_of(kind.wants, kind.priority);
  if (--kind.stream->kinds == 0) streams_.erase(stream_of(kind));
  kinds_.erase(key);
}

void Queue::clear() {
  kinds_.clear();
  streams_.clear();
  uses_.clear();
  shapes_.clear();
  emptied_.clear();
  size_ = 0;
}

void Queue::take(const User& user, const Amounts& amounts) {
  auto& [used, part, look] = uses_[user];
  for (auto member : {&Amounts::cpus, &Amounts::memory, &Amounts::gpus})
    used.*member += amounts.*member;
  look = 0;
}

void Queue::give_back(const User& user, const Amounts& amounts) {
  auto& [used, part, look] = uses_[user];
  for (auto member : {&Amounts::cpus, &Amounts::memory, &Amounts::gpus})
    used.*member -= amounts.*member;
  look = 0;
}

void Queue::placed(Kind* kind, const Age& age, std::int64_t now_us) {
  kind->nowhere = false;
  if (kind->stream->first() == kind && kind->runs.begin()->first == age)
    kind->stream->moved_us = now_us;
}

// ---- a look

Queue::Look::Look(Queue& queue, const Amounts& offers, std::int64_t now_us)
    : queue_(queue), offers_(offers), now_(now_us) {
  queue_.looking_ = true;
  ++queue_.looks_;
  for (auto& [key, kind] : queue_.kinds_) {
    if (kind.runs.empty()) continue;
    // What is to be looked at before it is placed is so whatever becomes of the others.
    auto& shape = *kind.shape;
    bool alone = kind.runs.begin()->second;
    if (!alone && shape.look != queue_.looks_) {
      shape.look = queue_.looks_;
      shape.group = groups_.size();
      groups_.emplace_back();
    }
    if (alone) groups_.emplace_back();
    groups_[alone ? groups_.size() - 1 : shape.group].ranks.push_back(rank(kind));
  }
  std::vector<First> firsts;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    auto& ranks = groups_[i].ranks;
    std::make_heap(ranks.begin(), ranks.end());
    firsts.push_back({ranks[0], i});
  }
  firsts_ = std::priority_queue<First>(std::less<First>(), std::move(firsts));
}

Queue::Look::~Look() {
  queue_.looking_ = false;
  std::sort(queue_.emptied_.begin(), queue_.emptied_.end());
  auto end = std::unique(queue_.emptied_.begin(), queue_.emptied_.end());
  std::for_each(queue_.emptied_.begin(), end, [&](auto* kind) { queue_.drop_if_empty(*kind); });
  queue_.emptied_.clear();
}

Queue::Look::Rank Queue::Look::rank(Kind& kind) const {
  auto& [age, look] = *kind.runs.begin();
  Rank out{static_cast<int>(kind.priority), age.begins, 0, age.created_us, age.number, &kind};
  if (kind.stream->first() == &kind) {
    auto since = std::max(age.created_us, kind.stream->moved_us);
    auto risen = std::max<std::int64_t>(0, (now_ - since) / queue_.patience_);
    out.level = static_cast<int>(std::min<std::int64_t>(by_age, out.level + risen));
    if (out.level == by_age) {
      out.begins = true;
      out.since_us = since;
      return out;
    }
  }
  auto& use = *kind.use;
  if (use.look != queue_.looks_) {
    use.part = largest_part(use.used, offers_);
    use.look = queue_.looks_;
  }
  out.use = use.part;
  return out;
}

void Queue::Look::put_first(std::size_t group) {
  if (auto& ranks = groups_[group].ranks; !ranks.empty()) firsts_.push({ranks[0], group});
}

std::optional<Queue::Look::Turn> Queue::Look::next() {
  if (current_ && !current_->runs.empty()) {
    auto& ranks = groups_[group_].ranks;
    ranks.push_back(rank(*current_));
    std::push_heap(ranks.begin(), ranks.end());
  }
  if (current_) put_first(group_);
  current_ = nullptr;
  while (!firsts_.empty()) {
    group_ = firsts_.top().group;
    firsts_.pop();
    auto& ranks = groups_[group_].ranks;
    std::pop_heap(ranks.begin(), ranks.end());
    auto top = ranks.back();
    ranks.pop_back();
    if (top.kind->runs.empty()) {
      put_first(group_);
      continue;
    }
    // Those that were placed meanwhile count for their user: that can only make it later.
    if (auto now = rank(*top.kind); now < top) {
      ranks.push_back(now);
      std::push_heap(ranks.begin(), ranks.end());
      put_first(group_);
      continue;
    }
    current_ = top.kind;
    auto& [age, look] = *current_->runs.begin();
    return Turn{current_, age, look};
  }
  return std::nullopt;
}

void Queue::Look::wait(bool nowhere, bool whole_shape) {
  if (!current_) return;
  auto& shape = *current_->shape;
  current_->nowhere = nowhere;
  if (!whole_shape) {
    shape.nowhere = shape.nowhere || nowhere;
    put_first(group_);
  } else {
    if (nowhere || shape.nowhere)
      for (auto& rank : groups_[group_].ranks) rank.kind->nowhere = nowhere;
    shape.nowhere = nowhere;
  }
  current_ = nullptr;
}

}  // namespace spell::sched
