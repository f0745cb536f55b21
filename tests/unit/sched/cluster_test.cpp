#include "sched/cluster.hpp"

#include <deque>
#include <random>

#include "box.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::sched;

namespace {

/// The personal service's own machine.
Machine own(std::int64_t cores, int ahead = 0) {
  Machine machine;
  machine.name = "here";
  machine.serves = {"cpu"};
  machine.offers = {cores, 16 * GB, 0};
  machine.joined = machine.connected = machine.by_place = true;
  machine.ahead = ahead;
  return machine;
}

Cluster cluster_of(std::vector<Machine> machines) {
  Cluster cluster;
  for (auto& machine : machines) cluster.put(machine);
  return cluster;
}

Waiting run(const std::string& id, const std::string& type, Ask ask = {}) {
  return {id, type, "team", "ada", "", ask};
}

std::vector<std::string> place(Cluster& cluster, const std::vector<Waiting>& queue) {
  std::vector<std::string> out;
  std::set<std::string> blocked;
  Cluster::Round round(cluster);
  for (auto& waiting : queue) {
    if (blocked.contains(kind_of(waiting))) continue;
    if (auto placed = round.place(waiting))
      out.push_back(placed->run + "@" + placed->machine);
    else
      blocked.insert(kind_of(waiting));
  }
  return out;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("runs are placed in their order until the places are used up") {
  auto cluster = cluster_of({own(2)});
  CHECK(place(cluster, {run("a", "cpu"), run("b", "cpu"), run("c", "cpu")}) ==
        Words{"a@here", "b@here"});
  CHECK(cluster.find("here")->used == Amounts{2, 0, 0});
  CHECK(cluster.why_waiting(run("c", "cpu")) == "waiting for a CPU machine: 2 of 2 places busy");
}

TEST_CASE("a run that does not fit holds back its own kind only") {
  auto full = box("box", {"v100"}, {8, 64 * GB, 1});
  full.used = {0, 0, 1};
  auto cluster = cluster_of({full, own(1)});
  CHECK(place(cluster, {run("a", "v100"), run("b", "cpu")}) == Words{"b@here"});
}

TEST_CASE("the machine with the most free cores is taken, then the first by name") {
  auto cluster = cluster_of({box("b", {"cpu"}, {4, 64 * GB, 0}), box("a", {"cpu"}, {4, 64 * GB, 0}),
                             box("c", {"cpu"}, {6, 64 * GB, 0})});
  CHECK(place(cluster, {run("1", "cpu"), run("2", "cpu"), run("3", "cpu"), run("4", "cpu")}) ==
        Words{"1@c", "2@a", "3@b", "4@c"});
}

TEST_CASE("a run without GPUs keeps away from machines that have some") {
  auto cluster =
      cluster_of({box("big", {"cpu"}, {64, 64 * GB, 8}), box("small", {"cpu"}, {2, 8 * GB, 0})});
  CHECK(place(cluster, {run("1", "cpu"), run("2", "cpu")}) == Words{"1@small", "2@big"});
  CHECK(cluster.find("big")->used == Amounts{2, 8 * GB, 0});
}

TEST_CASE("a run with GPUs goes where the fewest stay free") {
  auto busy = box("z", {"v100"}, {16, 64 * GB, 4});
  busy.used = {4, 16 * GB, 3};
  auto cluster = cluster_of({box("a", {"v100"}, {16, 64 * GB, 4}), busy});
  CHECK(place(cluster, {run("1", "v100"), run("2", "v100", {0, 0, 4, ""})}) == Words{"1@z", "2@a"});
}

TEST_CASE("what a run takes that says nothing") {
  Cluster cluster;
  auto gpus = box("box", {"cpu"}, {16, 64 * GB, 4}), plain = box("pc", {"cpu"}, {8, 32 * GB, 0}),
       small = box("pi", {"cpu"}, {1, 2 * GB, 0}), here = own(4);
  here.offers.gpus = 1;
  CHECK(cluster.demand(gpus, run("", "cpu")) == Amounts{2, 8 * GB, 0});
  CHECK(cluster.demand(gpus, run("", "box")) == Amounts{4, 16 * GB, 1});
  CHECK(cluster.demand(gpus, run("", "box", {0, 0, 2, ""})) == Amounts{8, 32 * GB, 2});
  CHECK(cluster.demand(gpus, run("", "box", {1, GB, 0, ""})) == Amounts{1, GB, 0});
  CHECK(cluster.demand(gpus, run("", "cpu", {0, 0, {}, "a100"})).gpus == 1);
  CHECK(cluster.demand(plain, run("", "pc")) == Amounts{2, 8 * GB, 0});
  CHECK(cluster.demand(small, run("", "cpu")) == Amounts{1, 2 * GB, 0});
  CHECK(cluster.demand(small, run("", "cpu", {2, 0, {}, ""})).cpus == 2);
  CHECK(cluster.demand(here, run("", "cpu")) == Amounts{1, 0, 0});
  CHECK(cluster.demand(here, run("", "here")) == Amounts{1, 0, 1});
  cluster.put_type("team", "v100x2", {6, 0, 2});
  cluster.put_type("lab", "v100x2", {1, 0, 1});  // another's, of the same name
  CHECK(cluster.demand(gpus, run("", "v100x2")) == Amounts{6, 32 * GB, 2});
}

TEST_CASE("only what has joined, is connected and not drained gets runs") {
  for (auto change : {&Machine::joined, &Machine::connected}) {
    auto machine = box("box", {"cpu"}, {8, 64 * GB, 0});
    machine.*change = false;
    auto cluster = cluster_of({machine});
    CHECK(place(cluster, {run("a", "cpu")}).empty());
  }
  auto machine = box("box", {"cpu"}, {8, 64 * GB, 0});
  machine.drained = true;
  auto cluster = cluster_of({machine});
  CHECK(place(cluster, {run("a", "cpu")}).empty());
  CHECK(cluster.why_waiting(run("a", "cpu")) == "waiting for a CPU machine: 1 drained");
}

TEST_CASE("a machine takes the runs of its owner, and of those that are allowed") {
  auto machine = box("box", {"cpu"}, {8, 64 * GB, 0});
  machine.owner = "other";
  auto cluster = cluster_of({machine});
  CHECK(place(cluster, {run("a", "box")}).empty());
  CHECK(cluster.check(run("a", "box"), "box").error().code() == "unknown_machine_type");
  // What another owner has is not told either.
  CHECK(cluster.check(run("a", "gpu"), "gpu").error().message().find("box") == std::string::npos);
  machine.owner = "team";
  machine.allow = {"bob", "vision"};
  cluster.put(machine);
  CHECK(place(cluster, {run("a", "box")}).empty());
  auto refused = cluster.check(run("a", "box"), "box");
  CHECK(refused.error().code() == "machine_not_allowed");
  CHECK(refused.error().message().find("ada") != std::string::npos);
  auto of_project = run("b", "box");
  of_project.project = "vision";
  CHECK(place(cluster, {of_project}) == Words{"b@box"});
  of_project.user = "bob";
  of_project.project = "";
  CHECK(place(cluster, {of_project}).size() == 1);
}

TEST_CASE("a type is there once a machine that serves it has joined, connected or not") {
  auto machine = box("box", {"v100"}, {8, 64 * GB, 2});
  machine.joined = machine.connected = false;
  auto cluster = cluster_of({machine, own(2)});
  auto refused = cluster.check(run("a", "v100"), "V100");
  CHECK(refused.error().code() == "unknown_machine_type");
  CHECK(refused.error().message() ==
        "no machine serves 'V100'; there are: CPU, here; `spell machine add NAME --serves V100` "
        "makes a machine join that does");
  CHECK(cluster.check(run("a", "box"), "box").error().message().find("get-token box") !=
        std::string::npos);
  machine.joined = true;
  cluster.put(machine);
  CHECK(cluster.check(run("a", "v100"), "V100"));
  cluster.remove("box");
  CHECK_FALSE(cluster.check(run("a", "v100"), "V100"));
}

TEST_CASE("a personal service that has just begun refuses nothing for what it does not know yet") {
  auto machine = own(2);
  machine.offers.memory = 0;
  machine.connected = false;
  CHECK(cluster_of({machine}).check(run("a", "cpu", {0, GB, {}, ""}), "CPU"));
  machine.connected = true;
  CHECK(cluster_of({machine}).check(run("a", "cpu", {0, GB, {}, ""}), "CPU").error().code() ==
        "machine_too_small");
}

TEST_CASE("what nothing there can ever give is refused") {
  auto machine = box("box", {"v100"}, {8, 64 * GB, 2});
  machine.gpu_names = {"Tesla V100-SXM2-16GB"};
  auto cluster = cluster_of({machine});
  auto refusal = [&](Ask ask) {
    auto checked = cluster.check(run("a", "v100", ask), "V100");
    return checked ? "" : checked.error().code() + ": " + checked.error().message();
  };
  CHECK(refusal({8, 64 * GB, 2, "v100"}).empty());
  CHECK(refusal({0, 0, 4, ""}) ==
        "machine_too_small: no machine that serves 'V100' has 4 GPUs: box has 2; `spell machine "
        "list` shows what there is");
  CHECK(refusal({9, 0, {}, ""}).find("9 cores: box has 8") != std::string::npos);
  CHECK(refusal({0, 70 * GB, {}, ""}).find("70.0 GB of memory: box has 64.0 GB") !=
        std::string::npos);
  CHECK(refusal({0, 0, {}, "A100"}).find("has a 'A100' GPU") != std::string::npos);
}

TEST_CASE("the reason says for what") {
  auto a = box("a", {"v100"}, {8, 64 * GB, 2}), b = a, c = a;
  b.name = "b", c.name = "c";
  a.used = {8, 64 * GB, 2}, b.used = {4, 32 * GB, 1};
  c.connected = false;
  auto cluster = cluster_of({a, b, c});
  CHECK(cluster.why_waiting(run("", "v100", {0, 0, 2, ""})) ==
        "waiting for a v100 machine: 2 busy, 1 not connected");
  CHECK(cluster.why_waiting(run("", "b", {0, 0, 2, ""})) ==
        "waiting for machine b: 2 GPUs wanted, 1 free of 2");
  CHECK(cluster.why_waiting(run("", "c")) == "waiting for machine c: it is not connected");
  CHECK(cluster.why_waiting(run("", "k80")) == "waiting for a k80 machine: none serves it");
}

TEST_CASE("a full machine that alone serves a type is given some runs ahead") {
  auto cluster = cluster_of({own(2, 1)});
  CHECK(
      place(cluster, {run("a", "cpu"), run("b", "cpu"), run("c", "cpu"), run("d", "cpu")}).size() ==
      3);
  CHECK(place(cluster, {run("d", "cpu")}).empty());
  CHECK(cluster.why_waiting(run("d", "cpu")) == "waiting for a CPU machine: 2 of 2 places busy");
  // Where runs of other sizes are, or wait, the worker could begin one too early.
  auto uneven = cluster_of({own(2, 1)});
  CHECK(place(uneven, {run("a", "cpu", {2, 0, {}, ""}), run("b", "cpu")}) == Words{"a@here"});
  auto waiting = cluster_of({own(2, 1)});
  CHECK(place(waiting, {run("a", "cpu"), run("b", "cpu", {2, 0, {}, ""}), run("c", "cpu"),
                        run("d", "cpu")}) == Words{"a@here"});
}

TEST_CASE("nothing is given ahead where another machine could take it sooner") {
  auto a = own(1, 1), b = own(1, 1);
  b.name = "there";
  auto cluster = cluster_of({a, b});
  CHECK(place(cluster, {run("1", "cpu"), run("2", "cpu"), run("3", "cpu")}).size() == 2);
}

TEST_CASE("a large run is not passed over by small ones for ever") {
  auto cluster = cluster_of({box("box", {"cpu", "v100"}, {8, 64 * GB, 4})});
  CHECK(place(cluster, {run("s1", "v100"), run("s2", "v100")}).size() == 2);
  // Four GPUs are wanted, two are free: from here on no younger run may take one, nor a core of
  // those that the large one needs.
  Ask all{4, 8 * GB, 4, ""};
  CHECK(place(cluster, {run("large", "box", all), run("s3", "v100"), run("c", "cpu")}).empty());
  CHECK(place(cluster, {run("large", "box", {2, 8 * GB, 4, ""}), run("c", "cpu"),
                        run("s3", "v100")}) == Words{"c@box"});
}

namespace {

/// A cluster with random runs that come and go.
struct Simulation {
  std::mt19937 random;
  Cluster cluster;
  std::deque<std::pair<int, Waiting>> queue;  ///< with the step in which it came
  struct There {
    Placement placement;
    int ends;
  };
  std::vector<There> there;
  int step = 0, next = 0, longest_wait = 0;

  explicit Simulation(unsigned seed) : random(seed) {
    int machines = pick(1, 4);
    for (int i = 0; i < machines; ++i) {
      auto machine = box("m" + std::to_string(i), {}, {pick(1, 8), pick(8, 64) * GB, pick(0, 4)});
      for (auto* type : {"cpu", "v100", "k80"})
        if (pick(0, 1)) machine.serves.emplace_back(type);
      cluster.put(machine);
    }
    if (pick(0, 1)) cluster.put(own(pick(1, 4), pick(0, 4)));
  }
  int pick(int least, int most) { return std::uniform_int_distribution(least, most)(random); }

  void arrive() {
    std::vector<std::string> types{"cpu", "v100", "k80", "m0", "m1"};
    Ask ask{pick(0, 3), pick(0, 9) * GB, {}, ""};
    if (pick(0, 1)) ask.gpus = pick(0, 4);
    auto waiting = run(std::to_string(next++), types[static_cast<std::size_t>(pick(0, 4))], ask);
    if (cluster.check(waiting, waiting.machine_type)) queue.emplace_back(step, waiting);
  }

  void schedule() {
    Cluster::Round round(cluster);
    std::set<std::string> blocked;
    for (auto at = queue.begin(); at != queue.end();) {
      if (blocked.contains(kind_of(at->second))) {
        ++at;
        continue;
      }
      auto placed = round.place(at->second);
      if (!placed) {
        blocked.insert(kind_of(at->second));
        ++at;
        continue;
      }
      longest_wait = std::max(longest_wait, step - at->first);
      there.push_back({*placed, step + pick(1, 5)});
      at = queue.erase(at);
    }
  }

  void leave() {
    std::erase_if(there, [&](auto& run) {
      if (run.ends > step) return false;
      cluster.give_back(run.placement.machine, run.placement.takes);
      return true;
    });
  }

  /// What is taken is what those that are there take, and never more than there is.
  void check_amounts() {
    for (auto& [name, machine] : cluster.machines()) {
      Amounts sum;
      for (auto& run : there)
        if (run.placement.machine == name) {
          sum.cpus += run.placement.takes.cpus;
          sum.memory += run.placement.takes.memory;
          sum.gpus += run.placement.takes.gpus;
        }
      REQUIRE(sum == machine.used);
      REQUIRE(sum.cpus <= machine.offers.cpus + (machine.uneven == 0 ? machine.ahead : 0));
      REQUIRE(sum.memory <= machine.offers.memory);
      REQUIRE(sum.gpus <= machine.offers.gpus);
    }
  }
};

}  // namespace

TEST_CASE("property: nothing is given twice, and everybody's turn comes") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    INFO("seed " << seed);
    Simulation s(seed);
    // More arrives than the cluster can take, for a while.
    for (; s.step < 40; ++s.step) {
      for (int i = s.pick(0, 4); i > 0; --i) s.arrive();
      s.leave();
      s.schedule();
      s.check_amounts();
    }
    // Runs take at most five steps, and the oldest starts when those have left that were there
    // before it; so as many rounds as there are runs are enough for all, whatever comes later.
    auto last = s.queue.empty() ? -1 : std::stoi(s.queue.back().second.run);
    int limit = s.step + 6 * (static_cast<int>(s.queue.size()) + 1);
    while (!s.queue.empty() && std::stoi(s.queue.front().second.run) <= last) {
      REQUIRE(s.step < limit);
      ++s.step;
      for (int i = s.pick(0, 4); i > 0; --i) s.arrive();
      s.leave();
      s.schedule();
      s.check_amounts();
    }
  }
}

