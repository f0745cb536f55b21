#include "sched/queue.hpp"

#include <algorithm>
#include <random>
#include <set>

#include "box.hpp"
#include "catch.hpp"

using namespace spell;
using namespace spell::sched;

namespace {

constexpr std::int64_t patience = 10;

/// A cluster and those who wait for it, as the service drives them.
struct Plan {
  Cluster cluster;
  Queue queue{patience};
  std::int64_t now = 0, next = 0;
  struct Run {
    std::string user;
    Queue::Kind* kind = nullptr;
    Age age{};
    std::optional<Placement> placed{};
    std::int64_t placed_at = 0;
  };
  std::map<std::int64_t, Run> runs;

  std::int64_t add(const std::string& user, const std::string& type,
                   Priority priority = Priority::normal, Ask ask = {}, bool begins = true) {
    auto number = ++next;
    Waiting wants{"", type, "team", user, "", ask};
    Age age{begins, now, number};
    runs[number] = {user, queue.add(wants, priority, age), age, {}};
    return number;
  }
  /// The numbers of those that get a machine, in their order.
  std::vector<std::int64_t> look() {
    std::vector<std::int64_t> out;
    Cluster::Round round(cluster);
    Queue::Look look(queue, cluster.offers(), now);
    while (auto turn = look.next()) {
      auto placed = round.place(turn->kind->wants);
      if (!placed) {
        look.wait(round.nowhere(), round.whole_shape());
        continue;
      }
      auto& run = runs.at(turn->run.number);
      run.placed = placed;
      run.placed_at = now;
      out.push_back(turn->run.number);
      queue.placed(turn->kind, turn->run, now);
      queue.take({"team", run.user}, placed->takes);
      queue.take_out(run.kind, run.age);
    }
    return out;
  }
  void end(std::int64_t number) {
    auto& run = runs.at(number);
    cluster.give_back(run.placed->machine, run.placed->takes);
    queue.give_back({"team", run.user}, run.placed->takes);
    runs.erase(number);
  }
  void check_amounts() {
    std::map<std::string, Amounts> sums;
    for (auto& [number, run] : runs)
      if (run.placed) {
        auto& sum = sums[run.placed->machine];
        sum.cpus += run.placed->takes.cpus;
        sum.memory += run.placed->takes.memory;
        sum.gpus += run.placed->takes.gpus;
      }
    for (auto& [name, machine] : cluster.machines()) {
      auto& sum = sums[name];
      REQUIRE(sum == machine.used);
      REQUIRE(sum.cpus <= machine.offers.cpus);
      REQUIRE(sum.memory <= machine.offers.memory);
      REQUIRE(sum.gpus <= machine.offers.gpus);
    }
  }
};

using Numbers = std::vector<std::int64_t>;
constexpr auto low = Priority::low, normal = Priority::normal, high = Priority::high;

Ask gpus(std::int64_t number) { return {0, 0, number, ""}; }

}  // namespace

TEST_CASE("one user's runs of one priority have their turns by age, those that go on first") {
  Plan plan;
  plan.cluster.put(box("a", {"cpu"}, {6, 64 * GB, 0}));
  for (int i = 0; i < 2; ++i) plan.add("ada", "cpu");
  plan.add("ada", "cpu", normal, {}, false);
  plan.add("ada", "cpu");
  CHECK(plan.look() == Numbers{3, 1, 2});
  plan.end(1);
  CHECK(plan.look() == Numbers{4});
}

TEST_CASE("the user who uses least comes first, those just placed counted in") {
  Plan plan;
  plan.cluster.put(box("a", {"cpu"}, {8, 64 * GB, 0}));
  for (int i = 0; i < 6; ++i) plan.add("ada", "cpu");
  plan.now = 1;
  plan.add("bob", "cpu");
  plan.add("bob", "cpu");
  // Two cores each: ada, bob, ada, bob, though all of ada's are older.
  CHECK(plan.look() == Numbers{1, 7, 2, 8});
  plan.add("eve", "cpu");
  plan.end(7);
  plan.add("bob", "cpu");
  CHECK(plan.look() == Numbers{9});  // nothing is eve's; bob has one, ada two
  plan.end(9);
  CHECK(plan.look() == Numbers{10});
}

