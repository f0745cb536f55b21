#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <utility>

#include "base/count.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "spellfs/tree.hpp"
#include "worker/build_output.hpp"
#include "worker/building.hpp"
#include "worker/copy_tree.hpp"
#include "worker/environment.hpp"
#include "worker/hooks.hpp"
#include "worker/image_layer.hpp"
#include "worker/layers.hpp"
#include "worker/mount_plan.hpp"
#include "worker/pack_sender.hpp"
#include "worker/system_layer.hpp"

// A layer is built by a command of its own under a supervisor of its own, in the run's folder as
// `layer/`, with the run's fence and user, but without its code, credentials and secrets. It finds
// its folder at /spell, and by the name under which runs will find it: /spell-env leads there. What
// it leaves is saved when nothing of it lives any more, and read back from there like by every
// other machine: what cannot be read back is found at once.
//
// One of apt is built by root, over the machine's own system, with nothing of the run (exec's
// SystemSpec): /spell is empty there. What it has changed is what is saved. The layers above it are
// built, and used, with it in place.

namespace spell::worker {

namespace {

constexpr std::int64_t layer_log_limit = 256 << 20;
constexpr std::int64_t packages_limit = 1 << 20;
constexpr std::int64_t claim_wait_ms = 20'000;
constexpr int most_tries = 3;

Error given_up() { return base::error("canceled", "the environment was given up"); }

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
        place_(folder_ + "/layer"),
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
    SPELL_TRY(end_earlier());
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
        base_ = base_of_image(image_tree_ + "/" + image_root, surroundings());
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

  /// Of programs that are neither of this machine's owner nor of the run.
  std::vector<std::string> surroundings() const {
    return surroundings_of(host_.base_environment, host_.users != nullptr, paths(), image_tree_);
  }
  RunPaths paths() const { return run_paths(host_.capabilities.containment, place_); }

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

  /// Where the system lies over which packages are installed.
  std::string system_below() const {
    return image_tree_.empty() ? "/" : image_tree_ + "/" + image_root;
  }

