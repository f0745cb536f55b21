#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "spellfs/tree.hpp"
#include "worker/build_output.hpp"
#include "worker/building.hpp"
#include "worker/environment.hpp"
#include "worker/hooks.hpp"
#include "worker/image_layer.hpp"
#include "worker/layer_build.hpp"
#include "worker/layers.hpp"
#include "worker/mount_plan.hpp"
#include "worker/pack_sender.hpp"
#include "worker/system_layer.hpp"

// Layer after layer, from the lowest up: the service is asked for it; where it has none the layer
// is built here (layer_build.hpp) and saved; what the run, or the next layer, needs of it is
// brought into the cache, also of one that was built here: what cannot be read back is found at
// once.

namespace spell::worker {

namespace {

constexpr std::int64_t claim_wait_ms = 20'000;
constexpr int most_tries = 3;

/// What was saved cannot be read: it is to be built anew.
bool is_lost_layer(const Error& error) {
  for (auto* code : {"object_not_found", "resource_not_found", "damaged", "bad_pack", "bad_node"})
    if (error.code() == code) return true;
  return false;
}

class Preparation {
 public:
  Preparation(const Folders& folders, const Host& host, const model::StartCommand& start,
              const LayerService& service, Link& link, const spellfs::ObjectSource& source,
              TreeCache& cache, Turns& turns, const BuildOutput::Say& say, std::stop_token stop)
      : folders_(folders),
        host_(host),
        start_(start),
        service_(service),
        link_(link),
        source_(source),
        cache_(cache),
        turns_(turns),
        say_(say),
        stop_(std::move(stop)),
        folder_(folders.run(start.run)),
        build_(folder_, host, start, say, stop_),
        base_(base_of(host.base_environment)),
        layers_(layers_of(start)) {}

  Result<> all() {
    if (host_.capabilities.containment == exec::Containment::best_effort)
      return no_build("environments cannot be had on this machine, for " +
                      host_.capabilities.remedy);
    if (has("image")) {
      if (auto lacks = lacks_for_images(host_.capabilities, host_.base_environment); !lacks.empty())
        return no_build("images cannot be had on this machine: " + lacks);
      // An image's programs are its maker's. Installing packages takes root.
      if (has("apt") && (host_.users || ::geteuid() != 0))
        return no_build("apt packages cannot be had in an image on this machine, " +
                        std::string(host_.users ? "whose runs have users of their own"
                                                : "whose worker is not "
                                                  "root") +
                        ": make an image that has them");
    } else if (has("apt")) {
      if (auto lacks = lacks_for_packages(host_.capabilities); !lacks.empty())
        return no_build("apt packages cannot be had on this machine: " + lacks);
    }
    // Of a worker that was killed.
    SPELL_TRY(build_.end_earlier());
    for (int tries = 1;; ++tries) {
      auto done = once();
      if (done || !is_lost_layer(done.error()) || tries == most_tries) return done;
      say("The environment cannot be read any more (" + done.error().message() +
          "): it is built anew");
    }
  }

 private:
  void say(const std::string& line) { say_({line}); }

  /// One way through all layers. An error of is_lost_layer(): what was there is not any more, which
  /// the service will be told of.
  Result<> once() {
    below_ = system_ = image_ = {};
    system_tree_.clear();
    image_tree_.clear();
    base_ = base_of(host_.base_environment);
    for (auto& layer : layers_) {
      if (layer.method == "pip") SPELL_TRY(find_python());
      if (layer.method == "conda") SPELL_TRY(find_conda());
      auto there = obtain(layer);
      if (!there) return there.error();
      if (layer.method == "image") {
        image_ = std::move(*there);
        auto tree = bring(image_, Part::image);
        if (!tree) return tree.error();
        image_tree_ = std::move(*tree);
        base_ = base_of_image(image_tree_ + "/" + image_root, build_.surroundings(image_tree_));
      } else if (layer.method == "apt") {
        system_ = std::move(*there);
        auto tree = bring(system_, Part::system);
        if (!tree) return tree.error();
        system_tree_ = std::move(*tree);
      } else {
        below_ = std::move(*there);
      }
    }
    std::string own;
    if (!below_.node.empty()) {
      auto tree = bring(below_, Part::own);
      if (!tree) return tree.error();
      own = std::move(*tree);
    }
    return write_environment_record(folder_, record(own));
  }