TEST_CASE("managing runs take nothing but their own allowance") {
  Machine machine = own(1, 4);
  machine.offers.managing = 2;
  auto cluster = cluster_of({machine});
  auto manager = [](const std::string& id) {
    auto waiting = run(id, "cpu", {4, 64 * GB, {}, ""});
    waiting.manages = true;
    return waiting;
  };
  CHECK(cluster.check(manager("m"), "CPU"));
  CHECK(place(cluster,
              {run("a", "cpu"), manager("m"), manager("n"), manager("o"), run("b", "cpu")}) ==
        Words{"a@here", "m@here", "n@here", "b@here"});  // b ahead of its place, as without them
  CHECK(cluster.find("here")->used == Amounts{2, 0, 0, 2});
  CHECK(cluster.why_waiting(manager("o")) ==
        "waiting for a CPU machine: 1 managing run wanted, 0 free");
  cluster.give_back("here", {0, 0, 0, 1});
  CHECK(place(cluster, {manager("o")}) == Words{"o@here"});

  machine.offers.managing = 0;
  auto none = cluster_of({machine});
  CHECK(none.check(manager("m"), "CPU").error().code() == "machine_too_small");
}

TEST_CASE(
    "a program that is to be built goes to machines that can, and to none that lacks something") {
  auto bare = box("bare", {"cpu"}, {64, 64 * GB, 0, 50});
  bare.lacks[Want::program] = "it has no cmake";
  auto full = box("full", {"cpu"}, {2, 8 * GB, 0, 1});
  auto builder = [](const std::string& id) {
    auto waiting = run(id, "cpu");
    waiting.manages = true;
    waiting.wants = {Want::program};
    return waiting;
  };
  auto cluster = cluster_of({bare, full});
  CHECK(cluster.check(builder("m"), "CPU"));
  // The second waits, though there is room on the other; who brings its program along does not.
  auto program = run("p", "cpu");
  program.manages = true;
  CHECK(place(cluster, {builder("m"), builder("n"), program}) == Words{"m@full", "p@bare"});
  CHECK(cluster.depends_on(builder("n"), "full"));
  CHECK(kind_of(builder("n")) != kind_of(program));

  auto none = cluster_of({bare});
  CHECK(none.check(program, "CPU"));
  auto refused = none.check(builder("m"), "CPU");
  CHECK(refused.error().code() == "cannot_build");
  CHECK(refused.error().message() ==
        "no machine that serves 'CPU' can build a program: bare (it has no cmake); install that on "
        "one and start its worker anew, or build the program here and send it (--program)");
  CHECK(none.why_waiting(builder("m")) == "waiting for a CPU machine: none can build a program");
  CHECK(Cluster().check(builder("m"), "CPU").error().code() == "unknown_machine_type");
}

