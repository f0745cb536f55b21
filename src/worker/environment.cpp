#include "worker/environment.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "base/text.hpp"
#include "worker/notice.hpp"
#include "worker/system_layer.hpp"

namespace spell::worker {

namespace {

bool is_folder(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

/// As a shell would find it; "" if it would not.
std::string program_in(const std::string& name, const std::string& path) {
  for (auto& folder : base::split(path, ':')) {
    if (folder.empty() || folder[0] != '/') continue;
    std::string program = folder + "/" + name;
    struct stat st;
    if (::stat(program.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
        ::access(program.c_str(), X_OK) == 0)
      return program;
  }
  return {};
}

/// Where a layer of packages has its programs, as it lies on this machine.
std::string bin_folder_of(const EnvironmentRecord& built) {
  return built.system + "/" + system_root + "/usr/bin";
}

}  // namespace

RunPaths run_paths(exec::Containment containment, const std::string& folder) {
  if (containment == exec::Containment::best_effort)
    return {folder + "/spell", folder + "/tmp", folder + "/bin"};
  return {"/spell", "/spell-tmp", "/spell-bin"};
}

std::vector<std::string> environment_of_nobody(std::vector<std::string> base,
                                               const RunPaths& paths) {
  for (auto& variable : {"HOME=" + paths.tmp, std::string("USER=spell-run"),
                         std::string("LOGNAME=spell-run"), std::string("SHELL=/bin/bash")})
    base.push_back(variable);  // later ones win
  return base;
}

Environment environment_of(const model::StartCommand& start,
                           const std::vector<std::string>& base_environment, const RunPaths& paths,
                           const std::string& machine, const EnvironmentRecord* given) {
  auto* built = given && !given->tree.empty() ? given : nullptr;
  Environment out;
  std::map<std::string, std::string> variables;
  for (auto& variable : base_environment)
    if (auto equals = variable.find('='); equals != std::string::npos)
      variables[variable.substr(0, equals)] = variable.substr(equals + 1);

  variables["TMPDIR"] = paths.tmp;
  variables["PYTHONUNBUFFERED"] = "1";
  variables["SPELL_RUN"] = std::to_string(start.number);
  variables["SPELL_ROOT"] = paths.root;
  variables["SPELL_CHECKPOINTS"] = paths.root + "/checkpoints";
  variables["SPELL_PREEMPTION_FILE"] = paths.tmp + preemption_file;
  variables["SPELL_MACHINE"] = start.machine.empty() ? machine : start.machine;
  if (auto& code = start.request.code) {
    variables["SPELL_COMMIT"] = code->commit;
    variables["SPELL_REPO"] = code->repository;
  }

  auto& venv = start.request.virtual_env;
  bool has_venv = !built && !venv.empty() && is_folder(venv + "/bin");
  if (built) {
    std::string top(model::environment_folder);
    variables["SPELL_ENV"] = top;
    if (built->venv) variables["VIRTUAL_ENV"] = top + "/" + venv_folder;
    if (!venv.empty())
      out.notices.push_back("the virtual environment " + venv +
                            " is left out: the run has an environment of its own");
  } else if (has_venv) {
    variables["VIRTUAL_ENV"] = venv;
    out.notices.push_back("using the virtual environment " + venv + " (--no-venv leaves it out)");
  } else if (!venv.empty()) {
    out.notices.push_back("the virtual environment " + venv +
                          " is not on this machine: going on without it");
  }

  for (auto& [name, value] : start.env) variables[name] = value;
  for (auto& [name, value] : start.request.env) variables[name] = value;
  for (auto& [name, value] : start.secrets) variables[name] = value;
  if (auto own = start.env.find(gpu_variable); own != start.env.end())
    variables[gpu_variable] = own->second;

  auto& path = variables["PATH"];
  if (has_venv) path = path.empty() ? venv + "/bin" : venv + "/bin:" + path;
  std::string seen = path;
  if (built) {
    path = environment_path() + (path.empty() ? "" : ":" + path);
    // As they are here: programs of it are found by links that lead nowhere on the host.
    seen = built->tree + "/bin:" + seen;
  }
  bool own_python = built && built->venv;
  if (given && !given->system.empty()) {
    path += std::string(path.empty() ? "" : ":") + "/usr/games";  // where some packages put theirs
    seen += ":" + bin_folder_of(*given);
  }
  if (!own_python && program_in("python", seen).empty()) {
    out.python = program_in("python3", seen);
    if (given && !given->system.empty() && out.python.starts_with(given->system))
      out.python = "/usr/bin/python3";
  }
  if (!out.python.empty()) path += ":" + paths.programs;

  for (auto& [name, value] : variables) out.variables.push_back(name + "=" + value);
  return out;
}

}  // namespace spell::worker