TEST_CASE("what a user uses is the largest part of what there is, not cores alone") {
  Plan plan;
  plan.cluster.put(box("a", {"v100", "cpu"}, {64, 640 * GB, 4}));
  auto train = plan.add("ada", "v100", normal, {1, GB, 2, ""});  // half of the GPUs
  auto count = plan.add("bob", "cpu", normal, {16, GB, 0, ""});  // a quarter of the cores
  CHECK(plan.look() == Numbers{train, count});
  Queue::User ada{"team", "ada"}, bob{"team", "bob"};
  plan.add("ada", "cpu", normal, {48, GB, 0, ""});
  plan.now = 1;
  auto fair = plan.add("bob", "cpu", normal, {47, GB, 0, ""});
  CHECK(plan.look() == Numbers{fair});
}

TEST_CASE("the higher priority comes first, whoever asks") {
  Plan plan;
  plan.cluster.put(box("a", {"cpu"}, {4, 64 * GB, 0}));
  plan.add("ada", "cpu", high);
  CHECK(plan.look() == Numbers{1});
  plan.add("bob", "cpu", low);
  plan.add("bob", "cpu", normal);
  plan.add("ada", "cpu", high);
  CHECK(plan.look() == Numbers{4});
  plan.end(1);
  CHECK(plan.look() == Numbers{3});
  plan.end(3);
  CHECK(plan.look() == Numbers{2});
}

TEST_CASE("waiting raises the first of a stream, level by level, then age alone counts") {
  Plan plan;
  plan.cluster.put(box("a", {"cpu"}, {2, 64 * GB, 0}));
  auto old = plan.add("ada", "cpu", low);
  auto after = [&](std::int64_t time, const std::string& user, Priority priority) {
    Plan later;
    later.cluster.put(box("a", {"cpu"}, {2, 64 * GB, 0}));
    later.add("ada", "cpu", low);
    later.now = time;
    later.add(user, "cpu", priority);
    return later.look().at(0);
  };
  CHECK(after(patience - 1, "bob", normal) == 2);
  CHECK(after(patience, "bob", normal) == old);  // as much is used by both, and it is older
  CHECK(after(2 * patience - 1, "bob", high) == 2);
  CHECK(after(2 * patience, "bob", high) == old);
  // A user who uses more than another waits no longer than that, too.
  Plan busy;
  busy.cluster.put(box("a", {"cpu"}, {4, 64 * GB, 0}));
  busy.add("ada", "cpu");
  CHECK(busy.look() == Numbers{1});
  busy.add("ada", "cpu", low);
  busy.now = 3 * patience - 1;
  busy.add("bob", "cpu", high);
  CHECK(busy.look() == Numbers{3});
  busy.end(3);
  busy.now = 3 * patience;
  busy.add("bob", "cpu", high);
  CHECK(busy.look() == Numbers{2});
}

TEST_CASE("whoever has put in thousands of runs gains nothing by their age") {
  Plan plan;
  plan.cluster.put(box("a", {"cpu"}, {2, 64 * GB, 0}));
  for (int i = 0; i < 1000; ++i) plan.add("ada", "cpu", low);
  plan.now = 100 * patience;
  auto one = plan.add("bob", "cpu"), other = plan.add("bob", "cpu");
  CHECK(plan.look() == Numbers{1});  // one of them has waited enough
  plan.end(1);
  CHECK(plan.look() == Numbers{one});
  plan.end(one);
  CHECK(plan.look() == Numbers{other});
  plan.end(other);
  CHECK(plan.look() == Numbers{2});
}

TEST_CASE("what nothing that is here could take keeps nobody of its stream from rising") {
  Plan plan;
  plan.cluster.put(box("a", {"v100"}, {2, 64 * GB, 1}));
  auto large = box("large", {"v100"}, {2, 64 * GB, 8});
  large.connected = false;
  plan.cluster.put(large);
  plan.add("ada", "v100", low, gpus(8));
  auto small = plan.add("ada", "v100", low, gpus(1));
  auto blocker = plan.add("bob", "v100", high, gpus(1));
  CHECK(plan.look() == Numbers{blocker});
  plan.now = 3 * patience;
  plan.end(blocker);
  plan.add("bob", "v100", high, gpus(1));
  CHECK(plan.look() == Numbers{small});
  // When the large machine is back its turn comes.
  plan.end(small);
  large.connected = true;
  plan.cluster.put(large);
  CHECK(plan.look().size() == 2);
}