TEST_CASE("a run with apt packages goes to machines that can have them") {
  auto other = box("other", {"cpu"}, {64, 64 * GB, 0, 50});
  other.lacks[Want::packages] = "it is not Debian-like: there is no /usr/bin/apt-get";
  auto debian = box("debian", {"cpu"}, {2, 8 * GB, 0, 1});
  auto asks = [](const std::string& id) {
    auto waiting = run(id, "cpu");
    waiting.wants = {Want::packages};
    waiting.needs = {"environments"};
    return waiting;
  };
  auto cluster = cluster_of({other, debian});
  CHECK(cluster.check(asks("a"), "CPU"));
  CHECK(place(cluster, {asks("a"), asks("b"), run("c", "cpu")}) == Words{"a@debian", "c@other"});
  CHECK(kind_of(asks("a")) != kind_of([&] {
          auto plain = asks("a");
          plain.wants.clear();
          return plain;
        }()));

  auto none = cluster_of({other});
  auto refused = none.check(asks("a"), "CPU");
  CHECK(refused.error().code() == "not_available");
  CHECK(
      refused.error().message() ==
      "no machine that serves 'CPU' can have apt packages: other (it is not Debian-like: there is "
      "no /usr/bin/apt-get)");
  CHECK(none.why_waiting(asks("a")) == "waiting for a CPU machine: none can have apt packages");
}

