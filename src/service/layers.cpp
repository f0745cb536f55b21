// Layers of environments, as workers ask for them and bring them.
#include "service/layers.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <tuple>

#include "base/error.hpp"
#include "base/file.hpp"
#include "model/environment.hpp"
#include "model/error_code.hpp"
#include "service/api.hpp"

namespace spell::service {

namespace {
/// Of apt a machine that had less before is given more than what another one was given.
bool has_pinned(const store::LayerRecord& layer, const std::vector<std::string>& pinned) {
  if (pinned.empty()) return true;
  if (layer.method != "apt") return layer.packages == pinned;
  std::set<std::string> there(layer.packages.begin(), layer.packages.end());
  return std::all_of(pinned.begin(), pinned.end(),
                     [&](auto& package) { return there.contains(package); });
}
}  // namespace

LayerState decide_layer(const std::optional<store::LayerRecord>& there, const LayerWish& wish,
                        bool builder_lives) {
  if (!there) return LayerState::build;
  bool whole = !there->node.empty() && there->node != wish.lost && has_pinned(*there, wish.pinned);
  // Built for a run that asked for a new one, it is new for all that asked before it was.
  bool is_new = there->made_by == wish.run || (!there->made_by.empty() && wish.asked_us > 0 &&
                                               there->created_us >= wish.asked_us);
  if (whole && (!wish.refresh || is_new)) return LayerState::ready;
  bool other =
      !there->builder.empty() && (there->builder != wish.run || there->builder_epoch != wish.epoch);
  return other && builder_lives ? LayerState::wait : LayerState::build;
}

std::vector<std::pair<std::string, std::string>> choose_layers_to_remove(
    std::vector<store::LayerRecord> layers,
    const std::set<std::pair<std::string, std::string>>& in_use, std::int64_t limit) {
  std::sort(layers.begin(), layers.end(), [](auto& a, auto& b) {
    return std::tie(a.used_us, a.owner, a.name) < std::tie(b.used_us, b.owner, b.name);
  });
  std::int64_t total = 0;
  for (auto& layer : layers) total += layer.size;
  std::vector<std::pair<std::string, std::string>> out;
  for (auto& layer : layers) {
    if (total <= limit) break;
    std::pair name(layer.owner, layer.name);
    if (in_use.contains(name) || !layer.builder.empty() || layer.node.empty()) continue;
    total -= layer.size;
    out.push_back(std::move(name));
  }
  return out;
}

namespace {

/// What waits for a layer is told by this name.
std::string news_of(const std::string& owner, const std::string& name) {
  return "layer/" + owner + "/" + name;
}

/// The run that has claimed a layer has not begun its command, nor ended.
const RunRecord* builder_of(const State& state, const store::LayerRecord& layer) {
  if (layer.builder.empty()) return nullptr;
  auto* run = state.active_run(layer.builder);
  bool builds =
      run && !run->machine.empty() && run->epoch == layer.builder_epoch && run->started_us == 0;
  return builds ? run : nullptr;
}

model::LayerAnswer ready(const store::LayerRecord& layer) {
  model::LayerAnswer out;
  out.state = "ready";
  out.name = layer.name;
  out.node = layer.node;
  out.size = layer.size;
  out.files = layer.files;
  return out;
}

/// What the run is to have of a layer of packages; none: whatever fits.
Result<std::vector<std::string>> pinned_packages(State& state, const RunRecord& run,
                                                 const std::string& method) {
  auto& said = method == "image"   ? run.request.pinned_image
               : method == "apt"   ? run.request.pinned_apt
               : method == "conda" ? run.request.pinned_conda
                                   : run.request.pinned;
  if (!said.empty()) return said;
  // One that was interrupted before it was given any has them from the one before it.
  for (auto number = run.resumed_from; number != 0;) {
    auto before = state.writer().find_run(run.owner, number);
    if (!before) return before.error();
    if (!*before) break;
    auto layers = state.writer().layers_of_run((*before)->id);
    if (!layers) return layers.error();
    for (auto& layer : *layers)
      if (layer.method == method) return layer.packages;
    number = (*before)->resumed_from;
  }
  return std::vector<std::string>();
}

Result<model::LayerAnswer> claim(State& state, std::int64_t now, const std::string& run_id,
                                 const model::LayerClaim& asked) {
  auto* run = state.active_run(run_id);
  if (!run) return base::error("run_not_found", "run " + run_id + " is not being carried out");
  LayerWish wish{run_id,     run->epoch, run->request.refresh_environment && run->resumed_from == 0,
                 asked.lost, {},         run->created_us};
  if (asked.method != "setup") {
    auto pinned = pinned_packages(state, *run, asked.method);
    if (!pinned) return pinned.error();
    wish.pinned = std::move(*pinned);
  }
  store::LayerRecord layer;
  auto decide = [&](const std::string& name) -> Result<LayerState> {
    auto there = state.writer().find_layer(run->owner, name);
    if (!there) return there.error();
    bool lives = *there && builder_of(state, **there);
    if (*there)
      layer = std::move(**there);
    else
      layer = {run->owner, name, asked.method, asked.base, asked.made_of, {}, 0, 0, {}, {},
               0,          {},   now,          now};
    return decide_layer(*there ? std::optional(layer) : std::nullopt, wish, lives);
  };
  auto decided = decide(asked.name);
  // The packages of this name are others by now.
  if (decided && *decided != LayerState::ready && !wish.pinned.empty())
    decided = decide(model::pinned_layer(asked.name, wish.pinned));
  if (!decided) return decided.error();
  if (*decided == LayerState::wait) {
    model::LayerAnswer out;
    out.state = "wait";
    out.name = layer.name;
    if (auto* builder = builder_of(state, layer)) out.builder = builder->number;
    return out;
  }
  layer.used_us = now;
  if (*decided == LayerState::ready) {
    SPELL_TRY(state.writer().put_layer(layer));
    SPELL_TRY(state.writer().put_run_layer(run_id, {layer.method, layer.name, layer.packages}));
    return ready(layer);
  }
  // What cannot be read any more is nobody's.
  if (layer.node == asked.lost) layer.node.clear();
  if (layer.node.empty()) layer.size = layer.files = 0;
  layer.builder = run_id;
  layer.builder_epoch = run->epoch;
  SPELL_TRY(state.writer().put_layer(layer));
  model::LayerAnswer out;
  out.state = "build";
  out.name = layer.name;
  out.pinned = std::move(wish.pinned);
  return out;
}

/// Whether any went.
Result<bool> remove_beyond(State& state, std::int64_t now, std::int64_t limit) {
  auto layers = state.writer().layers("");
  if (!layers) return layers.error();
  std::int64_t total = 0;
  for (auto& layer : *layers) total += layer.size;
  if (total <= limit) return false;
  auto uses = state.writer().layers_in_use();
  if (!uses) return uses.error();
  std::set<std::pair<std::string, std::string>> in_use;
  for (auto& use : *uses) in_use.emplace(use.owner, use.layer);
  auto gone = choose_layers_to_remove(std::move(*layers), in_use, limit);
  for (auto& [owner, name] : gone) SPELL_TRY(state.writer().delete_layer(owner, name));
  if (gone.empty()) return false;
  SPELL_TRY(Collector::note_removal(state, now));
  return true;
}

/// Of a run's request: its id, checked.
Result<std::string> run_of(Context& context, const Call& call) {
  auto assignment = assigned(context, call);
  if (!assignment) return assignment.error();
  return call->query("run");
}

/// Asks until it is decided who builds, or the time is up.
struct Waiting : std::enable_shared_from_this<Waiting> {
  Context& context;
  Call call;
  std::string run;
  model::LayerClaim asked;
  std::atomic<bool> last = false, done = false;
  std::atomic<std::uint64_t> timer = 0;
  std::mutex mutex;
  std::map<std::string, Hub::Listener> listeners;

