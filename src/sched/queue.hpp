// Whose turn it is among the waiting runs. Pure: a function of what was put in, of who uses what,
// and of the time that is handed in; no I/O, no clock, no randomness. Not thread-safe.
//
// The order: the higher level first; then runs that go on before those that begin; then the user
// who uses least of what the machines offer, by the part of it that is his largest, runs placed in
// this look included; then the older run.
//
// A level is the priority, raised by waiting: the first run of each stream (a user's runs of one
// priority that ask for one machine type) rises by one each `patience`, counted from when it became
// the first, and above all priorities it is a matter of age alone. So every stream moves, however
// many others come meanwhile, and whoever has put in thousands of runs gains nothing by their age.
// What nothing that is here could take keeps nobody of its stream from rising.
#pragma once
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "sched/cluster.hpp"

namespace spell::sched {

enum class Priority : std::int8_t { low, normal, high };

/// Of a run, what its place among those of its kind depends on.
struct Age {
  bool begins = true;  ///< it does not go on from another
  std::int64_t created_us = 0, number = 0;
  auto operator<=>(const Age&) const = default;
};

class Queue {
  struct Stream;
  struct Use;
  struct Shape;

 public:
  static constexpr std::int64_t usual_patience_us = 3'600'000'000;
  using User = std::pair<std::string, std::string>;  ///< owner, name

  /// Runs that are placed alike, of one user, project and priority.
  struct Kind {
    Waiting wants{};  ///< `run` of it: ""
    Priority priority = Priority::normal;
    std::map<Age, bool> runs{};  ///< whether each is to be looked at before it is placed
    bool nowhere = false;        ///< nothing that was here when it was looked at could take it

   private:
    friend class Queue;
    Stream* stream = nullptr;
    Use* use = nullptr;  ///< of its user
    Shape* shape = nullptr;
  };

  explicit Queue(std::int64_t patience_us = usual_patience_us) : patience_(patience_us) {}

  /// The kind that it is of now: there as long as the run is not taken out.
  Kind* add(Waiting, Priority, const Age&, bool look = false);
  void take_out(Kind*, const Age&);
  void clear();
  const std::map<std::string, Kind>& kinds() const { return kinds_; }
  std::size_t size() const { return size_; }

  /// What a user's runs take of machines.
  void take(const User&, const Amounts&);
  void give_back(const User&, const Amounts&);
  /// It gets its machine, and is about to be taken out.
  void placed(Kind*, const Age&, std::int64_t now_us);

  /// One look, from the first on. Between two turns runs may be placed or taken out; those that
  /// come are for the next look. One at a time.
  class Look {
   public:
    Look(Queue&, const Amounts& offers, std::int64_t now_us);
    ~Look();
    Look(const Look&) = delete;
    Look& operator=(const Look&) = delete;

    struct Turn {
      Kind* kind = nullptr;
      Age run{};
      bool look = false;  ///< see Kind::runs
    };
    /// Whose turn it is now; the same again, if it stays. None: nobody is left.
    std::optional<Turn> next();
    /// It has to wait, and so has its kind, for this look. See Round for the others.
    void wait(bool nowhere = false, bool whole_shape = false);

   private:
    struct Rank {
      int level = 0;  ///< the higher the earlier; of all else the smaller
      bool begins = true;
      std::int64_t use = 0, since_us = 0, number = 0;
      Kind* kind = nullptr;
      auto order() const { return std::tie(begins, use, since_us, number, kind->wants.owner); }
      bool operator<(const Rank& other) const {  // the last is the next
        return level != other.level ? level < other.level : other.order() < order();
      }
    };
    /// Kinds of one shape: if one has to wait all of them may have to, and cost nothing more.
    struct Group {
      std::vector<Rank> ranks{};  ///< a heap
    };
    /// The next of a group.
    struct First {
      Rank rank{};
      std::size_t group = 0;
      bool operator<(const First& other) const { return rank < other.rank; }
    };
    Rank rank(Kind&) const;
    void put_first(std::size_t group);
    Queue& queue_;
    const Amounts offers_;
    const std::int64_t now_;
    std::vector<Group> groups_;
    std::priority_queue<First> firsts_;
    Kind* current_ = nullptr;
    std::size_t group_ = 0;  ///< of the current
  };

 private:
  friend class Look;
  using StreamKey = std::tuple<std::string, std::string, std::string, Priority>;
  struct Stream {
    std::size_t kinds = 0;
    std::map<Age, Kind*> heads{};  ///< of its kinds
    std::int64_t moved_us = 0;     ///< when its first got a machine; 0: none did
    /// Of those that something here could take; null: there is none.
    const Kind* first() const;
  };
  struct Use {
    Amounts used{};
    std::int64_t part = 0;  ///< the largest, in millionths of what there is
    std::int64_t look = 0;  ///< when that was found; 0: to be found anew
  };
  struct Shape {
    std::size_t kinds = 0;
    std::int64_t look = 0;
    std::size_t group = 0;  ///< in the look of that number
    bool nowhere = false;   ///< of one of its kinds at least
  };
  static StreamKey stream_of(const Kind&);
  void drop_if_empty(Kind&);

  std::int64_t patience_;
  std::map<std::string, Kind> kinds_;
  std::map<StreamKey, Stream> streams_;
  std::map<User, Use> uses_;
  std::map<std::string, Shape> shapes_;
  std::int64_t looks_ = 0;
  std::size_t size_ = 0;
  std::vector<Kind*> emptied_;  ///< while there is a look
  bool looking_ = false;
};

}  // namespace spell::sched
