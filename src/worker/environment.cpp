#include "worker/environment.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "worker/image_layer.hpp"
#include "worker/notice.hpp"
#include "worker/programs.hpp"
#include "worker/system_layer.hpp"

namespace spell::worker {

namespace {

bool is_folder(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

/// Where the run finds a program; "": nowhere. `path`: its PATH without what was built for it.
std::string program_of_run(const char* name, const std::string& path,
                           const EnvironmentRecord* given) {
  if (given && !given->tree.empty())
    for (const std::string folder :
         {std::string("/bin/"), "/" + std::string(conda_folder) + "/bin/"})
      if (!find_program({name}, folder, given->tree).empty())
        return std::string(model::environment_folder) + folder + name;
  bool image = given && !given->image.empty();
  auto found = find_program({name}, path, image ? given->image + "/" + image_root : "");
  if (found.empty() && given && !given->system.empty())
    found = find_program({name}, "/usr/bin", given->system + "/" + system_root);
  return found;
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

std::vector<std::string> surroundings_of(const std::vector<std::string>& machine, bool own_user,
                                         const RunPaths& paths, const std::string& image) {
  auto base = own_user ? environment_of_nobody(machine, paths) : machine;
  if (image.empty()) return base;
  bool root = !own_user && ::geteuid() == 0;
  return image_environment(image, base, root ? "/root" : paths.tmp, root ? "root" : "spell-run");
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
  bool image = given && !given->image.empty();
  bool has_venv = !built && !image && !venv.empty() && is_folder(venv + "/bin");
  if (built) {
    std::string top(model::environment_folder);
    variables["SPELL_ENV"] = top;
    if (built->venv) variables["VIRTUAL_ENV"] = top + "/" + venv_folder;
  }
  if (!venv.empty() && (built || image)) {
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
  std::string without = path;
  if (built) path = environment_path() + (path.empty() ? "" : ":" + path);
  bool own_python = built && built->venv;
  if (given && !given->system.empty())
    path += std::string(path.empty() ? "" : ":") + "/usr/games";  // where some packages put theirs
  if (!own_python && program_of_run("python", without, given).empty())
    out.python = program_of_run("python3", without, given);
  if (!out.python.empty()) path += ":" + paths.programs;

  for (auto& [name, value] : variables) out.variables.push_back(name + "=" + value);
  return out;
}

}  // namespace spell::worker