TEST_CASE("what one user has to wait for another may have, where machines ask whose a run is") {
  Plan plan;
  auto of_bob = box("a", {"cpu"}, {4, 64 * GB, 0});
  of_bob.allow = {"bob"};
  plan.cluster.put(of_bob);
  plan.add("ada", "cpu");
  auto one = plan.add("bob", "cpu");
  plan.add("eve", "cpu");
  auto other = plan.add("bob", "cpu");
  CHECK(plan.look() == Numbers{one, other});
  plan.cluster.put(box("b", {"cpu"}, {2, 64 * GB, 0}));
  CHECK(plan.look() == Numbers{1});
}

TEST_CASE("however many different runs wait, the first of them is not passed over") {
  Plan plan;
  plan.cluster.put(box("a", {"cpu"}, {8, 64 * GB, 0}));
  auto there = plan.add("ada", "cpu", normal, {4, GB, 0, ""});
  CHECK(plan.look() == Numbers{there});
  auto large = plan.add("ada", "cpu", normal, {8, GB, 0, ""});
  for (int i = 1; i <= 200; ++i) plan.add("ada", "cpu", normal, {2, GB + i, 0, ""});
  CHECK(plan.look().empty());
  plan.end(there);
  CHECK(plan.look() == Numbers{large});
}

TEST_CASE("runs with GPUs are packed, so that whole machines stay for those that want all of one") {
  Plan plan;
  for (auto* name : {"a", "b", "c"}) plan.cluster.put(box(name, {"v100"}, {64, 512 * GB, 8}));
  plan.cluster.put(box("small", {"v100"}, {16, 128 * GB, 2}));
  auto used = [&](const std::string& name) { return plan.cluster.find(name)->used.gpus; };
  plan.add("ada", "v100", normal, gpus(2));
  plan.look();
  CHECK(used("small") == 2);  // it takes all of one
  for (int i = 0; i < 8; ++i) {
    plan.add("ada", "v100", normal, gpus(1));
    plan.look();
  }
  CHECK(used("a") == 8);
  plan.add("ada", "v100", normal, gpus(3));
  plan.look();
  CHECK(used("b") == 3);
  // A machine that is whole is not broken into where another has room, were it a better fit.
  plan.end(1);
  plan.add("ada", "v100", normal, gpus(1));
  plan.look();
  CHECK(used("small") == 0);
  CHECK(used("b") == 4);
  auto all = plan.add("ada", "v100", normal, gpus(8));
  CHECK(plan.look() == Numbers{all});
  CHECK(used("c") == 8);
}

TEST_CASE("packing keeps as many machines whole as can be, whatever comes and goes") {
  std::mt19937 random(3);
  Plan plan;
  for (int i = 0; i < 10; ++i)
    plan.cluster.put(box("m" + std::to_string(i), {"v100"}, {64, 512 * GB, 8}));
  std::vector<std::int64_t> there;
  for (int i = 0; i < 32; ++i) {
    plan.add("ada", "v100", normal, gpus(1));
    for (auto number : plan.look()) there.push_back(number);
  }
  auto whole = [&] {
    auto& machines = plan.cluster.machines();
    return std::count_if(machines.begin(), machines.end(),
                         [](auto& entry) { return entry.second.used.gpus == 0; });
  };
  CHECK(whole() == 6);
  for (int step = 0; step < 500; ++step) {
    std::shuffle(there.begin(), there.end(), random);
    plan.end(there.back());
    there.pop_back();
    plan.add("ada", "v100", normal, gpus(1));
    for (auto number : plan.look()) there.push_back(number);
    REQUIRE(whole() == 6);  // who leaves makes room that is taken before a whole machine is
  }
}

TEST_CASE("a run without GPUs takes a core of a whole GPU machine last of all") {
  Plan plan;
  auto used = box("used", {"cpu", "v100"}, {64, 512 * GB, 8});
  plan.cluster.put(used);
  plan.cluster.put(box("a-whole", {"cpu", "v100"}, {64, 512 * GB, 8}));
  plan.cluster.take("used", {8, 64 * GB, 1});
  plan.add("ada", "cpu");
  plan.look();
  CHECK(plan.runs.at(1).placed->machine == "used");
}

namespace {

/// Random runs of some users and priorities, more than the machines can take.
struct Crowd : Plan {
  std::mt19937 random;
  std::vector<std::string> types{"cpu", "v100", "k80", "m0", "m1"};

