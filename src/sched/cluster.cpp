#include "sched/cluster.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

namespace spell::sched {

namespace {

constexpr Amounts cpu_type{2, 8'000'000'000, 0};

/// In the order in which they are looked at.
constexpr std::int64_t Amounts::*parts[] = {&Amounts::cpus, &Amounts::memory, &Amounts::gpus,
                                            &Amounts::managing};

bool fits(const Amounts& wanted, const Amounts& room) {
  return std::all_of(std::begin(parts), std::end(parts),
                     [&](auto part) { return wanted.*part <= room.*part; });
}

Amounts plus(Amounts a, const Amounts& b) {
  for (auto part : parts) a.*part += b.*part;
  return a;
}

Amounts minus(Amounts a, const Amounts& b) {
  for (auto part : parts) a.*part -= b.*part;
  return a;
}

bool one_core(const Amounts& amounts) { return amounts == Amounts{1, 0, 0}; }
/// What a run needs of a worker, for people.
std::string described(const std::vector<std::string>& needs) {
  std::vector<std::string> out;
  for (auto& need : needs)
    out.push_back(need == "exclusive"   ? "--exclusive"
                  : need == "allowance" ? "--max-cost or a budget"
                  : need == "restore"   ? "runs that go on from another's files"
                  : need == "environments"
                      ? "environments (--apt, --pip, --pip-req, --setup), or have no namespaces"
                      : need);
  return base::join(out, " and ");
}

/// Whether runs that take one core can still be counted by their cores alone.
bool is_even(const Amounts& amounts) {
  return one_core(amounts) || amounts == Amounts{0, 0, 0, amounts.managing};
}

std::string shown(std::string type) {
  if (type == "cpu") return "CPU";
  return type;
}

std::string gigabytes(std::int64_t bytes) {
  return std::to_string(bytes / 1'000'000'000) + "." + std::to_string(bytes / 100'000'000 % 10) +
         " GB";
}

/// "4 GPUs", "64 cores", "100.0 GB of memory": the first of `wanted` that is not there.
std::optional<std::pair<std::string, std::string>> shortage(const Amounts& wanted,
                                                            const Amounts& there) {
  if (wanted.managing > there.managing)
    return std::pair(base::count(wanted.managing, "managing run"), std::to_string(there.managing));
  if (wanted.gpus > there.gpus)
    return std::pair(base::count(wanted.gpus, "GPU"), std::to_string(there.gpus));
  if (wanted.cpus > there.cpus)
    return std::pair(base::count(wanted.cpus, "core"), std::to_string(there.cpus));
  if (wanted.memory > there.memory)
    return std::pair(gigabytes(wanted.memory) + " of memory", gigabytes(there.memory));
  return std::nullopt;
}

}  // namespace

std::string kind_of(const Waiting& run) {
  std::string kind = (run.nested ? "nested " : run.manages ? "manages " : "") + run.machine_type;
  if (run.builds) kind = "builds " + kind;
  if (run.packages) kind = "packages " + kind;
  for (auto& need : run.needs) kind = need + " " + kind;
  for (auto& part :
       {run.owner, run.user, run.project, run.ask.gpu_name, std::to_string(run.ask.cpus),
        std::to_string(run.ask.memory), run.ask.gpus ? std::to_string(*run.ask.gpus) : ""})
    kind += '\n' + part;
  return kind;
}

bool serves(const Machine& machine, std::string_view machine_type) {
  return machine.name == machine_type || std::find(machine.serves.begin(), machine.serves.end(),
                                                   machine_type) != machine.serves.end();
}

void Cluster::put(Machine machine) {
  remove(machine.name);
  if (machine.joined) {
    served_[machine.name].insert(machine.name);
    for (auto& type : machine.serves) served_[type].insert(machine.name);
  }
  std::string name = machine.name;
  machines_[name] = std::move(machine);
}

void Cluster::remove(const std::string& name) {
  auto found = machines_.find(name);
  if (found == machines_.end()) return;
  auto forget = [&](const std::string& type) {
    auto served = served_.find(type);
    if (served == served_.end()) return;
    served->second.erase(name);
    if (served->second.empty()) served_.erase(served);
  };
  forget(name);
  auto& machine = found->second;
  for (auto& type : machine.serves) {
    forget(type);
    auto known = types_.find({machine.owner, type});
    if (machine.launched && machine.joined && machine.offers.cpus > 0 && known != types_.end())
      known->second.last = machine;
  }
  machines_.erase(found);
}

const Machine* Cluster::find(const std::string& name) const {
  auto found = machines_.find(name);
  return found == machines_.end() ? nullptr : &found->second;
}

void Cluster::take(const std::string& name, const Amounts& amounts) {
  auto& machine = machines_.at(name);
  machine.used = plus(machine.used, amounts);
  if (!is_even(amounts)) ++machine.uneven;
}

void Cluster::give_back(const std::string& name, const Amounts& amounts) {
  auto& machine = machines_.at(name);
  machine.used = minus(machine.used, amounts);
  if (!is_even(amounts)) --machine.uneven;
}

bool Cluster::suits(const Machine& machine, const Waiting& run) const {
  if (!machine.owner.empty() && machine.owner != run.owner) return false;
  auto& allow = machine.allow;
  return allow.empty() || std::find(allow.begin(), allow.end(), run.user) != allow.end() ||
         (!run.project.empty() &&
          std::find(allow.begin(), allow.end(), run.project) != allow.end());
}

std::string Cluster::lacks(const Machine& machine, const Waiting& run) const {
  if (run.builds && !machine.lacks_for_builds.empty())
    return machine.name + " has no " + machine.lacks_for_builds + " to build a program with";
  if (run.packages && !machine.lacks_for_packages.empty())
    return machine.name + " cannot have apt packages: " + machine.lacks_for_packages;
  auto& old = machine.too_old_for;
  for (auto& need : run.needs)
    if (std::find(old.begin(), old.end(), need) != old.end())
      return "the worker of " + machine.name + " is too old for " + described({need});
  std::string gpu = base::lower(run.ask.gpu_name);
  if (!gpu.empty() &&
      std::none_of(machine.gpu_names.begin(), machine.gpu_names.end(),
                   [&](auto& other) { return base::lower(other).find(gpu) != other.npos; }))
    return machine.name + " has no '" + run.ask.gpu_name + "' GPU";
  return "";
}

std::vector<const Machine*> Cluster::servers(const Waiting& run) const {
  std::vector<const Machine*> out;
  auto served = served_.find(run.machine_type);
  if (served == served_.end()) return out;
  for (auto& name : served->second)
    if (auto& machine = machines_.at(name); suits(machine, run) && lacks(machine, run).empty())
      out.push_back(&machine);
  return out;
}

Amounts Cluster::demand(const Machine& machine, const Waiting& run) const {
  if (run.manages) return {0, 0, 0, run.nested ? 0 : 1};
  auto& offers = machine.offers;
  bool cpu = run.machine_type == "cpu";
  Amounts gives;
  if (auto type = types_.find({run.owner, run.machine_type}); type != types_.end())
    gives = type->second.gives;
  Amounts takes;
  if (run.ask.gpus)
    takes.gpus = *run.ask.gpus;
  else if (gives.gpus > 0)
    takes.gpus = gives.gpus;
  else
    takes.gpus = (!cpu || !run.ask.gpu_name.empty()) && offers.gpus > 0 ? 1 : 0;

  Amounts share = machine.by_place ? Amounts{1, 0, 0} : cpu_type;
  if (takes.gpus > 0 && offers.gpus > 0 && !machine.by_place) {
    std::int64_t part = std::min(takes.gpus, offers.gpus);
    share.cpus = offers.cpus * part / offers.gpus;
    share.memory = offers.memory / offers.gpus * part;
  }
  for (auto part : {&Amounts::cpus, &Amounts::memory}) {
    std::int64_t asked = part == &Amounts::cpus ? run.ask.cpus : run.ask.memory;
    takes.*part = asked > 0         ? asked
                  : gives.*part > 0 ? gives.*part
                                    : std::min(share.*part, offers.*part);
  }
  // As it is sold: of 16 GB a kernel offers 15.5.
  if (takes.memory > offers.memory && offers.memory >= takes.memory - takes.memory / 100 * 7)
    takes.memory = offers.memory;
  return takes;
}

const Pool* Cluster::pool(const std::string& owner, const std::string& type) const {
  auto found = types_.find({owner, type});
  return found == types_.end() || !found->second.pool ? nullptr : &*found->second.pool;
}

const Machine* Cluster::launched_for(const Waiting& run) const {
  const Machine* largest = nullptr;
  auto size = [](const Machine& machine) {
    auto& offers = machine.offers;
    return std::tuple(offers.gpus, offers.cpus, offers.memory);
  };
  auto served = served_.find(run.machine_type);
  if (served == served_.end()) return largest;
  for (auto& name : served->second) {
    auto& machine = machines_.at(name);
    if (machine.launched && suits(machine, run) && (!largest || size(*largest) < size(machine)))
      largest = &machine;
  }
  return largest;
}

const Machine* Cluster::model_for(const Waiting& run) const {
  if (auto* there = launched_for(run)) return there;
  auto type = types_.find({run.owner, run.machine_type});
  bool known = type != types_.end() && type->second.last && suits(*type->second.last, run);
  return known ? &*type->second.last : nullptr;
}

std::string Cluster::beyond_pool(const Waiting& run) const {
  auto* model = pool(run.owner, run.machine_type) ? model_for(run) : nullptr;
  if (!model) return "";
  if (auto lacking = lacks(*model, run); !lacking.empty()) return lacking;
  auto lacking = shortage(demand(*model, run), model->offers);
  return lacking ? lacking->first + " wanted, " + lacking->second + " on " + model->name : "";
}

std::int64_t Cluster::machines_for(const std::vector<Waiting>& runs, std::int64_t most) const {
  std::int64_t blind = 0;      // without knowing what a machine offers
  bool manages_blind = false;  // one carries them all
  std::vector<Amounts> rooms;
  for (auto& run : runs) {
    if (blind + std::ssize(rooms) >= most) break;
    auto* model = model_for(run);
    if (!model) {
      if (!run.manages || !std::exchange(manages_blind, true)) ++blind;
      continue;
    }
    auto takes = demand(*model, run);
    if (!lacks(*model, run).empty() || !fits(takes, model->offers)) continue;
    auto room =
        std::find_if(rooms.begin(), rooms.end(), [&](auto& there) { return fits(takes, there); });
    if (room == rooms.end()) room = rooms.insert(room, model->offers);
    *room = minus(*room, takes);
  }
  return std::min(most, blind + std::ssize(rooms));
}

Result<> Cluster::check(const Waiting& run, const std::string& as_asked) const {
  // What the machines of a pool are like is known when there is one.
  if (pool(run.owner, run.machine_type) && !launched_for(run)) return ok();
  std::string type = as_asked.empty() ? "CPU" : as_asked;
  auto served = served_.find(run.machine_type);
  // What others have is not there for this owner.
  auto is_there = [&](const std::string& name) {
    auto machine = machines_.find(name);
    return machine != machines_.end() &&
           (machine->second.owner.empty() || machine->second.owner == run.owner);
  };
  if (served == served_.end() ||
      std::none_of(served->second.begin(), served->second.end(), is_there)) {
    if (is_there(run.machine_type))
      return base::error("unknown_machine_type",
                         "machine '" + type + "' has not joined yet: `spell machine get-token " +
                             run.machine_type + "` shows how");
    std::vector<std::string> known;
    for (auto& [name, machines] : served_)
      if (std::any_of(machines.begin(), machines.end(), is_there)) known.push_back(shown(name));
    std::string way =
        "; `spell machine add NAME --serves " + type + "` makes a machine join that does";
    if (run.machine_type == "cpu")
      way = "; `spell machine add NAME` makes a machine join that does";
    return base::error("unknown_machine_type",
                       "no machine serves '" + type + "'" +
                           (known.empty() ? std::string("; none has joined yet")
                                          : "; there are: " + base::join(known, ", ")) +
                           way);
  }
  auto able = servers(run);
  if (able.empty() && !run.needs.empty()) {
    auto anyhow = run;
    anyhow.needs.clear();
    SPELL_TRY(check(anyhow, as_asked));
    std::vector<std::string> older;
    for (auto* machine : servers(anyhow)) older.push_back(machine->name);
    return base::error("not_available", "the workers of all machines that serve '" + type + "' (" +
                                            base::join(older, ", ") + ") are too old for " +
                                            described(run.needs) + ": upgrade one");
  }
  if (able.empty() && run.packages) {
    auto anyhow = run;
    anyhow.packages = false;
    SPELL_TRY(check(anyhow, as_asked));
    std::vector<std::string> lacking;
    for (auto* machine : servers(anyhow))
      lacking.push_back(machine->name + " (" + machine->lacks_for_packages + ")");
    return base::error("not_available",
                       "no machine that serves '" + type +
                           "' can have apt packages: " + base::join(lacking, ", "));
  }
  if (able.empty() && run.builds) {
    auto anyhow = run;
    anyhow.builds = false;
    SPELL_TRY(check(anyhow, as_asked));
    std::vector<std::string> lacking;
    for (auto* machine : servers(anyhow))
      lacking.push_back(machine->name + " has no " + machine->lacks_for_builds);
    return base::error("cannot_build",
                       "no machine that serves '" + type +
                           "' can build a program: " + base::join(lacking, ", ") +
                           "; install that on one and start its worker anew, or build the program "
                           "here and send it (--program)");
  }
  if (able.empty()) {
    bool gpu = !run.ask.gpu_name.empty() &&
               std::any_of(served->second.begin(), served->second.end(),
                           [&](auto& name) { return suits(machines_.at(name), run); });
    if (gpu)
      return base::error("machine_too_small",
                         "no machine that serves '" + type + "' has a '" + run.ask.gpu_name +
                             "' GPU; `spell machine list` shows what there is");
    return base::error("machine_not_allowed",
                       "no machine that serves '" + type + "' takes runs of " + run.user +
                           (run.project.empty() ? "" : " or of project " + run.project) +
                           "; an administrator can `spell machine add` one with --allow " +
                           run.user);
  }
  std::string largest;
  for (auto* machine : able) {
    auto lacks = shortage(demand(*machine, run), machine->offers);
    if (!lacks) return ok();
    largest = lacks->first + ": " + machine->name + " has " + lacks->second;
  }
  return base::error("machine_too_small", "no machine that serves '" + type + "' has " + largest +
                                              (able.size() > 1 ? ", no other has more" : "") +
                                              "; `spell machine list` shows what there is");
}

bool Cluster::depends_on(const Waiting& run, const std::string& machine) const {
  bool serves = false;
  for (auto* other : servers(run)) {
    if (other->name == machine)
      serves = true;
    else if (!shortage(demand(*other, run), other->offers))
      return false;
  }
  return serves;
}

bool Cluster::Round::may_take(const Machine& machine, const Amounts& takes) const {
  if (!machine.connected || machine.drained) return false;
  auto after = plus(machine.used, takes);
  // Of what it takes nothing of, runs that were given ahead may have more than there is.
  if (!std::all_of(std::begin(parts), std::end(parts), [&](auto part) {
        return takes.*part == 0 || after.*part <= machine.offers.*part;
      }))
    return false;
  auto held = held_.find(machine.name);
  if (held == held_.end()) return true;
  auto with_older = plus(after, held->second);
  return std::all_of(std::begin(parts), std::end(parts), [&](auto part) {
    return takes.*part == 0 || with_older.*part <= machine.offers.*part;
  });
}

/// Keeps the machine where the least is missing for this run.
void Cluster::Round::hold(const std::vector<const Machine*>& able, const Waiting& run) {
  // What is missing, GPUs first: those are what is waited for.
  using Missing = std::tuple<std::int64_t, std::int64_t, std::int64_t>;
  std::optional<Missing> least;
  const Machine* best = nullptr;
  for (auto* machine : able) {
    if (!machine->connected || machine->drained) continue;
    auto takes = cluster_.demand(*machine, run);
    if (!fits(takes, machine->offers)) continue;
    auto after = plus(machine->used, takes);
    if (auto held = held_.find(machine->name); held != held_.end())
      after = plus(after, held->second);
    auto lacks = minus(after, machine->offers);
    Missing missing{std::max<std::int64_t>(0, lacks.gpus), std::max<std::int64_t>(0, lacks.cpus),
                    std::max<std::int64_t>(0, lacks.memory)};
    if (least && *least <= missing) continue;
    least = missing;
    best = machine;
  }
  if (!best) return;
  auto& held = held_[best->name];
  held = plus(held, cluster_.demand(*best, run));
}

std::optional<Placement> Cluster::Round::place(const Waiting& run) {
  auto able = cluster_.servers(run);
  const Machine* best = nullptr;
  Amounts best_takes;
  // A run with GPUs goes where the fewest stay free; another keeps away from them, and goes where
  // the most cores are free. The first by name where several are as good.
  using Cost = std::tuple<std::int64_t, std::int64_t>;
  std::optional<Cost> least;
  for (auto* machine : able) {
    auto takes = cluster_.demand(*machine, run);
    if (!may_take(*machine, takes)) continue;
    auto free = minus(machine->offers, machine->used);
    Cost cost =
        takes.gpus > 0 ? Cost{free.gpus, -free.cpus} : Cost{machine->offers.gpus, -free.cpus};
    if (least && *least <= cost) continue;
    least = cost;
    best = machine;
    best_takes = takes;
  }
  // Ahead of a free place only where no other machine could take it sooner.
  if (!best && able.size() == 1 && able[0]->connected && !able[0]->drained) {
    auto& only = *able[0];
    best_takes = cluster_.demand(only, run);
    auto held = held_.find(only.name);  // for a managing run: no business of one that takes a core
    bool is_free = held == held_.end() || held->second == Amounts{0, 0, 0, held->second.managing};
    if (only.by_place && only.uneven == 0 && one_core(best_takes) && is_free &&
        only.used.cpus < only.offers.cpus + only.ahead)
      best = &only;
  }
  if (!best) {
    hold(able, run);
    return std::nullopt;
  }
  cluster_.take(best->name, best_takes);
  return Placement{run.run, best->name, best_takes};
}

std::string Cluster::why_waiting(const Waiting& run) const {
  auto able = servers(run);
  bool named = machines_.contains(run.machine_type);
  std::string text = named ? "waiting for machine " + run.machine_type + ": "
                           : "waiting for a " + shown(run.machine_type) + " machine: ";
  if (able.empty() && !run.needs.empty()) {
    auto anyhow = run;
    anyhow.needs.clear();
    if (auto others = servers(anyhow).size(); others > 0)
      return text + (others == 1 ? "its worker is" : "their workers are") + " too old for " +
             described(run.needs) + ": upgrade one";
  }
  auto* pool = this->pool(run.owner, run.machine_type);
  bool fits_one = std::any_of(able.begin(), able.end(), [&](auto* machine) {
    return fits(demand(*machine, run), machine->offers);
  });
  if (auto beyond = fits_one ? "" : beyond_pool(run); !beyond.empty())
    return text + "none of its pool can take it: " + beyond;
  // Of what is not there.
  std::string coming;
  if (pool && pool->starting > 0)
    coming = std::to_string(pool->starting) + (pool->starting == 1 ? " is" : " are") + " starting";
  else if (pool && !pool->problem.empty())
    coming = "the pool says: " + pool->problem;
  if (able.empty() && !coming.empty()) return text + coming;
  if (able.empty() && pool) return text + "none is there";
  if (able.empty())
    return text + (run.builds     ? "none can build its program"
                   : run.packages ? "none can have apt packages"
                                  : "none serves it");
  int busy = 0, away = 0, drained = 0, small = 0, free = 0;
  for (auto* machine : able) {
    auto takes = demand(*machine, run);
    if (!machine->connected)
      ++away;
    else if (machine->drained)
      ++drained;
    else if (!fits(takes, machine->offers))
      ++small;
    else if (fits(plus(machine->used, takes), machine->offers))
      ++free;
    else
      ++busy;
  }
  auto& first = *able[0];
  bool alone = able.size() == 1 && coming.empty();
  if (alone && first.by_place && !run.manages && away == 0 && drained == 0)
    return text + std::to_string(std::min(first.used.cpus, first.offers.cpus)) + " of " +
           std::to_string(first.offers.cpus) + " places busy";
  if (alone && busy == 1) {
    auto takes = demand(first, run);
    auto lacks = shortage(takes, minus(first.offers, first.used));
    return text + lacks->first + " wanted, " + lacks->second + " free" +
           (takes.gpus > 0 && lacks->first.find("GPU") != std::string::npos
                ? " of " + std::to_string(first.offers.gpus)
                : "");
  }
  if (static_cast<std::size_t>(away) == able.size() && coming.empty())
    return text + (away == 1 ? "it is" : "all " + std::to_string(away) + " are") + " not connected";
  std::vector<std::string> parts;
  auto add = [&](int n, const char* what) {
    if (n > 0) parts.push_back(std::to_string(n) + " " + what);
  };
  add(busy, "busy");
  add(free, "kept for an older run");
  add(away, "not connected");
  add(drained, "drained");
  add(small, "too small");
  if (!coming.empty()) parts.push_back(coming);
  return text + base::join(parts, ", ");
}

}  // namespace spell::sched
