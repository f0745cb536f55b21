#include "worker/layers.hpp"

#include <sys/utsname.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "model/image.hpp"
#include "model/members.hpp"
#include "worker/building.hpp"
#include "worker/programs.hpp"

namespace spell::model {

template <>
struct Table<worker::EnvironmentRecord> {
  static constexpr Field<worker::EnvironmentRecord> fields[] = {
      SPELL_REQUIRED(worker::EnvironmentRecord, tree),
      SPELL_REQUIRED(worker::EnvironmentRecord, key),
      SPELL_REQUIRED(worker::EnvironmentRecord, venv),
      SPELL_MEMBER(worker::EnvironmentRecord, system),
      SPELL_MEMBER(worker::EnvironmentRecord, system_key),
      SPELL_MEMBER(worker::EnvironmentRecord, conda),
      SPELL_MEMBER(worker::EnvironmentRecord, image),
      SPELL_MEMBER(worker::EnvironmentRecord, image_key),
  };
};

}  // namespace spell::model

namespace spell::worker {

namespace {

constexpr std::size_t longest_made_of = 1000, most_packages = 5000;
constexpr std::initializer_list<const char*> conda_programs = {"micromamba", "mamba", "conda"};

/// A value of an os-release(5) file.
std::string value_of(const std::string& text, const std::string& name) {
  for (auto& line : base::split(text, '\n')) {
    if (!line.starts_with(name + "=")) continue;
    std::string value(base::trim(line.substr(name.size() + 1)));
    if (value.size() >= 2 && (value[0] == '"' || value[0] == '\'') && value.back() == value[0])
      value = value.substr(1, value.size() - 2);
    return value;
  }
  return {};
}

bool is_for_builds(const std::string& name) {
  std::string upper = name;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return upper.starts_with("PIP_") || upper.starts_with("NPM_CONFIG_");
}

bool is_proxy(const std::string& name) {
  std::string lower = base::lower(name);
  return lower == "http_proxy" || lower == "https_proxy" || lower == "no_proxy" ||
         lower == "all_proxy";
}

}  // namespace

std::string LayerBase::text() const {
  return system + ", " + machine + (python.empty() ? "" : ", " + python);
}

std::string lacks_for_conda(const exec::Capabilities& capabilities, const LayerBase& base) {
  if (capabilities.containment == exec::Containment::best_effort) return capabilities.remedy;
  return base.conda.empty() ? "neither micromamba nor mamba nor conda is in its PATH" : "";
}

LayerBase base_of(const std::vector<std::string>& environment, const std::string& os_release) {
  LayerBase out;
  if (auto text = base::read_file(os_release, 64 << 10)) {
    auto id = value_of(*text, "ID"), version = value_of(*text, "VERSION_ID");
    out.system = model::one_line(id + (version.empty() ? "" : " " + version), 100);
  }
  if (out.system.empty()) out.system = "linux";
  struct utsname name;
  if (::uname(&name) == 0) out.machine = name.machine;
  auto path = path_of(environment);
  out.python3 = find_program({"python3"}, path);
  if (!out.python3.empty()) out.python = real_program(out.python3);
  out.conda = find_program(conda_programs, path);
  return out;
}

LayerBase base_of_image(const std::string& root, const std::vector<std::string>& environment) {
  LayerBase out;
  out.system = "image";
  struct utsname name;
  if (::uname(&name) == 0) out.machine = name.machine;
  auto path = path_of(environment);
  out.python3 = find_program({"python3"}, path, root);
  if (!out.python3.empty()) out.python = real_program(out.python3, root);
  out.conda = find_program(conda_programs, path, root);
  return out;
}

std::string requirements_of(const model::RunRequest& request) {
  std::string out;
  for (auto& package : request.pip) out += package + '\n';
  return out + request.requirements_text;
}

std::vector<Layer> layers_of(const model::StartCommand& start) {
  auto& request = start.request;
  std::vector<Layer> out;
  std::string variables;
  for (auto& [name, value] : request.env)
    if (is_for_builds(name)) variables += name + "=" + value + '\n';
  if (!request.image.empty()) {
    std::string inputs = request.image;
    // Which of those that it holds, and not what it is called.
    if (auto image = model::parse_image(request.image); image && !image->in_registry()) {
      auto* source = mount_at(start, model::image_source);
      inputs = image->transport + '\0' + image->tag + '\0' +
               (source ? source->node + '\0' + source->below : "");
    }
    out.push_back({"image", model::one_line(request.image, longest_made_of), std::move(inputs)});
  }
  if (!request.apt.empty()) {
    auto packages = request.apt;  // their order says nothing
    std::sort(packages.begin(), packages.end());
    out.push_back({"apt", model::one_line(base::join(request.apt, " "), longest_made_of),
                   base::join(packages, "\n")});
  }
  if (!request.conda_file.empty())
    out.push_back({"conda", model::one_line("-f " + request.conda_file, longest_made_of),
                   request.conda_text});
  if (!request.pip.empty() || !request.requirements.empty()) {
    std::string shown = base::join(request.pip, " ");
    if (!request.requirements.empty())
      shown += (shown.empty() ? "" : " ") + std::string("-r ") + request.requirements;
    out.push_back({"pip", model::one_line(shown, longest_made_of),
                   requirements_of(request) + '\0' + variables});
  }
  if (!request.setup.empty())
    out.push_back({"setup", model::one_line(request.setup, longest_made_of),
                   request.setup + '\0' + variables});
  return out;
}

std::string layer_name(const Layer& layer, const LayerBase& base, const std::string& owner,
                       const std::string& below) {
  std::string all = "spell layer 1";
  // Each part with its length: no two lists are one text.
  for (auto& part : {layer.method, base.text(), owner, below, layer.inputs})
    all += '\n' + std::to_string(part.size()) + ' ' + part;
  return base::hex(base::sha256(all)).substr(0, 32);
}

std::vector<std::string> build_variables(const model::RunRequest& request) {
  std::vector<std::string> out;
  for (auto& [name, value] : request.env)
    if (is_for_builds(name) || is_proxy(name)) out.push_back(name + "=" + value);
  return out;
}

namespace {

/// All three understand these words. What they have fetched is not kept beside what they made of
/// it.
std::string conda_script(const std::string& program, const std::string& tmp, bool pinned) {
  std::string top = std::string(model::environment_folder) + "/" + conda_folder,
              conda = base::shell_quote(program);
  bool micro = program.ends_with("/micromamba");
  std::string make = pinned  ? " create -y -p " + top + " --file " + tmp + "/" + pins_file
                     : micro ? " create -y -p " + top + " -f " + tmp + "/" + conda_file
                             : " env create -p " + top + " -f " + tmp + "/" + conda_file;
  return "export MAMBA_ROOT_PREFIX=" + tmp + "/root CONDA_PKGS_DIRS=" + tmp + "/packages\n" +
         conda + make + " && " + conda +
         (micro ? " env export -p " + top + " --explicit" : " list -p " + top + " --explicit") +
         " > " + tmp + "/" + packages_file;
}

}  // namespace

std::string layer_script(const Layer& layer, const LayerBase& base,
                         const model::RunRequest& request, const std::string& tmp, bool pinned) {
  std::string top(model::environment_folder);
  if (layer.method == "setup") return "cd " + top + " || exit\n" + request.setup;
  if (layer.method == "conda") return conda_script(base.conda, tmp, pinned);
  std::string venv = top + "/" + venv_folder, python = venv + "/bin/python",
              pip = python + " -m pip --disable-pip-version-check --no-input ";
  bool on_conda = base.python3.starts_with(top);
  return base::shell_quote(base.python3) + " -m venv " +
         (on_conda ? "--system-site-packages " : "") + venv + " && " + pip +
         "install --no-cache-dir --progress-bar off -r " + tmp + "/" + requirements_file +
         (pinned ? " -c " + tmp + "/" + pins_file : "") + " && " + pip + "freeze --local > " + tmp +
         "/" + packages_file;
}

std::vector<std::string> packages_of(const std::string& frozen) {
  std::vector<std::string> out;
  for (auto& line : base::split(base::to_utf8(frozen), '\n')) {
    std::string package = model::one_line(base::trim(line), 1000);
    if (package.empty() || package[0] == '#' || package[0] == '@' || package.size() > 1000)
      continue;
    if (out.size() < most_packages) out.push_back(std::move(package));
  }
  return out;
}

std::string environment_path() {
  std::string top(model::environment_folder);
  return top + "/bin:" + top + "/" + venv_folder + "/bin:" + top + "/" + conda_folder +
         "/bin:" + top + "/node_modules/.bin";
}

Result<> write_environment_record(const std::string& run_folder, const EnvironmentRecord& record) {
  return base::write_file(run_folder + "/environment", model::write_object(record).dump(), 0600,
                          false);
}

Result<std::optional<EnvironmentRecord>> read_environment_record(const std::string& run_folder) {
  std::optional<EnvironmentRecord> out;
  std::string path = run_folder + "/environment";
  auto text = base::read_file(path, 64 << 10);
  if (!text && text.error().code() == "not_found") return out;
  if (!text) return text.error();
  auto parsed = model::parse_json(*text);
  out.emplace();
  if (!parsed || model::read_value(*parsed, *out, model::Unknown::ignore))
    return base::error("damaged", path + " is damaged");
  return out;
}

}  // namespace spell::worker
