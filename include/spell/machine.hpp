// Machines: what runs run on, and the types that runs ask for.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spell/catalogue.hpp"
#include "spell/options.hpp"
#include "spell/result.hpp"
#include "spell/run.hpp"
#include "spell/units.hpp"

namespace spell {

struct GpuInfo {
  int index = 0;
  std::string uuid{}, name{};
  std::int64_t memory = 0;  ///< bytes
};

/// How much of a machine: cores, bytes of memory, GPUs, and managing runs of workflows, which take
/// nothing else.
struct Amounts {
  std::int64_t cpus = 0, memory = 0, gpus = 0, managing = 0;
  friend bool operator==(const Amounts&, const Amounts&) = default;
};

struct MachineInfo {
  std::string name{};
  bool connected = false;
  int cores = 0;
  int places = 0, busy = 0;  ///< of the personal service's own machine: room for runs of one core
  std::int64_t memory = 0, disk_free = 0;  ///< bytes
  std::vector<std::string> serves{};       ///< machine types
  std::map<std::string, std::string>
      capabilities{};    ///< "containment": "namespaces"|"user_namespaces"|"best_effort", …
  std::string id{};      ///< what stays when it is renamed
  bool joined = false;   ///< a worker has joined as this machine, connected or not
  bool drained = false;  ///< gets no new runs
  std::vector<std::string> allow{};  ///< users and projects whose runs it takes; none: all
  std::vector<GpuInfo> gpus{};
  Amounts offered{}, used{};
  std::vector<std::int64_t> runs{};  ///< those that are there now
  std::string version{};             ///< of its worker
  std::optional<Time> created_at{}, joined_at{}, seen_at{};
  std::chrono::seconds lost_after{};  ///< away for so long, its runs count as interrupted
  std::vector<std::string> notes{};   ///< what is degraded, and the remedy
  std::string pool{};                 ///< the type whose pool has made it; "": none has
  std::string phase{};                ///< of a pool's machine: "launching", "up", "ending"
  std::optional<Time> going_at{};     ///< it will be taken away then
  std::string going{};                ///< why: "spot interruption (AWS)", …
};

/// A machine that may join.
struct MachineSpec {
  std::string name{};
  std::vector<std::string> serves{};  ///< machine types besides its own name
  bool serves_cpu = true;             ///< also runs that name no type (a team's service only)
  Amounts offers{};                   ///< no more than this; 0: all there is
  std::vector<std::string> allow{};   ///< users and projects whose runs it takes; none: all
  std::optional<std::chrono::seconds> lost_after{};  ///< none: its types', else ten minutes
};

/// With what a machine joins: once, until it expires.
struct JoinToken {
  std::string url{};    ///< where the service is for the machine: "https://HOST:PORT", "unix:PATH"
  std::string token{};  ///< a secret; shown this once
  std::string machine{};  ///< "": the machine's own name
  std::optional<Time> expires_at{};
  std::string install{};  ///< the line for a shell there that installs spell-worker; "": none
};

/// A named class of machines. Amounts of 0: a run gets its share of the machine.
struct MachineTypeInfo {
  std::string name{};
  bool spot = false, default_auto_resume = false;
  Amounts gives{};
  std::optional<std::chrono::seconds> lost_after{};
  bool declared = false;  ///< by `machine-type add`; else it is only what some machine serves
  std::int64_t machines = 0, connected = 0;
  Amounts largest{};               ///< what the largest of its machines offers
  std::string gpu{};               ///< name of that one's GPUs
  std::int64_t gpu_memory = 0;     ///< bytes of each of them
  std::optional<Dollars> price{};  ///< an hour; none: it is not known
  /// What launches and ends machines for it: "local", "ssh", "aws", "gcp", or the path of a program
  /// (docs/pools.md); "": nothing, machines are added by hand.
  std::string pool{};
  std::map<std::string, std::string> pool_options{};  ///< what the pool's program is told
  std::int64_t min_machines = 0, max_machines = 0;    ///< of the pool
  std::chrono::seconds idle_timeout{}, launch_timeout{};
  std::string pool_problem{};  ///< why the pool has launched nothing lately; "": nothing is wrong
  std::optional<Dollars> spot_price{};  ///< an hour, of a machine that may be taken away
  /// An hour of one of its machines: a spot type's `spot_price` where that is known, else `price`.
  std::optional<Dollars> hourly{};
  /// Where the price is from that counts for it: "set" (for this type), "price list"
  /// (MachineTypes::set_prices()), "catalogue (aws, us-east-1)" (that comes with Spell, of whose
  /// price it is); "": it is not known.
  std::string price_from{};
  std::string catalogue{};  ///< what the catalogue calls it: "V100x4"; "": it is not there
  double throughput = 0;    ///< of training with all its GPUs, of one V100: 1; 0: not known
  /// What the machines of its pool may cost in a month (UTC) while no run is there; none: no cap.
  std::optional<Dollars> max_unused{};
  /// Of that: what they have cost this month, and what they may cost until they can be gone. None
  /// without a cap.
  std::optional<Dollars> unused_spent{}, unused_reserved{};
};

/// Whether machines that may be taken away at any time are wanted.
enum class Spot { any, never, only };

/// What a run needs; 0 and "": nothing in particular.
struct MachineQuery {
  std::int64_t gpus = 0;
  /// Name of the GPUs, or of several that will do, in any case, each as whole words of what drivers
  /// say: "V100|A100". One may have its own number: "V100:8|A100:4".
  std::string gpu{};
  /// Bytes, of each GPU. Sizes are compared as they are sold: 7 % less is the same.
  std::int64_t gpu_memory = 0;
  std::int64_t cpus = 0, memory = 0;  ///< cores, bytes
  Spot spot = Spot::any;
  /// An hour. Types whose price is not known are left out, but for machines of one's own.
  std::optional<Dollars> max_price{};
  /// What comes first among those whose machines are there: the cheapest (machines of one's own
  /// that have no price cost nothing; where a price is not known, the least that is enough), the
  /// one of most machines, the most powerful (GPUs times their memory), the fastest (throughput of
  /// the GPUs that the run gets), the most of that for a dollar. The cheapest and those of most
  /// machines have GPUs only where some are asked for, if there are others.
  enum class Prefer {
    price,
    availability,
    power,
    fastest,
    value,
    cheapest = price
  } prefer = Prefer::price;
  /// A metric that says how fast runs train ("images_per_s"): the median of its last values in the
  /// newest runs of a type, where there are some, counts in place of the catalogue's throughput.
  std::string measured{};
  bool provided = false;  ///< leaves out what no machine serves and no pool launches
};

/// A type that fits a query, and why it has its rank.
struct RankedMachineType : MachineTypeInfo {
  std::string reason{};  ///< "1 x A100 of 40 GB, 2 of 3 machines connected, price not known"
  /// The RunSpec::gpu with which a run gets what was ranked: "V100:4", "1"; "": none were asked
  /// for.
  std::string run_gpu{};
};

/// All types, seen by a query.
struct MachineSelection {
  std::vector<RankedMachineType> fit{};       ///< the best first
  std::vector<RankedMachineType> excluded{};  ///< by name; the reason is what excludes it
};

struct MachineTypeChange {
  std::optional<bool> spot{}, default_auto_resume{};
  std::optional<std::int64_t> cpus{}, memory{}, gpus{};
  std::optional<std::chrono::seconds> lost_after{};  ///< 0: the default again
  std::optional<std::string> pool{};                 ///< "": none; see MachineTypeInfo
  std::optional<std::map<std::string, std::string>> pool_options{};
  std::optional<std::int64_t> min_machines{}, max_machines{};
  std::optional<std::chrono::seconds> idle_timeout{}, launch_timeout{};  ///< 0: the default again
  std::optional<Dollars> price{}, spot_price{};                          ///< an hour
  bool forget_prices = false;  ///< the price list's and the catalogue's count again
  /// See MachineTypeInfo; more than 0. Errors `price_not_known`, `invalid_request` (without a
  /// pool).
  std::optional<Dollars> max_unused{};
  bool forget_max_unused = false;  ///< no cap any more
};

/// Thread-safe.
class Machines {
 public:
  /// Makes a machine that has not joined yet, and the token for it. Error `name_taken`.
  Result<JoinToken> add(const MachineSpec&, CallOptions = {}) const;
  Result<std::vector<MachineInfo>> list(CallOptions = {}) const;
  /// Error `machine_not_found`.
  Result<MachineInfo> get(const std::string& name, CallOptions = {}) const;
  /// A new token; earlier ones that were not used are void. Whoever joins with it takes the place
  /// of the worker that is there.
  Result<JoinToken> get_token(const std::string& name, CallOptions = {}) const;
  /// It gets no new runs; those that are there go on.
  Result<MachineInfo> drain(const std::string& name, CallOptions = {}) const;
  Result<MachineInfo> resume(const std::string& name, CallOptions = {}) const;
  /// Takes it away in `in`, as a cloud does with a spot machine: its runs are told, what they have
  /// finished writing is made safe, and they end `interrupted`, at the latest then. It gets no new
  /// ones until resume(); one that a pool has made is ended. Errors `machine_not_found`,
  /// `not_available`: its worker is too old.
  Result<MachineInfo> interrupt(const std::string& name,
                                std::chrono::seconds in = std::chrono::seconds(30),
                                CallOptions = {}) const;
  Result<MachineInfo> rename(const std::string& name, const std::string& to,
                             CallOptions = {}) const;
  /// Ends its worker's credential at once. Error `machine_in_use`: runs are there, or wait for what
  /// no other machine has.
  Result<> remove(const std::string& name, CallOptions = {}) const;
  /// The same with those runs: they end, `interrupted` where they are there, else `failed`.
  Result<> remove_with_runs(const std::string& name, CallOptions = {}) const;