  explicit Crowd(unsigned seed) : random(seed) {
    for (int i = pick(1, 4) - 1; i >= 0; --i) {
      auto machine = box("m" + std::to_string(i), {}, {pick(1, 8), pick(8, 64) * GB, pick(0, 4)});
      for (auto* type : {"cpu", "v100", "k80"})
        if (pick(0, 1)) machine.serves.emplace_back(type);
      cluster.put(machine);
    }
  }
  int pick(int least, int most) { return std::uniform_int_distribution(least, most)(random); }
  /// A small one that every other would have to let pass, were priority or use all.
  void arrive_before_all() {
    auto& type = types[static_cast<std::size_t>(pick(0, 4))];
    Ask ask{1, GB, 0, ""};
    Waiting wants{"", type, "team", "new", "", ask};
    if (cluster.check(wants, type)) add("new" + std::to_string(pick(0, 2)), type, high, ask, false);
  }
  void arrive() {
    Ask ask{pick(0, 3), pick(0, 2) * 4 * GB, {}, ""};
    if (pick(0, 1)) ask.gpus = pick(0, 4);
    auto& type = types[static_cast<std::size_t>(pick(0, 4))];
    std::string user = pick(0, 9) < 7 ? "ada" : pick(0, 1) ? "bob" : "eve";
    auto priority = pick(0, 9) < 3 ? low : pick(0, 1) ? normal : high;
    Waiting wants{"", type, "team", user, "", ask};
    if (cluster.check(wants, type)) add(user, type, priority, ask, pick(0, 20) > 0);
  }
};

}  // namespace

TEST_CASE("property: nothing is given twice, and everybody's turn comes, of whatever priority") {
  for (unsigned seed = 0; seed < 60; ++seed) {
    INFO("seed " << seed);
    Crowd s(seed);
    std::map<std::int64_t, std::int64_t> ends;  // step -> number, several a step
    auto step = [&](bool flood) {
      ++s.now;
      for (int i = 0; !flood && i < 4 && s.queue.size() < 60; ++i) s.arrive();
      for (int i = 0; flood && i < 40 && s.queue.size() < 120; ++i) s.arrive_before_all();
      for (auto at = ends.begin(); at != ends.end() && at->first / 1000 <= s.now;
           at = ends.erase(at))
        s.end(at->second);
      for (auto number : s.look()) {
        auto at = (s.now + s.pick(1, 5)) * 1000;
        while (ends.contains(at)) ++at;
        ends[at] = number;
      }
      s.check_amounts();
    };
    for (int i = 0; i < 40; ++i) step(false);
    std::set<std::int64_t> waiting;
    std::map<std::tuple<std::string, std::string, Priority>, int> streams;
    int longest = 0;
    for (auto& [number, run] : s.runs) {
      if (run.placed) continue;
      waiting.insert(number);
      auto& kind = *run.kind;
      longest = std::max(longest, ++streams[{run.user, kind.wants.machine_type, kind.priority}]);
    }
    // Each first of a stream is above all priorities after three patiences, and then behind no more
    // than the firsts of the other streams, of which each waits for runs of at most five steps.
    auto every = 3 * patience + 6 * (45 + 15);
    auto limit = s.now + every * (longest + 1);
    while (!waiting.empty()) {
      REQUIRE(s.now < limit);
      step(true);
      std::erase_if(waiting, [&](auto number) {
        auto run = s.runs.find(number);
        return run == s.runs.end() || run->second.placed;
      });
    }
  }
}

TEST_CASE("the same runs in the same order make the same plan") {
  auto plan_of = [](unsigned seed) {
    Crowd s(seed);
    std::vector<std::pair<std::int64_t, std::string>> plan;
    for (int i = 0; i < 200; ++i) {
      ++s.now;
      for (int j = 0; j < 3; ++j) s.arrive();
      for (auto number : s.look()) plan.emplace_back(number, s.runs.at(number).placed->machine);
      if (i % 3 == 0)
        for (auto& [number, run] : std::map(s.runs))
          if (run.placed && number % 2 == i % 2) s.end(number);
    }
    return plan;
  };
  for (unsigned seed = 0; seed < 20; ++seed) REQUIRE(plan_of(seed) == plan_of(seed));
}

