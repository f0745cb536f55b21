#include "worker/layer_build.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "worker/building.hpp"
#include "worker/copy_tree.hpp"
#include "worker/image_layer.hpp"
#include "worker/system_layer.hpp"

namespace spell::worker {

namespace {

constexpr std::int64_t layer_log_limit = 256 << 20;
constexpr std::int64_t packages_limit = 1 << 20;

std::string doing(const std::string& method) {
  if (method == "setup") return "";
  return method + (method == "image" ? " " : method == "conda" ? " create " : " install ");
}

/// So that there is something to keep, whatever the build has left.
Result<> mark(const std::string& tree, const std::string& name) {
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

}  // namespace

Error given_up() { return base::error("canceled", "the environment was given up"); }

std::string system_below(const std::string& image) {
  return image.empty() ? "/" : image + "/" + image_root;
}

LayerBuild::LayerBuild(const std::string& run_folder, const Host& host,
                       const model::StartCommand& start, const BuildOutput::Say& say,
                       const std::stop_token& stop)
    : host_(host),
      start_(start),
      say_(say),
      stop_(stop),
      folder_(run_folder),
      place_(run_folder + "/layer") {}

Result<LayerBuild::Made> LayerBuild::run(const Layer& layer, const model::LayerAnswer& claimed,
                                         const LayerGround& ground) {
  SPELL_TRY(make_place(layer, claimed.pinned, ground));
  for (auto& package : claimed.pinned)
    if (layer.method == "apt" && !model::wrong_apt_package(package).empty())
      return no_build("the service's record names no package: " + model::one_line(package, 200));
  say_({"Building the environment: " + doing(layer.method) + layer.made_of});
  auto supervised = begin(layer, claimed.pinned, ground);
  if (!supervised) return supervised.error();
  BuildOutput output(place_, say_);
  auto state =
      await_build(*supervised, makes(), stop_, [&](auto& now) { output.read(now.spool_end); });
  if (!state) {
    (void)supervised->kill();
    return state.error();
  }
  output.finish();
  if (stop_.stop_requested()) return given_up();
  auto& exit = state->exit;
  // Of the machine, whose next worker does it anew: then this one is told to stop, too.
  if (exit && exit->ended_by == "shutdown" && stops_soon(stop_)) return given_up();
  if (!exit || !exit->error_code.empty() || exit->code != 0) return explain(layer, exit, output);
  Made out{place_ + "/spell", {}};
  if (layer.method != "setup") {
    auto packages = read_packages(layer);
    if (!packages) return packages.error();
    out.packages = std::move(*packages);
  }
  if (layer.method == "apt") {
    // What was built lies over what was there when it was begun.
    auto below = system_below(ground.image);
    if (auto now = system_fingerprint(below); !now || *now != ground.fingerprint)
      return no_build(
          "packages of this machine itself were changed while the environment was built: run it "
          "again");
    out.tree = system_place();
    SPELL_TRY(pack_system(out.tree, stop_, below));
  }
  SPELL_TRY(mark(out.tree, claimed.name));
  return out;
}

std::vector<std::string> LayerBuild::makes() const {
  return {place_ + "/spell", place_ + "/system", place_ + "/root"};
}

Result<> LayerBuild::end_earlier() const { return end_earlier_build(place_, makes()); }

Result<> LayerBuild::remove() const { return base::remove_tree(place_); }

std::vector<std::string> LayerBuild::surroundings(const std::string& image) const {
  return surroundings_of(host_.base_environment, host_.users != nullptr, paths(), image);
}

RunPaths LayerBuild::paths() const { return run_paths(host_.capabilities.containment, place_); }

Result<> LayerBuild::make_place(const Layer& layer, const std::vector<std::string>& pinned,
                                const LayerGround& ground) {
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
  if (ground.own.empty()) {
    SPELL_TRY(base::make_folders(place_ + "/spell", 0755));
  } else {
    auto copied = copy_tree(ground.own, place_ + "/spell", stop_);
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
std::string LayerBuild::system_place() const { return place_ + "/system/tree"; }

Result<exec::Supervised> LayerBuild::begin(const Layer& layer,
                                           const std::vector<std::string>& pinned,
                                           const LayerGround& ground) {
  exec::Launch what;
  what.run_id = start_.run;
  what.supervisor = host_.supervisor;
  what.folder = place_;
  what.containment = host_.capabilities.containment;
  if (layer.method == "apt") {
    what.command = install_script(start_.request.apt, pinned, paths().tmp);
    what.env = install_environment(paths().tmp);
    std::string upper = system_place() + "/" + system_root, work = place_ + "/system/work";
    if (ground.image.empty())
      what.system = {"", upper, work};
    else
      what.root = {{system_below(ground.image)}, upper, work, true};
  } else {
    SPELL_TRY(surround(what, layer, pinned, ground));
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
Result<> LayerBuild::surround(exec::Launch& what, const Layer& layer,
                              const std::vector<std::string>& pinned, const LayerGround& ground) {
  what.env = surroundings(ground.image);
  if (layer.method == "image") {
    SPELL_TRY(fetch_image(what, pinned, ground));
  } else {
    what.command = layer_script(layer, ground.base, start_.request, paths().tmp, !pinned.empty());
  }
  std::string top(model::environment_folder);
  for (auto& variable : what.env)
    if (variable.starts_with("PATH=")) variable.insert(5, environment_path() + ":");
  for (auto& variable : build_variables(start_.request)) what.env.push_back(variable);
  what.env.push_back("SPELL_ENV=" + top);
  if (ground.image.empty()) what.env.push_back("LC_ALL=C.UTF-8");  // an image may not have it
  what.env.push_back("PYTHONUNBUFFERED=1");
  if (ground.pip) what.env.push_back("VIRTUAL_ENV=" + top + "/" + venv_folder);
  // A mount, not a link: what a program finds out of its own path holds in the run, too.
  what.binds.push_back({place_ + "/spell", top});
  if (!ground.image.empty()) {
    auto root = make_image_root(ground.image, ground.system, place_ + "/root");
    if (!root) return root.error();
    what.root = std::move(*root);
  } else if (!ground.system.empty()) {
    what.system.layer = ground.system + "/" + system_root;
  }
  if (!host_.users) return ok();
  auto user = host_.users->take(start_.run, folder_);
  if (!user) return user.error();
  what.user = *user;
  return ok();
}

Result<> LayerBuild::fetch_image(exec::Launch& what, const std::vector<std::string>& pinned,
                                 const LayerGround& ground) const {
  auto image = model::parse_image(start_.request.image);
  if (!image) return no_build(image.error().message());
  std::string digest = pinned.empty() ? "" : pinned[0].substr(pinned[0].find('@') + 1);
  if (!digest.empty() && !model::is_digest(digest))
    return no_build("the service's record names no image: " + model::one_line(digest, 200));
  what.command = "cd " + std::string(model::environment_folder) + " || exit\n" +
                 image_script(*image, digest, paths().tmp);
  if (image->in_registry()) return ok();
  if (ground.source.empty())
    return no_build("the service does not say what " + image->name + " is");
  what.mounts.push_back({ground.source, "", "", std::string(model::image_source)});
  return ok();
}

/// The line that says most; then the last ones that the build printed.
Error LayerBuild::explain(const Layer& layer, const std::optional<exec::Exit>& exit,
                          const BuildOutput& output) const {
  std::string text = "the environment cannot be built: " +
                     (layer.method == "setup" ? "the setup command" : layer.method) + " failed (" +
                     how_it_ended(exit, start_) + ")",
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

Result<std::vector<std::string>> LayerBuild::read_packages(const Layer& layer) const {
  auto tmp = base::open(place_ + "/tmp", O_PATH | O_DIRECTORY | O_NOFOLLOW);
  if (!tmp) return tmp.error();
  base::Fd file(::openat(tmp->get(), layer.method == "apt" ? installed_file : packages_file,
                         O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  struct stat st;
  if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > packages_limit)
    return no_build(layer.method + " does not say what it has installed");
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  auto got = base::pread_full(file.get(), text.data(), text.size(), 0);
  if (!got) return got.error();
  text.resize(*got);
  return packages_of(text);
}

}  // namespace spell::worker