  /// What a layer is to a run: its machine's system, packages over that, or at environment_folder.
  enum class Part { image, system, own };

  bool has(std::string_view method) const {
    return std::any_of(layers_.begin(), layers_.end(),
                       [&](auto& layer) { return layer.method == method; });
  }

  /// `tree`: of all but the packages of apt; "": it is not here yet.
  EnvironmentRecord record(const std::string& tree) const {
    auto key = [](const model::LayerAnswer& layer, Part part) {
      return layer.node.empty() ? "" : key_of(layer, part);
    };
    return {tree,         key(below_, Part::own),     has("pip"),  has("conda"),
            system_tree_, key(system_, Part::system), image_tree_, key(image_, Part::image)};
  }

  /// One that apt has installed serves where the machine has none.
  Result<> find_python() {
    if (has("conda")) {
      // The one that its packages are for, where they have one.
      base_.python3 = std::string(model::environment_folder) + "/" + conda_folder + "/bin/python3";
      base_.python = base_.python3;
      return ok();
    }
    if (!base_.python.empty()) return ok();
    constexpr const char* usual = "/usr/bin/python3";
    if (system_tree_.empty() || !base::exists(system_tree_ + "/" + system_root + usual))
      return no_build((image_tree_.empty()
                           ? std::string("there is no python3 on this machine: install it (apt "
                                         "install python3 python3-venv), or ")
                           : "there is no python3 in the image: ") +
                      "ask for it (--apt python3 --apt python3-venv)");
    base_.python = base_.python3 = usual;
    return ok();
  }

  Result<> find_conda() {
    if (!base_.conda.empty()) return ok();
    return no_build("there is no micromamba, mamba or conda " +
                    std::string(image_tree_.empty() ? "on this machine" : "in the image") +
                    ", which --conda-file takes");
  }

  /// Of what a layer lies on.
  std::string content_below() const {
    std::vector<std::string> all;
    for (auto* part : {&image_, &system_, &below_})
      if (!part->node.empty()) all.push_back(part->node);
    return base::join(all, " ");
  }

  /// The layer as the service has it, built here where it had none.
  Result<model::LayerAnswer> obtain(const Layer& layer) {
    model::LayerClaim claim;
    if (layer.method == "apt") {
      auto found = system_fingerprint(system_below(image_tree_));
      if (!found) return found.error();
      fingerprint_ = std::move(*found);
    }
    // An image is the same on every machine of a kind.
    auto on = layer.method == "image" ? LayerBase{"image", base_.machine} : base_;
    claim.name =
        layer_name(layer, on, start_.owner, layer.method == "apt" ? fingerprint_ : content_below());
    claim.method = layer.method;
    claim.base = on.text();
    claim.made_of = layer.made_of;
    claim.wait_ms = claim_wait_ms;
    if (auto lost = lost_.find(layer.method); lost != lost_.end()) claim.lost = lost->second;
    for (bool told = false;;) {
      auto answer = service_.claim(claim);
      if (!answer) return answer;
      if (answer->state == "ready") {
        methods_[answer->node] = layer.method;
        return answer;
      }
      if (answer->state == "wait") {
        if (!std::exchange(told, true))
          say("Waiting for run " + std::to_string(answer->builder) +
              ", which builds the same environment");
        if (stop_.stop_requested()) return given_up();
        continue;
      }
      if (answer->state != "build") return no_build("the service's answer is not to be understood");
      auto built = build(layer, *answer);
      if (built) return built;
      service_.give_up(answer->name);
      return built;
    }
  }