  explicit Machines(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

/// Thread-safe.
class MachineTypes {
 public:
  /// Error `name_taken`.
  Result<MachineTypeInfo> add(const std::string& name, const MachineTypeChange& = {},
                              CallOptions = {}) const;
  Result<std::vector<MachineTypeInfo>> list(CallOptions = {}) const;
  /// Error `machine_type_not_found`.
  Result<MachineTypeInfo> get(const std::string& name, CallOptions = {}) const;
  /// Those that fit, the best first: never none. Errors `no_machine_type`, which says of
  /// each type what excludes it, and `unknown_gpu`.
  Result<std::vector<RankedMachineType>> select(const MachineQuery&, CallOptions = {}) const;
  /// The same with those that do not fit; none may.
  Result<MachineSelection> explain(const MachineQuery&, CallOptions = {}) const;
  /// What later runs get.
  Result<MachineTypeInfo> scale(const std::string& name, const MachineTypeChange&,
                                CallOptions = {}) const;
  Result<> remove(const std::string& name, CallOptions = {}) const;
  /// What is sold under which name, with the owner's prices.
  Result<std::vector<CatalogueEntry>> catalogue(CallOptions = {}) const;
  /// In place of the owner's price list, which counts for types that have no prices of their own
  /// and goes before the catalogue: lines of "name,price,spot_price" under a line that says so; "":
  /// none any more. Returns how many prices there are. Error `invalid_request`, with the line.
  Result<std::int64_t> set_prices(const std::string& csv, CallOptions = {}) const;
  /// With which a machine joins under its own name and serves this type.
  Result<JoinToken> get_token(const std::string& name, CallOptions = {}) const;

  explicit MachineTypes(std::shared_ptr<detail::Connection> connection)
      : connection_(std::move(connection)) {}

 private:
  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace spell