TEST_CASE("10,000 runs on 200 machines") {
  struct Outcome {
    std::vector<std::pair<std::int64_t, std::string>> plan;
    std::int64_t steps = 0;
    std::map<std::string, std::int64_t> last;  ///< by user: when the last got its machine
    std::map<Priority, std::pair<std::int64_t, int>> waits;  ///< sum and number
    std::int64_t longest_whole = 0;                          ///< of those that want a whole machine
    bool operator==(const Outcome&) const = default;
  };
  std::int64_t gpu_steps = 0;
  auto simulate = [&] {
    std::mt19937 random(11);
    auto pick = [&](int least, int most) {
      return std::uniform_int_distribution(least, most)(random);
    };
    Plan plan;
    plan.queue = Queue(200);
    for (int i = 0; i < 200; ++i) {
      bool gpu = i < 100;
      auto name = (gpu ? "g" : "c") + std::to_string(i);
      plan.cluster.put(box(name,
                           gpu ? std::vector<std::string>{"v100"} : std::vector<std::string>{"cpu"},
                           gpu ? Amounts{64, 512 * GB, 8} : Amounts{16, 128 * GB, 0}));
    }
    Outcome out;
    gpu_steps = 0;
    std::map<std::int64_t, std::vector<std::int64_t>> ends;
    std::map<std::int64_t, std::tuple<std::int64_t, std::int64_t, Priority, bool>> asked;
    const std::vector<std::string> users{"ada", "bob", "eve", "dan", "fay"};
    int made = 0, placed = 0;
    while (placed < 10'000) {
      REQUIRE(plan.now < 5000);
      ++plan.now;
      // Ada puts in a third of all at once; the others' come by and by.
      for (int i = plan.now == 1 ? 3500 : 40; i > 0 && made < 10'000; --i, ++made) {
        auto& user = plan.now == 1 ? users[0] : users[static_cast<std::size_t>(pick(1, 4))];
        bool gpu = pick(0, 1) == 0;
        std::int64_t wants =
            std::vector<int>{1, 1, 1, 2, 4, 8}[static_cast<std::size_t>(pick(0, 5))];
        auto priority = pick(0, 9) == 0 ? high : pick(0, 3) == 0 ? low : normal;
        auto number = plan.add(user, gpu ? "v100" : "cpu", priority,
                               gpu ? gpus(wants) : Ask{2 * wants, 4 * GB, {}, ""});
        asked[number] = {plan.now, pick(1, 20), priority, gpu && wants == 8};
        if (gpu) gpu_steps += wants * std::get<1>(asked[number]);
      }
      if (auto done = ends.extract(plan.now); !done.empty())
        for (auto number : done.mapped()) plan.end(number);
      for (auto number : plan.look()) {
        auto [since, takes, priority, whole] = asked.at(number);
        ends[plan.now + takes].push_back(number);
        ++placed;
        auto& run = plan.runs.at(number);
        out.plan.emplace_back(number, run.placed->machine);
        out.last[run.user] = plan.now;
        auto& waited = out.waits[priority];
        waited.first += plan.now - since;
        ++waited.second;
        if (whole) out.longest_whole = std::max(out.longest_whole, plan.now - since);
      }
      if (plan.now % 50 == 0) plan.check_amounts();
    }
    plan.check_amounts();
    out.steps = plan.now;
    return out;
  };
  auto outcome = simulate();
  CHECK(outcome.plan.size() == 10'000);
  std::set<std::int64_t> numbers;
  for (auto& [number, machine] : outcome.plan) numbers.insert(number);
  CHECK(numbers.size() == 10'000);  // each once
  CHECK(outcome == simulate());
  auto mean = [&](Priority priority) {
    auto& [sum, count] = outcome.waits.at(priority);
    return static_cast<double>(sum) / count;
  };
  INFO("steps " << outcome.steps << ", least " << gpu_steps / 800 << "; whole "
                << outcome.longest_whole << "; waits " << mean(high) << " " << mean(normal) << " "
                << mean(low));
  CHECK(mean(high) < mean(normal));
  CHECK(mean(normal) < mean(low));
  // The GPUs are busy: no more than a quarter longer than they would be at the least.
  CHECK(outcome.steps <= gpu_steps / 800 * 5 / 4 + 20);
  // Those that want all of a machine wait no longer than everything takes.
  CHECK(outcome.longest_whole < outcome.steps);
}

TEST_CASE("a stream of which all kinds are placed in one look is as good as new") {
  Plan plan;
  plan.cluster.put(box("a", {"cpu"}, {8, 64 * GB, 0}));
  for (int again = 0; again < 3; ++again) {
    Numbers all;
    for (std::int64_t cpus : {1, 2, 3})
      all.push_back(plan.add("ada", "cpu", normal, {cpus, 0, std::nullopt, ""}));
    CHECK(plan.look() == all);
    CHECK(plan.queue.size() == 0);
    for (auto number : all) plan.end(number);
  }
}
