// Which waiting run goes to which machine, and why one waits. Pure: a function of the cluster's
// view and the queue; no I/O, no clock, no randomness. Not thread-safe.
//
// Promises: what machines offer is never given twice; a run that can be had at all is not passed
// over for ever. The first run of each shape that does not fit (of the first shapes: so many as may
// be near their turn) holds the machine where least is missing: one behind it may go there only if
// it takes nothing of what is short, and leaves what the first needs of the rest. So the wait of
// the first depends only on runs that are there already. Who is first, and that everybody becomes
// so, is sched/queue.hpp's to say.
//
// Runs with GPUs are packed: machines stay whole for those that want all of one.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "spell/machine.hpp"
#include "spell/result.hpp"

namespace spell::sched {

/// What not every machine can do for a run.
enum class Want { program, image, packages, conda };

struct Machine {
  std::string name, owner;                 ///< owner "": of all
  std::vector<std::string> serves, allow;  ///< types, lower case; users and projects, none: all
  Amounts offers, used;
  std::vector<std::string> gpu_names;
  bool joined = false, connected = false, drained = false;
  /// The personal service's own machine: a run that asks for nothing takes a core and reserves no
  /// memory, and `ahead` of them may be given beyond its cores, to begin as soon as one is free.
  bool by_place = false;
  int ahead = 0;
  int uneven = 0;                       ///< runs here that take anything but one core
  std::map<Want, std::string> lacks{};  ///< why it cannot; others it can
  /// What runs may need that its worker is too old for, see Waiting::needs.
  std::vector<std::string> too_old_for{};
  bool launched = false;  ///< by the pool of the type that it serves
};

/// What launches machines for a type when runs want them.
struct Pool {
  std::int64_t starting = 0;
  std::string problem{};  ///< why it has launched none lately; "": nothing is wrong
  std::string held{};     ///< why it is to launch none: "its pool has used up …"; "": it may
  bool operator==(const Pool&) const = default;
};

/// What a run says of its wants; 0 and none: what its type gives.
struct Ask {
  std::int64_t cpus = 0, memory = 0;
  std::optional<std::int64_t> gpus;
  std::string gpu_name;
};

struct Waiting {
  std::string run, machine_type;  ///< lower case
  std::string owner, user, project;
  Ask ask;
  /// It manages a workflow: it takes nothing but one of the machine's `managing`, so that workflows
  /// never wait for themselves.
  bool manages = false;
  /// The workflow that it manages has such a run already, which may wait for it: it takes nothing.
  bool nested = false;
  std::vector<std::string> needs{};  ///< of a worker: "exclusive", "restore", "allowance",
                                     ///< "environments"
  std::vector<Want> wants{};         ///< of its machine
};

struct Placement {
  std::string run, machine;
  Amounts takes;
};

class Cluster {
 public:
  Cluster() = default;
  Cluster(Cluster&&) = default;  // no copies: a part of it points into another
  Cluster& operator=(Cluster&&) = default;

  /// By its name; in place of one of that name.
  void put(Machine);
  void remove(const std::string& name);
  /// Null: there is none.
  const Machine* find(const std::string& name) const;
  const std::map<std::string, Machine>& machines() const { return machines_; }
  /// What an owner's runs of this type get, amounts of 0: their share; and its pool, if it has one.
  void put_type(const std::string& owner, const std::string& name, const Amounts& gives,
                std::optional<Pool> pool = {}) {
    auto& type = types_[{owner, name}];
    type.gives = gives;
    type.pool = std::move(pool);
  }
  /// What the machines of its pool were like says nothing any more of those to come.
  void forget_launched(const std::string& owner, const std::string& type) {
    if (auto found = types_.find({owner, type}); found != types_.end()) found->second.last.reset();
  }
  void remove_type(const std::string& owner, const std::string& name) {
    types_.erase({owner, name});
  }
  /// Those that another knows, in place of its own.
  void take_types(const Cluster& other) { types_ = other.types_; }
  /// Null: the type has none.
  const Pool* pool(const std::string& owner, const std::string& type) const;

  /// What all machines that have joined offer.
  const Amounts& offers() const { return offers_; }

  void take(const std::string& machine, const Amounts&);
  void give_back(const std::string& machine, const Amounts&);