TEST_CASE("what a worker is too old for goes to others, and is said where there are none") {
  auto older = box("older", {"cpu"}, {64, 64 * GB, 0, 50});
  older.too_old_for = {"exclusive", "restore"};
  auto newer = box("newer", {"cpu"}, {2, 8 * GB, 0, 1});
  auto needs = [](const std::string& id, const std::string& what) {
    auto waiting = run(id, "cpu");
    waiting.needs = {what};
    return waiting;
  };
  auto cluster = cluster_of({older, newer});
  CHECK(cluster.check(needs("a", "exclusive"), "CPU"));
  CHECK(place(cluster, {needs("a", "exclusive"), needs("b", "restore"), run("c", "cpu")}) ==
        Words{"a@newer", "c@older"});
  CHECK(kind_of(needs("a", "exclusive")) != kind_of(needs("a", "restore")));

  auto none = cluster_of({older});
  auto refused = none.check(needs("a", "exclusive"), "CPU");
  CHECK(refused.error().code() == "not_available");
  CHECK(refused.error().message() ==
        "the workers of all machines that serve 'CPU' (older) are too old for --exclusive: upgrade "
        "one");
  CHECK(
      none.why_waiting(needs("b", "restore")) ==
      "waiting for a CPU machine: its worker is too old for runs that go on from another's files: "
      "upgrade one");
}

