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
/// Shapes in a round that hold a machine: more would only leave them empty.
constexpr int most_holds = 64;

/// In the order in which they are looked at.
constexpr std::int64_t Amounts::*parts[] = {&Amounts::cpus, &Amounts::memory, &Amounts::gpus,
                                            &Amounts::managing};

bool fits(const Amounts& wanted, const Amounts& room) {
  return std::all_of(std::begin(parts), std::end(parts),
                     [&](auto part) { return wanted.*part <= room.*part; });
}

Amounts added(Amounts a, const Amounts& b) {
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

/// "no machine can " and "none can ".
struct WantText {
  const char *can, *code, *way_out;
};
WantText text_of(Want want) {
  switch (want) {
    case Want::program:
      return {"build a program", "cannot_build",
              "; install that on one and start its worker anew, or build the program here and send "
              "it (--program)"};
    case Want::image:
      return {"run in an image", "not_available", ""};
    case Want::packages:
      return {"have apt packages", "not_available", ""};
    case Want::conda:
      return {"have conda packages", "not_available", ""};
  }
  return {"", "", ""};
}

}  // namespace

std::string shape_of(const Waiting& run) {
  std::string out;
  for (auto& need : run.needs) (out += need) += ' ';
  for (auto want : run.wants) (out += text_of(want).can) += ' ';
  if (run.manages) out += run.nested ? "nested " : "manages ";
  auto& ask = run.ask;
  ((out += run.machine_type) += '\n') += run.owner;
  ((out += '\n') += ask.gpu_name) += '\n';
  ((out += std::to_string(ask.cpus)) += '\n') += std::to_string(ask.memory);
  out += '\n';
  if (ask.gpus) out += std::to_string(*ask.gpus);
  return out;
}

std::string kind_of(const Waiting& run) {
  return shape_of(run) + '\n' + run.user + '\n' + run.project;
}

bool serves(const Machine& machine, std::string_view machine_type) {
  return machine.name == machine_type || std::find(machine.serves.begin(), machine.serves.end(),
                                                   machine_type) != machine.serves.end();
}

std::string Cluster::likeness(const Machine& machine) {
  std::string out = machine.owner;
  auto add = [&](const std::string& part) { (out += '\n') += part; };
  auto add_all = [&](const std::vector<std::string>& parts) {
    add(std::to_string(parts.size()));
    for (auto& part : parts) add(part);
  };
  for (auto* parts : {&machine.serves, &machine.allow, &machine.gpu_names, &machine.too_old_for})
    add_all(*parts);
  for (auto& [want, why] : machine.lacks) (add(text_of(want).can), add(why));
  for (auto part : parts) add(std::to_string(machine.offers.*part));
  add(std::to_string(machine.ahead) + (machine.by_place ? " by place" : ""));
  return out;
}

Cluster::Spot& Cluster::Alike::of(const std::string& name) {
  return *std::lower_bound(spots.begin(), spots.end(), name,
                           [](auto& spot, auto& other) { return spot.machine->name < other; });
}

void Cluster::put_spot(const Machine& machine) {
  auto alike = likeness(machine);
  auto& group = alike_[alike];
  auto at = std::lower_bound(group.spots.begin(), group.spots.end(), machine.name,
                             [](auto& spot, auto& other) { return spot.machine->name < other; });
  group.spots.insert(at, {&machine, machine.used, {}, 0, machine.connected && !machine.drained});
  spots_[machine.name] = &group;
  for (auto& type : machine.serves) serve_[type][alike] = &group;
  offers_ = added(offers_, machine.offers);
  if (machine.allow.empty()) return;
  ++choosy_[machine.name];
  for (auto& type : machine.serves) ++choosy_[type];
}

void Cluster::remove_spot(const Machine& machine) {
  auto alike = likeness(machine);
  auto& group = alike_.at(alike);
  group.spots.erase(group.spots.begin() + (&group.of(machine.name) - group.spots.data()));
  spots_.erase(machine.name);
  if (group.spots.empty()) {
    for (auto& type : machine.serves)
      if (auto served = serve_.find(type); served != serve_.end()) {
        served->second.erase(alike);
        if (served->second.empty()) serve_.erase(served);
      }
    alike_.erase(alike);
  }
  offers_ = minus(offers_, machine.offers);
  if (machine.allow.empty()) return;
  auto less = [&](const std::string& type) {
    if (auto found = choosy_.find(type); found != choosy_.end() && --found->second == 0)
      choosy_.erase(found);
  };
  less(machine.name);
  for (auto& type : machine.serves) less(type);
}

void Cluster::put(Machine machine) {
  remove(machine.name);
  if (machine.joined) {
    served_[machine.name].insert(machine.name);
    for (auto& type : machine.serves) served_[type].insert(machine.name);
  }
  auto& put = machines_[machine.name];
  put = std::move(machine);
  if (put.joined) put_spot(put);
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
  if (machine.joined) remove_spot(machine);
  machines_.erase(found);
}