  Waiting(Context& c, Call k, std::string r, model::LayerClaim a)
      : context(c), call(std::move(k)), run(std::move(r)), asked(std::move(a)) {}

  /// Asks to be woken by the layers that it may have to wait for, then asks for them: what happens
  /// in between is not missed.
  void ask() {
    auto assignment = context.machines.assignment(run);
    if (assignment && !last) listen(news_of(assignment->owner, asked.name));
    context.reactor.post([self = shared_from_this()](State& state,
                                                     std::int64_t now) -> Reactor::Answer {
      auto answered = claim(state, now, self->run, self->asked);
      return [self, answered](const Result<>& committed) { self->answered(answered, committed); };
    });
  }
  /// Whether it did not listen to these yet.
  bool listen(const std::string& news) {
    std::lock_guard lock(mutex);
    auto [listener, added] = listeners.try_emplace(news, context.hub, news);
    if (added)
      listener->second.start([weak = weak_from_this()] {
        auto self = weak.lock();
        if (self && !self->done) self->ask();
      });
    return added;
  }
  /// Whether this was the first to.
  bool leave() {
    if (done.exchange(true)) return false;
    context.timer.cancel(timer);
    std::lock_guard lock(mutex);
    listeners.clear();
    return true;
  }
  void answered(const Result<model::LayerAnswer>& answered, const Result<>& committed) {
    bool waits = answered && committed && answered->state == "wait" && !last;
    if (waits && answered->name != asked.name && !done) {
      auto assignment = context.machines.assignment(run);
      if (assignment && listen(news_of(assignment->owner, answered->name))) return ask();
    }
    if (waits || !leave()) return;
    if (!answered) return refuse(call, answered.error());
    if (!committed) return refuse(call, committed.error());
    answer(call, model::to_json(*answered));
  }
};

}  // namespace

void machine_claim_layer(Context& context, Call call) {
  auto run = run_of(context, call);
  if (!run) return refuse(call, run.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto asked = model::parse_layer_claim(*body);
  if (!asked) return refuse(call, asked.error());
  auto waiting = std::make_shared<Waiting>(context, std::move(call), *run, std::move(*asked));
  if (waiting->asked.wait_ms == 0) {
    waiting->last = true;
  } else {
    waiting->timer =
        context.timer.after(std::chrono::milliseconds(waiting->asked.wait_ms), [waiting] {
          waiting->last = true;
          if (!waiting->done) waiting->ask();
        });
    waiting->call->reply.on_close([waiting] { waiting->leave(); });
  }
  waiting->ask();
}

void machine_put_layer(Context& context, Call call) {
  auto assignment = assigned(context, call);
  if (!assignment) return refuse(call, assignment.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto built = model::parse_layer_built(*body);
  if (!built) return refuse(call, built.error());
  auto node = spellfs::Name::parse(built->node);
  if (!built->node.empty() && !node)
    return refuse(call, base::error("invalid_request", "'" + model::one_line(built->node, 200) +
                                                           "' is no SpellFS name"));
  std::shared_ptr<spellfs::PackStore::Pin> pin;
  if (node) {
    pin = std::make_shared<spellfs::PackStore::Pin>(context.objects.pin({*node}));
    auto owns = context.objects.owns(assignment->owner, *node);
    if (!owns) return refuse(call, owns.error());
    if (!*owns) return refuse(call, base::error("incomplete_pack", "the layer has not been sent"));
  }
  std::int64_t limit = context.options.environments > 0
                           ? context.options.environments
                           : base::disk_size(context.options.state_folder) / 10;
  context.reactor.post([&context, call = std::move(call), built = std::move(*built), pin, limit,
                        owner = assignment->owner](State& state,
                                                   std::int64_t now) -> Reactor::Answer {
    std::string run = call->query("run");
    bool removed = false;
    auto put = [&]() -> Result<model::LayerAnswer> {
      auto there = state.writer().find_layer(owner, built.name);
      if (!there) return there.error();
      // Put before, and not heard of.
      if (*there && (*there)->made_by == run && !built.node.empty() && (*there)->node == built.node)
        return ready(**there);
      auto* record = state.active_run(run);
      if (!record || !*there || (*there)->builder != run ||
          (*there)->builder_epoch != record->epoch)
        return base::error("stale_epoch", "layer " + built.name + " is not this run's to build");
      auto& layer = **there;
      layer.builder.clear();
      layer.builder_epoch = 0;
      layer.used_us = now;
      if (built.node.empty()) {
        // Nothing is left of what nobody has built.
        SPELL_TRY(layer.node.empty() ? state.writer().delete_layer(owner, layer.name)
                                     : state.writer().put_layer(layer));
        model::LayerAnswer out;
        out.state = "build";
        out.name = layer.name;
        return out;
      }
      layer.node = built.node;
      layer.size = built.size;
      layer.files = built.files;
      layer.packages = built.packages;
      layer.made_by = run;
      layer.created_us = now;
      SPELL_TRY(state.writer().put_layer(layer));
      SPELL_TRY(state.writer().put_run_layer(run, {layer.method, layer.name, layer.packages}));
      auto beyond = remove_beyond(state, now, limit);
      if (!beyond) return beyond.error();
      removed = *beyond;
      return ready(layer);
    };
    auto done = put();
    return
        [&context, call, done, pin, owner, removed, name = built.name](const Result<>& committed) {
          context.hub.notify(news_of(owner, name));
          if (!done) return refuse(call, done.error());
          if (!committed) return refuse(call, committed.error());
          if (removed) context.collector.removed();
          answer(call, model::to_json(*done));
        };
  });
}

}  // namespace spell::service