TEST_CASE("a type with a pool is provided, and a run says what it waits for") {
  Cluster cluster = cluster_of({own(2)});
  CHECK(cluster.check(run("a", "spot"), "spot").error().code() == "unknown_machine_type");
  cluster.put_type("team", "spot", {4, 0, 0}, Pool{});
  CHECK(cluster.check(run("a", "spot"), "spot"));
  Waiting foreign = run("a", "spot");
  foreign.owner = "others";
  CHECK(cluster.check(foreign, "spot").error().code() == "unknown_machine_type");
  auto why = [&](Pool pool) {
    cluster.put_type("team", "spot", {4, 0, 0}, std::move(pool));
    return cluster.why_waiting(run("a", "spot"));
  };
  CHECK(why({}) == "waiting for a spot machine: none is there");
  CHECK(why({1}) == "waiting for a spot machine: 1 is starting");
  CHECK(why({2, "old"}) == "waiting for a spot machine: 2 are starting");
  CHECK(why({0, "no capacity"}) == "waiting for a spot machine: the pool says: no capacity");
  auto machine = box("spot-1", {"spot"}, {4, 16 * GB, 0});
  machine.launched = true;
  cluster.put(machine);
  cluster.take("spot-1", {4, 0, 0});
  CHECK(why({1}) == "waiting for a spot machine: 1 busy, 1 is starting");
  CHECK(why({}) == "waiting for a spot machine: 4 cores wanted, 0 free");
  // What its machines are like is known now.
  CHECK(cluster.check(run("a", "spot", {8, 0, {}, ""}), "spot").error().code() ==
        "machine_too_small");
}