  /// What a run would take there. 2 cores and 8 GB for type CPU; with GPUs its share of the rest;
  /// never more than there is unless it asks for it.
  Amounts demand(const Machine&, const Waiting&) const;
  /// Whether it could be run, some day, on a machine that has joined, or that a pool may launch.
  /// Errors
  /// `unknown_machine_type`, `machine_not_allowed`, `machine_too_small`, `cannot_build`;
  /// `as_asked`: the type as the user wrote it.
  Result<> check(const Waiting&, const std::string& as_asked) const;
  /// Whether this machine serves the run, and no other has what it wants.
  bool depends_on(const Waiting&, const std::string& machine) const;
  /// How many new machines of a type's pool these runs of it fill, `most` at the most. What its
  /// machines offer is known from those that are there, else from the last that was; before the
  /// first each run is given one.
  std::int64_t machines_for(const std::vector<Waiting>&, std::int64_t most) const;
  /// Why no machine that the pool of its type launches can take this run: "64 cores wanted, 4 on
  /// spot-1"; "": one may, or there is no pool.
  std::string beyond_pool(const Waiting&) const;
  /// "waiting for a V100 machine: 2 busy, 1 away".
  std::string why_waiting(const Waiting&) const;

 private:
  struct Alike;

 public:
  /// One look at the queue: feed it with waiting runs, in the order of their turns. No machine
  /// comes or goes while it lasts.
  class Round {
   public:
    explicit Round(Cluster& cluster) : cluster_(cluster) { ++cluster_.round_; }
    /// None: it has to wait, and with it all of its kind.
    std::optional<Placement> place(const Waiting&);
    /// Of the last that had to wait: no machine that is here now could take it, were it empty.
    bool nowhere() const { return nowhere_; }
    /// Of the last that had to wait: all of its shape have to, whosever they are.
    bool whole_shape() const { return whole_shape_; }

   private:
    struct Able;
    void hold(const std::vector<Able>&);
    Cluster& cluster_;
    std::unordered_map<std::string, bool> waits_;  ///< by shape: those that wait; whether nowhere
    bool nowhere_ = false, whole_shape_ = false;
    int holds_ = 0;
  };

 private:
  friend class Round;
  /// Those that may take it: joined, of its owner, allowed, with the GPUs it names and what it is
  /// built with.
  std::vector<const Machine*> servers(const Waiting&) const;
  bool suits(const Machine&, const Waiting&) const;
  /// What a machine that would let the run in lacks for it, but for room; "": nothing.
  std::string lacks(const Machine&, const Waiting&) const;
  /// The largest that the pool of the run's type has launched; null: none is there.
  const Machine* launched_for(const Waiting&) const;
  /// Likewise, or the last that was there; null: none ever was.
  const Machine* model_for(const Waiting&) const;

  /// What all placements look at of a machine.
  struct Spot {
    const Machine* machine = nullptr;
    Amounts used, held;  ///< held: for those that wait, in the round of that number
    std::int64_t round = 0;
    bool is_open = false;  ///< connected and not drained
  };
  /// Machines that differ in their names only, and in what goes on there; by name. They are looked
  /// at one behind the other, and whether they suit a run is asked once for all.
  struct Alike {
    std::vector<Spot> spots;
    Amounts room;  ///< no more than that is free on any, in the round of that number
    std::int64_t round = 0;
    Spot& of(const std::string& name);
  };
  static std::string likeness(const Machine&);
  void put_spot(const Machine&);
  void remove_spot(const Machine&);
  void set_used(Machine&, const Amounts&);
  /// Those that serve the run's type: whole groups, and the machine of this name.
  std::vector<std::pair<Alike*, Spot*>> groups(const Waiting&);
  Amounts gives(const Waiting&) const;
  static Amounts demand(const Machine&, const Waiting&, const Amounts& gives);

  struct Type {
    Amounts gives{};
    std::optional<Pool> pool{};
    std::optional<Machine> last{};  ///< of those that its pool has launched, the last that went
  };
  std::map<std::string, Machine> machines_;
  std::map<std::string, Alike> alike_;                          ///< by likeness()
  std::map<std::string, std::map<std::string, Alike*>> serve_;  ///< by type, then likeness
  std::unordered_map<std::string, Alike*> spots_;               ///< by machine
  std::map<std::string, std::int64_t> choosy_;  ///< type -> machines that do not take everybody's
  Amounts offers_;
  std::int64_t round_ = 0;
  std::map<std::string, std::set<std::string>> served_;  ///< type -> machines that have joined
  std::map<std::pair<std::string, std::string>, Type> types_;  ///< by owner and name
};

/// What says which machines could take a run, but for its user and project, which machines may ask
/// for, too.
std::string shape_of(const Waiting&);
/// Runs of the same kind can be placed on the same machines in the same way.
std::string kind_of(const Waiting&);
/// Whether a name is served: the machine's own, or one of its types.
bool serves(const Machine&, std::string_view machine_type);

}  // namespace spell::sched