const Machine* Cluster::find(const std::string& name) const {
  auto found = machines_.find(name);
  return found == machines_.end() ? nullptr : &found->second;
}

void Cluster::set_used(Machine& machine, const Amounts& used) {
  machine.used = used;
  if (machine.joined) spots_.at(machine.name)->of(machine.name).used = used;
}

void Cluster::take(const std::string& name, const Amounts& amounts) {
  auto& machine = machines_.at(name);
  set_used(machine, added(machine.used, amounts));
  if (!is_even(amounts)) ++machine.uneven;
}

void Cluster::give_back(const std::string& name, const Amounts& amounts) {
  auto& machine = machines_.at(name);
  set_used(machine, minus(machine.used, amounts));
  if (machine.joined) spots_.at(name)->round = 0;  // there is more room than was seen
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
  for (auto want : run.wants)
    if (auto lack = machine.lacks.find(want); lack != machine.lacks.end())
      return machine.name + " cannot " + text_of(want).can + ": " + lack->second;
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

Amounts Cluster::gives(const Waiting& run) const {
  auto type = types_.find({run.owner, run.machine_type});
  return type == types_.end() ? Amounts() : type->second.gives;
}

Amounts Cluster::demand(const Machine& machine, const Waiting& run) const {
  return demand(machine, run, gives(run));
}

Amounts Cluster::demand(const Machine& machine, const Waiting& run, const Amounts& gives) {
  if (run.manages) return {0, 0, 0, run.nested ? 0 : 1};
  auto& offers = machine.offers;
  bool cpu = run.machine_type == "cpu";
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
  if (able.empty() && !run.wants.empty()) {
    auto anyhow = run;
    auto want = anyhow.wants.back();
    anyhow.wants.pop_back();
    SPELL_TRY(check(anyhow, as_asked));
    std::vector<std::string> lacking;
    for (auto* machine : servers(anyhow))
      lacking.push_back(machine->name + " (" + machine->lacks.at(want) + ")");
    auto text = text_of(want);
    return base::error(text.code, "no machine that serves '" + type + "' can " + text.can + ": " +
                                      base::join(lacking, ", ") + text.way_out);
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
    // A service that has just been started for this run: its own worker has not said yet what it
    // has.
    if (machine->by_place && !machine->connected && machine->offers.memory == 0) return ok();
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

std::vector<std::pair<Cluster::Alike*, Cluster::Spot*>> Cluster::groups(const Waiting& run) {
  std::vector<std::pair<Alike*, Spot*>> out;
  auto served = serve_.find(run.machine_type);
  if (served != serve_.end())
    for (auto& [likeness, group] : served->second) out.emplace_back(group, nullptr);
  auto named = spots_.find(run.machine_type);
  bool known = named == spots_.end() || std::any_of(out.begin(), out.end(), [&](auto& entry) {
                 return entry.first == named->second;
               });
  if (!known) out.emplace_back(named->second, &named->second->of(run.machine_type));
  return out;
}

/// Machines that are alike and suit a run, and what it would take of each.
struct Cluster::Round::Able {
  Alike* group;
  Spot *begin, *end;
  Amounts takes;
};

/// Keeps the machine where the least is missing for this run.
void Cluster::Round::hold(const std::vector<Able>& able) {
  if (holds_ == most_holds) {
    nowhere_ = std::none_of(able.begin(), able.end(), [](auto& group) {
      return fits(group.takes, group.begin->machine->offers) &&
             std::any_of(group.begin, group.end, [](auto& spot) { return spot.is_open; });
    });
    return;
  }
  // What is missing, GPUs first: those are what is waited for.
  using Missing = std::tuple<std::int64_t, std::int64_t, std::int64_t>;
  std::optional<Missing> least;
  Spot* best = nullptr;
  const Amounts* takes = nullptr;
  for (auto& group : able) {
    if (!fits(group.takes, group.begin->machine->offers)) continue;
    auto room = minus(group.begin->machine->offers, group.takes);
    for (auto* spot = group.begin; spot != group.end; ++spot) {
      if (!spot->is_open) continue;
      auto after = spot->round == cluster_.round_ ? added(spot->used, spot->held) : spot->used;
      auto lacks = minus(after, room);
      Missing missing{std::max<std::int64_t>(0, lacks.gpus), std::max<std::int64_t>(0, lacks.cpus),
                      std::max<std::int64_t>(0, lacks.memory)};
      if (least &&
          (*least < missing || (*least == missing && best->machine->name <= spot->machine->name)))
        continue;
      least = missing;
      best = spot;
      takes = &group.takes;
    }
  }
  nowhere_ = best == nullptr;
  if (!best) return;
  ++holds_;
  if (best->round != cluster_.round_) best->held = {};
  best->round = cluster_.round_;
  best->held = added(best->held, *takes);
}

std::optional<Placement> Cluster::Round::place(const Waiting& run) {
  whole_shape_ = !cluster_.choosy_.contains(run.machine_type);
  auto shape = whole_shape_ ? shape_of(run) : kind_of(run);
  if (auto known = waits_.find(shape); known != waits_.end()) {
    nowhere_ = known->second;
    return std::nullopt;
  }
  std::vector<Able> able;
  std::int64_t machines = 0;
  auto gives = cluster_.gives(run);
  for (auto& [group, only] : cluster_.groups(run)) {
    auto& first = *group->spots[0].machine;  // stands for all of them
    if (!cluster_.suits(first, run) || !cluster_.lacks(first, run).empty()) continue;
    auto* begin = only ? only : group->spots.data();
    auto* end = only ? only + 1 : begin + group->spots.size();
    able.push_back({group, begin, end, demand(first, run, gives)});
    machines += end - begin;
  }
  Spot* best = nullptr;
  Amounts best_takes;
  // A run with GPUs breaks into no machine that is whole where another has room or it takes all of
  // one, and goes where the fewest stay free. Another keeps away from them, from whole ones most,
  // and goes where the most cores are free. The first by name where several are as good.
  using Cost = std::tuple<bool, std::int64_t, std::int64_t, std::int64_t>;
  std::optional<Cost> least;
  for (auto& [group, begin, end, takes] : able) {
    auto& offers = begin->machine->offers;
    // Of what it takes nothing of, runs that were given ahead may have more than there is.
    auto fits_into = [&takes = takes](const Amounts& free) {
      return std::all_of(std::begin(parts), std::end(parts),
                         [&](auto part) { return takes.*part == 0 || takes.*part <= free.*part; });
    };
    // There is only ever less in a round.
    if (group->round == cluster_.round_ && !fits_into(group->room)) continue;
    Amounts most;
    for (auto* spot = begin; spot != end; ++spot) {
      if (!spot->is_open) continue;
      auto& used = spot->used;
      auto free = minus(offers, used);
      if (spot->round == cluster_.round_) free = minus(free, spot->held);
      for (auto part : parts) most.*part = std::max(most.*part, free.*part);
      if (!fits_into(free)) continue;
      bool whole = offers.gpus > 0 && used.gpus == 0 && used.cpus == 0;
      bool breaks = whole && takes.gpus < offers.gpus;
      auto cpus = used.cpus - offers.cpus;  // the more are free the less it is
      Cost cost = takes.gpus > 0 ? Cost{breaks, offers.gpus - used.gpus, offers.gpus, cpus}
                                 : Cost{offers.gpus > 0, breaks, offers.gpus, cpus};
      if (least &&
          (*least < cost || (*least == cost && best->machine->name <= spot->machine->name)))
        continue;
      least = cost;
      best = spot;
      best_takes = takes;
    }
    if (end - begin != std::ssize(group->spots)) continue;  // one of them alone was looked at
    group->room = most;
    group->round = cluster_.round_;
  }
  // Ahead of a free place only where no other machine could take it sooner.
  if (!best && machines == 1 && able[0].begin->is_open) {
    auto& spot = *able[0].begin;
    auto& only = *spot.machine;
    best_takes = able[0].takes;
    // For a managing run: no business of one that takes a core.
    bool is_free =
        spot.round != cluster_.round_ || spot.held == Amounts{0, 0, 0, spot.held.managing};
    if (only.by_place && only.uneven == 0 && one_core(best_takes) && is_free &&
        only.used.cpus < only.offers.cpus + only.ahead)
      best = &spot;
  }
  if (!best) {
    hold(able);
    waits_.emplace(std::move(shape), nowhere_);
    return std::nullopt;
  }
  cluster_.take(best->machine->name, best_takes);
  return Placement{run.run, best->machine->name, best_takes};
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
  else if (pool && !pool->held.empty())
    coming = pool->held;
  else if (pool && !pool->problem.empty())
    coming = "the pool says: " + pool->problem;
  if (able.empty() && !coming.empty()) return text + coming;
  if (able.empty() && pool) return text + "none is there";
  if (able.empty())
    return text + (run.wants.empty() ? "none serves it"
                                     : std::string("none can ") + text_of(run.wants.back()).can);
  int busy = 0, away = 0, drained = 0, small = 0, free = 0;
  for (auto* machine : able) {
    auto takes = demand(*machine, run);
    if (!machine->connected)
      ++away;
    else if (machine->drained)
      ++drained;
    else if (!fits(takes, machine->offers))
      ++small;
    else if (fits(added(machine->used, takes), machine->offers))
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
  add(free, "kept for a run before it");
  add(away, "not connected");
  add(drained, "drained");
  add(small, "too small");
  if (!coming.empty()) parts.push_back(coming);
  return text + base::join(parts, ", ");
}

}  // namespace spell::sched