TEST_CASE("so many machines of a pool as runs fill") {
  Cluster cluster;
  cluster.put_type("team", "spot", {2, 0, 0}, Pool{});
  std::vector<Waiting> five(5, run("a", "spot"));
  CHECK(cluster.machines_for(five, 10) == 5);  // nobody knows how large they are
  CHECK(cluster.machines_for(five, 3) == 3);
  CHECK(cluster.machines_for({}, 3) == 0);
  auto managing = run("m", "spot");
  managing.manages = true;
  CHECK(cluster.machines_for({managing, managing, managing}, 10) == 1);
  auto other = box("box", {"spot"}, {64, 64 * GB, 0});
  cluster.put(other);  // lent by hand: the pool's may be others
  CHECK(cluster.machines_for(five, 10) == 5);
  auto machine = box("spot-1", {"spot"}, {4, 16 * GB, 0});
  machine.launched = true;
  cluster.put(machine);
  CHECK(cluster.machines_for(five, 10) == 3);
  CHECK(cluster.machines_for({run("b", "spot", {64, 0, {}, ""})}, 10) == 0);  // would not help
}

TEST_CASE("what a pool's machines are like is known when none is there any more") {
  Cluster cluster;
  cluster.put_type("team", "spot", {2, 0, 0}, Pool{});
  auto large = run("a", "spot", {64, 0, {}, ""}), fine = run("b", "spot");
  CHECK(cluster.beyond_pool(large).empty());
  auto machine = box("spot-1", {"spot"}, {4, 16 * GB, 0});
  machine.owner = "team";
  machine.launched = true;
  machine.lacks[Want::program] = "it has no c++";
  machine.too_old_for = {"exclusive"};
  cluster.put(machine);
  CHECK(cluster.beyond_pool(large) == "64 cores wanted, 4 on spot-1");
  machine.joined = false;  // it ends
  cluster.put(machine);
  cluster.remove("spot-1");
  CHECK(cluster.beyond_pool(large) == "64 cores wanted, 4 on spot-1");
  CHECK(cluster.machines_for({large}, 10) == 0);
  CHECK(cluster.why_waiting(large) ==
        "waiting for a spot machine: none of its pool can take it: 64 cores wanted, 4 on spot-1");
  CHECK(cluster.beyond_pool(fine).empty());
  CHECK(cluster.machines_for({large, fine, fine, fine}, 10) == 2);
  // Nobody is refused for what is not there.
  CHECK(cluster.check(large, "spot"));
  auto builds = fine, exclusive = fine, gpu = fine;
  builds.wants = {Want::program};
  CHECK(cluster.beyond_pool(builds) == "spot-1 cannot build a program: it has no c++");
  exclusive.needs = {"exclusive"};
  CHECK(cluster.beyond_pool(exclusive) == "the worker of spot-1 is too old for --exclusive");
  gpu.ask.gpu_name = "A100";
  CHECK(cluster.beyond_pool(gpu) == "spot-1 has no 'A100' GPU");
  // Another machine serves the type, and is large enough.
  cluster.put(box("own", {"spot"}, {64, 64 * GB, 0}));
  CHECK(cluster.why_waiting(large).find("pool") == std::string::npos);
  cluster.remove("own");
  // A look from elsewhere knows it too, until the type becomes another.
  Cluster view;
  view.take_types(cluster);
  CHECK(view.beyond_pool(large) == "64 cores wanted, 4 on spot-1");
  cluster.put_type("team", "spot", {2, 0, 0}, Pool{1});
  CHECK(!cluster.beyond_pool(large).empty());
  cluster.forget_launched("team", "spot");
  CHECK(cluster.beyond_pool(large).empty());
  CHECK(cluster.machines_for({large}, 10) == 1);
  cluster.put_type("team", "spot", {2, 0, 0});
  CHECK(cluster.beyond_pool(large).empty());
}

TEST_CASE("memory is as it is sold: a kernel keeps some of it") {
  auto cluster = cluster_of({box("a", {"v100"}, {8, 60 * GB - 100'000'000, 1})});
  auto takes = [&](std::int64_t memory) {
    Ask ask;
    ask.memory = memory;
    return cluster.demand(*cluster.find("a"), run("1", "v100", ask)).memory;
  };
  CHECK(takes(60 * GB) == 60 * GB - 100'000'000);
  CHECK(takes(64 * GB) == 60 * GB - 100'000'000);  // 6.4 % less
  CHECK(takes(65 * GB) == 65 * GB);
  CHECK(takes(30 * GB) == 30 * GB);
  Ask ask;
  ask.memory = 64 * GB;
  CHECK(cluster.check(run("1", "v100", ask), "V100"));
  CHECK(place(cluster, {run("1", "v100", ask)}) == Words{"1@a"});
  ask.memory = 65 * GB;
  CHECK(cluster.check(run("2", "v100", ask), "V100").error().code() == "machine_too_small");
}