  /// One of apt lies there in another form than it is kept in.
  static std::string key_of(const model::LayerAnswer& layer, Part part) {
    return (part == Part::system ? "system-" : "layer-") + layer.node;
  }

  /// In this machine's cache; its path.
  Result<std::string> bring(const model::LayerAnswer& layer, Part part) {
    auto node = spellfs::Name::parse(layer.node);
    if (!node) return no_build("the service's answer names no tree");
    spellfs::Entry entry;
    entry.type = spellfs::EntryType::folder;
    entry.mode = 0755;
    entry.node = *node;
    entry.size = layer.size;
    entry.files = layer.files;
    // Before it is made: whoever finds this folder knows what it uses.
    auto used = record("");
    const auto key = key_of(layer, part);
    (part == Part::system  ? used.system_key
     : part == Part::image ? used.image_key
                           : used.key) = key;
    SPELL_TRY(write_environment_record(folder_, used));
    bool told = std::exchange(built_here_, false);
    auto made = cache_.use(
        start_.run, key, reckoned_size(layer.size, layer.files),
        [&](const std::string& path, std::stop_token token) -> Result<> {
          if (!std::exchange(told, true)) say("Retrieving cached environment…");
          spellfs::RestoreOptions options;
          options.durable = true;
          options.stop = std::move(token);
          auto restored = spellfs::restore(source_, entry, path, options);
          if (!restored) return restored.error();
          return part == Part::system ? unpack_system(path) : ok();
        },
        stop_);
    if (!made && is_lost_layer(made.error())) lost_[methods_[layer.node]] = layer.node;
    if (!made) return made.error();
    if (!told) say("Retrieving cached environment… it is on this machine");
    return made->path;
  }

  /// What a layer is built over, in this machine's cache.
  Result<LayerGround> ground_of(const Layer& layer) {
    LayerGround out;
    out.base = base_;
    out.image = image_tree_;
    out.system = system_tree_;
    out.fingerprint = fingerprint_;
    out.pip = has("pip");
    bool image = layer.method == "image";
    if (image && mount_at(start_, model::image_source)) {
      auto source = bring_resource();
      if (!source) return source.error();
      out.source = std::move(*source);
    } else if (!image && layer.method != "apt" && !below_.node.empty()) {
      auto tree = bring(below_, Part::own);
      if (!tree) return tree.error();
      out.own = std::move(*tree);
    }
    return out;
  }

  /// What holds the image, in this machine's cache.
  Result<std::string> bring_resource() {
    auto& mount = *mount_at(start_, model::image_source);
    auto entry = entry_of(mount);
    if (entry && entry->type == spellfs::EntryType::folder)
      entry = spellfs::find(source_, entry->node, mount.below);
    if (!entry) return no_build(mount.resource + " cannot be read: " + entry.error().message());
    auto made = cache_.use(
        start_.run, cache_key(*entry), reckoned_size(entry->size, entry->files),
        [&](const std::string& path, std::stop_token token) -> Result<> {
          spellfs::RestoreOptions options;
          options.durable = true;
          options.stop = std::move(token);
          auto restored = spellfs::restore(source_, *entry, path, options);
          return restored ? ok() : Result<>(restored.error());
        },
        stop_);
    if (!made) return no_build(mount.resource + " cannot be read: " + made.error().message());
    return made->path;
  }

  Result<model::LayerAnswer> build(const Layer& layer, const model::LayerAnswer& claimed) {
    auto turn = turns_.take(start_.owner, stop_);
    if (!turn) return given_up();
    auto built = build_here(layer, claimed);
    // Of a build that may still go on nothing is taken away.
    if (built || built.error().code() != "supervisor_unreachable")
      if (auto removed = build_.remove(); !removed && built) return removed.error();
    return built;
  }