  /// The layer as the service has it, built here where it had none.
  Result<model::LayerAnswer> obtain(const Layer& layer) {
    model::LayerClaim claim;
    if (layer.method == "apt") {
      auto found = system_fingerprint(system_below());
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

  Result<> end_earlier() {
    auto before = exec::Supervised::attach(place_);
    if (!before && before.error().code() != "not_found") return before.error();
    if (before) {
      SPELL_TRY(before->kill());
      BuildOutput none(place_, [](auto&) {});
      if (auto ended = await(*before, none, {}); !ended) return ended.error();
    }
    return base::remove_tree(place_);
  }

  /// Waits for its end, and tells what it prints; after a stop it is killed, then waited for.
  Result<exec::State> await(exec::Supervised& build, BuildOutput& output, std::stop_token stop) {
    base::Fd told(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!told) return base::errno_error("wait for a build");
    std::stop_callback tell(stop, [&] {
      std::uint64_t one = 1;
      (void)!::write(told.get(), &one, sizeof one);
    });
    bool killed = false;
    for (;;) {
      if (stop.stop_requested() && !std::exchange(killed, true)) SPELL_TRY(build.kill());
      auto state = build.state();
      if (!state) return state;
      output.read(state->spool_end);
      if (state->phase != exec::State::Phase::starting &&
          state->phase != exec::State::Phase::running)
        return state;
      // A disk that is full: its supervisor waits for room to write the end, and it has the disk.
      if (state->log_full && state->command_ended)
        for (auto* made : {"/spell", "/system", "/root"}) (void)base::remove_tree(place_ + made);
      pollfd fds[] = {{build.event_fd(), POLLIN, 0}, {killed ? -1 : told.get(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return base::errno_error("wait for a build");
    }
  }

  Result<> make_place(const Layer& layer, const std::vector<std::string>& pinned) {
    SPELL_TRY(base::remove_tree(place_));
    SPELL_TRY(base::make_folders(place_ + "/tmp", 0700));
    if (layer.method == "apt") {
      SPELL_TRY(base::make_folders(place_ + "/spell", 0755));
      SPELL_TRY(base::make_folders(system_place() + "/" + system_root, 0755));
      SPELL_TRY(base::make_folders(place_ + "/system/work", 0700));
      // Also of the user that apt becomes while it fetches.
      if (::chmod((place_ + "/tmp").c_str(), 01777) != 0)
        return base::errno_error("set the mode of " + place_ + "/tmp");
      return ok();
    }
    if (below_.node.empty()) {
      SPELL_TRY(base::make_folders(place_ + "/spell", 0755));
    } else {
      auto tree = bring(below_, Part::own);
      if (!tree) return tree.error();
      auto copied = copy_tree(*tree, place_ + "/spell", stop_);
      if (!copied) return copied.error();
    }
    auto write = [&](const std::string& name, const std::string& text) {
      return base::write_file(place_ + "/tmp/" + name, text, 0600, false);
    };
    if (layer.method == "pip")
      SPELL_TRY(write(requirements_file, requirements_of(start_.request)));
    else if (layer.method == "conda")
      SPELL_TRY(write(conda_file, start_.request.conda_text));
    else
      return ok();
    if (pinned.empty()) return ok();
    return write(pins_file,
                 (layer.method == "conda" ? "@EXPLICIT\n" : "") + base::join(pinned, "\n") + "\n");
  }

  /// What a build of packages is saved from.
  std::string system_place() const { return place_ + "/system/tree"; }

  Result<exec::Supervised> begin(const Layer& layer, const std::vector<std::string>& pinned) {
    exec::Launch what;
    what.run_id = start_.run;
    what.supervisor = host_.supervisor;
    what.folder = place_;
    what.containment = host_.capabilities.containment;
    if (layer.method == "apt") {
      what.command = install_script(start_.request.apt, pinned, paths().tmp);
      what.env = install_environment(paths().tmp);
      std::string upper = system_place() + "/" + system_root, work = place_ + "/system/work";
      if (image_tree_.empty())
        what.system = {"", upper, work};
      else
        what.root = {{system_below()}, upper, work, true};
    } else {
      SPELL_TRY(surround(what, layer, pinned));
    }
    what.hidden = host_.hidden;
    what.log_limit = layer_log_limit;
    what.stop_grace_s = 5;
    what.timeout_s = build_limit_of(start_);
    what.revive = host_.revive;
    what.service_lock = host_.service_lock;
    if (host_.scopes)
      what.scope = {"spell-build-" + start_.run,
                    "Environment of run " + std::to_string(start_.number) + " of " + start_.owner,
                    what.stop_grace_s};
    return exec::Supervised::start(what);
  }

  /// As the run will find it.
  Result<> surround(exec::Launch& what, const Layer& layer,
                    const std::vector<std::string>& pinned) {
    what.env = surroundings();
    if (layer.method == "image") {
      SPELL_TRY(fetch_image(what, pinned));
    } else {
      what.command = layer_script(layer, base_, start_.request, paths().tmp, !pinned.empty());
    }
    std::string top(model::environment_folder);
    for (auto& variable : what.env)
      if (variable.starts_with("PATH=")) variable.insert(5, environment_path() + ":");
    for (auto& variable : build_variables(start_.request)) what.env.push_back(variable);
    what.env.push_back("SPELL_ENV=" + top);
    if (image_tree_.empty()) what.env.push_back("LC_ALL=C.UTF-8");  // an image may not have it
    what.env.push_back("PYTHONUNBUFFERED=1");
    if (has("pip")) what.env.push_back("VIRTUAL_ENV=" + top + "/" + venv_folder);
    // A mount, not a link: what a program finds out of its own path holds in the run, too.
    what.binds.push_back({place_ + "/spell", top});
    if (!image_tree_.empty()) {
      auto root = make_image_root(image_tree_, system_tree_, place_ + "/root");
      if (!root) return root.error();
      what.root = std::move(*root);
    } else if (!system_tree_.empty()) {
      what.system.layer = system_tree_ + "/" + system_root;
    }
    if (!host_.users) return ok();
    auto user = host_.users->take(start_.run, folder_);
    if (!user) return user.error();
    what.user = *user;
    return ok();
  }

  Result<> fetch_image(exec::Launch& what, const std::vector<std::string>& pinned) {
    auto image = model::parse_image(start_.request.image);
    if (!image) return no_build(image.error().message());
    std::string digest = pinned.empty() ? "" : pinned[0].substr(pinned[0].find('@') + 1);
    if (!digest.empty() && !model::is_digest(digest))
      return no_build("the service's record names no image: " + model::one_line(digest, 200));
    what.command = "cd " + std::string(model::environment_folder) + " || exit\n" +
                   image_script(*image, digest, paths().tmp);
    if (image->in_registry()) return ok();
    auto source = bring_resource(*image);
    if (!source) return source.error();
    what.mounts.push_back({*source, "", "", std::string(model::image_source)});
    return ok();
  }

  /// What holds the image, in this machine's cache.
  Result<std::string> bring_resource(const model::Image& image) {
    auto* mount = mount_at(start_, model::image_source);
    if (!mount) return no_build("the service does not say what " + image.name + " is");
    auto entry = entry_of(*mount);
    if (entry && entry->type == spellfs::EntryType::folder)
      entry = spellfs::find(source_, entry->node, mount->below);
    if (!entry) return no_build(image.name + " cannot be read: " + entry.error().message());
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
    if (!made) return no_build(image.name + " cannot be read: " + made.error().message());
    return made->path;
  }

  /// The line that says most; then the last ones that the build printed.
  Error explain(const Layer& layer, const std::optional<exec::Exit>& exit,
                const BuildOutput& output) const {
    std::string how = !exit                  ? "its supervisor was lost"
                      : !exit->error.empty() ? exit->error
                      : exit->ended_by == "timeout"
                          ? "it took longer than " + std::to_string(build_limit_of(start_)) + " s"
                          : "exit code " + std::to_string(exit->code.value_or(-1));
    std::string text = "the environment cannot be built: " +
                       (layer.method == "setup" ? "the setup command" : layer.method) +
                       " failed (" + how + ")",
                said;
    auto& lines = output.last();
    for (auto& line : lines) {
      if (line.find("ensurepip is not") != line.npos)
        said = "this machine has no python3-venv: apt install python3-venv";
      bool says = line.starts_with("E: ") || base::lower(line).find("error") != line.npos;
      // Of apt the line before its last words: what a package needs and cannot have.
      says = says || line.find(" : Depends: ") != line.npos;
      if (said.empty() && says) said = base::trim(line);
    }
    if (said.empty() && !lines.empty()) said = lines.back();
    if (!said.empty()) text += ": " + model::one_line(said, 1000);
    for (auto& line : lines) text += "\n" + model::one_line(line, 2000);
    return no_build(text);
  }

  static std::string doing(const std::string& method) {
    if (method == "setup") return "";
    return method + (method == "image" ? " " : method == "conda" ? " create " : " install ");
  }

  bool stops_soon() {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any told;
    told.wait_for(lock, stop_, std::chrono::seconds(30), [] { return false; });
    return stop_.stop_requested();
  }

  Result<model::LayerAnswer> build(const Layer& layer, const model::LayerAnswer& claimed) {
    auto turn = turns_.take(start_.owner, stop_);
    if (!turn) return given_up();
    auto built = build_here(layer, claimed);
    // Of a build that may still go on nothing is taken away.
    if (built || built.error().code() != "supervisor_unreachable")
      if (auto removed = base::remove_tree(place_); !removed && built) return removed.error();
    return built;
  }

  Result<model::LayerAnswer> build_here(const Layer& layer, const model::LayerAnswer& claimed) {
    SPELL_TRY(make_place(layer, claimed.pinned));
    for (auto& package : claimed.pinned)
      if (layer.method == "apt" && !model::wrong_apt_package(package).empty())
        return no_build("the service's record names no package: " + model::one_line(package, 200));
    say("Building the environment: " + doing(layer.method) + layer.made_of);
    auto supervised = begin(layer, claimed.pinned);
    if (!supervised) return supervised.error();
    BuildOutput output(place_, say_);
    auto state = await(*supervised, output, stop_);
    if (!state) {
      (void)supervised->kill();
      return state.error();
    }
    output.finish();
    if (stop_.stop_requested()) return given_up();
    auto& exit = state->exit;
    // Of the machine, whose next worker does it anew: then this one is told to stop, too.
    if (exit && exit->ended_by == "shutdown" && stops_soon()) return given_up();
    if (!exit || !exit->error_code.empty() || exit->code != 0) return explain(layer, exit, output);
    model::LayerBuilt built;
    built.name = claimed.name;
    if (layer.method != "setup") {
      auto packages = read_packages(layer);
      if (!packages) return packages.error();
      built.packages = std::move(*packages);
    }
    std::string made = place_ + "/spell";
    if (layer.method == "apt") {
      // What was built lies over what was there when it was begun.
      if (auto now = system_fingerprint(system_below()); !now || *now != fingerprint_)
        return no_build(
            "packages of this machine itself were changed while the environment was built: run it "
            "again");
      made = system_place();
      SPELL_TRY(pack_system(made, stop_, system_below()));
    }
    SPELL_TRY(mark(made, claimed.name));
    say("Saving the environment");
    auto answer = keep(made, built);
    if (!answer) return answer;
    if (answer->state != "ready") return no_build("the service has not taken the environment");
    built_here_ = true;
    lost_.erase(layer.method);
    methods_[answer->node] = layer.method;
    say("Environment built: " + base::count(built.files, "file") + ", " +
        base::format_size(built.size));
    return answer;
  }

  /// The build was the user's program: no link of its is followed.
  Result<std::vector<std::string>> read_packages(const Layer& layer) const {
    auto tmp = base::open(place_ + "/tmp", O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (!tmp) return tmp.error();
    base::Fd file(::openat(tmp->get(), layer.method == "apt" ? installed_file : packages_file,
                           O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
    struct stat st;
    if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) ||
        st.st_size > packages_limit)
      return no_build(layer.method + " does not say what it has installed");
    std::string text(static_cast<std::size_t>(st.st_size), '\0');
    auto got = base::pread_full(file.get(), text.data(), text.size(), 0);
    if (!got) return got.error();
    text.resize(*got);
    return packages_of(text);
  }

  /// So that there is something to keep, whatever the build has left.
  static Result<> mark(const std::string& tree, const std::string& name) {
    auto top = base::open(tree, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (!top) return top.error();
    ::unlinkat(top->get(), ".layer", 0);
    base::Fd file(
        ::openat(top->get(), ".layer", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    // The mode is what is said here, whatever this process's umask.
    if (!file || ::fchmod(file.get(), 0644) != 0)
      return base::errno_error("write .layer in the environment");
    return base::write_all(file.get(), name + "\n");
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
  const std::string folder_, place_;
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