  Result<model::LayerAnswer> build_here(const Layer& layer, const model::LayerAnswer& claimed) {
    auto ground = ground_of(layer);
    if (!ground) return ground.error();
    auto made = build_.run(layer, claimed, *ground);
    if (!made) return made.error();
    model::LayerBuilt built;
    built.name = claimed.name;
    built.packages = std::move(made->packages);
    say("Saving the environment");
    auto answer = keep(made->tree, built);
    if (!answer) return answer;
    if (answer->state != "ready") return no_build("the service has not taken the environment");
    built_here_ = true;
    lost_.erase(layer.method);
    methods_[answer->node] = layer.method;
    say("Environment built: " + base::count(built.files, "file") + ", " +
        base::format_size(built.size));
    return answer;
  }

  /// Once more where a collection has freed, in between, what counted as being there.
  Result<model::LayerAnswer> keep(const std::string& tree, model::LayerBuilt& built) {
    constexpr int attempts = 3;
    for (int attempt = 1;; ++attempt) {
      auto saved = save(tree, built);
      auto answer = saved ? service_.put(built) : Result<model::LayerAnswer>(saved.error());
      if (answer || answer.error().code() != "incomplete_pack" || attempt == attempts)
        return answer;
    }
  }

  /// All that it names has been sent then.
  Result<> save(const std::string& tree, model::LayerBuilt& built) {
    CallOptions call{std::nullopt, stop_};
    return service_.persist([&]() -> Result<> {
      spellfs::SaveOptions options;
      options.stop = stop_;
      options.missing = [&](std::span<const spellfs::Name> names) {
        return link_.missing(start_.run, start_.epoch, names, call);
      };
      PackSender sender(folders_, link_, start_, call);
      auto first = sender.open();
      if (!first) return first.error();
      spellfs::PackWriter writer(*first, [&](std::int64_t size) { return sender.next(size); });
      auto saved = spellfs::save(tree, options, writer);
      if (!saved) return saved.error();
      SPELL_TRY(sender.wait());
      if (writer.objects() > 0) {
        auto size = writer.finish();
        if (!size) return size.error();
        if (auto next = sender.next(*size); !next) return next.error();
        SPELL_TRY(sender.wait());
      }
      if (!saved->tree) return no_build("the build has left nothing");
      built.node = saved->tree->text();
      built.size = saved->bytes;
      built.files = saved->files;
      for (std::size_t i = 0; i < std::min<std::size_t>(saved->skipped.size(), 20); ++i)
        say("not kept: " + saved->skipped[i]);
      return ok();
    });
  }

  const Folders& folders_;
  const Host& host_;
  const model::StartCommand& start_;
  const LayerService& service_;
  Link& link_;
  const spellfs::ObjectSource& source_;
  TreeCache& cache_;
  Turns& turns_;
  const BuildOutput::Say& say_;
  const std::stop_token stop_;
  const std::string folder_;
  LayerBuild build_;
  LayerBase base_;
  const std::vector<Layer> layers_;
  model::LayerAnswer below_;                    ///< what was obtained last, but of these:
  model::LayerAnswer system_;                   ///< the packages of apt
  model::LayerAnswer image_;                    ///< what is in place of the machine's system
  std::string system_tree_, image_tree_;        ///< those in the cache
  std::string fingerprint_;                     ///< of what is below the packages
  bool built_here_ = false;                     ///< that
  std::map<std::string, std::string> lost_;     ///< method -> a tree that cannot be read
  std::map<std::string, std::string> methods_;  ///< tree -> whose it is
};

}  // namespace

void end_preparing(const std::string& run_folder) {
  if (auto build = exec::Supervised::attach(run_folder + "/layer")) (void)build->kill();
}

Result<std::vector<std::string>> prepare(const Folders& folders, const Host& host,
                                         const model::StartCommand& start,
                                         const LayerService& service, Link& link,
                                         const spellfs::ObjectSource& source, TreeCache& cache,
                                         Turns& turns, const BuildOutput::Say& say,
                                         std::stop_token stop) {
  Preparation preparation(folders, host, start, service, link, source, cache, turns, say,
                          std::move(stop));
  auto done = preparation.all();
  if (!done) return done.error();
  return std::vector<std::string>();
}

}  // namespace spell::worker
