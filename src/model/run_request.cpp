#include "model/run_request.hpp"

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "model/environment.hpp"
#include "model/error_code.hpp"
#include "model/image.hpp"
#include "model/money.hpp"
#include "model/mount.hpp"

namespace spell::model {

namespace {

constexpr std::size_t longest_command = 256 << 10;

bool is_git_id(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// "" is "not set".
Problem read_git_id(const json& j, std::string& out) {
  if (auto problem = read_text(j, out)) return problem;
  if (!out.empty() && !is_git_id(out))
    return {"", "must be a Git id of 40 or 64 lower-case hex digits"};
  return {};
}

Problem read_optional_name(const json& j, std::string& out) {
  if (auto text = j.get_ptr<const std::string*>(); text && text->empty())
    return out.clear(), Problem{};
  return read_name(j, out);
}

/// A run's record is kept and shown, so a URL must not carry a secret: no password at all, and over
/// HTTP no user either, for tokens are given there as users too.
Problem read_url(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 4096)) return problem;
  if (out.starts_with('-') ||
      std::any_of(out.begin(), out.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; }))
    return {"", "must be a repository's address without blanks"};
  auto scheme = out.find("://");
  if (scheme == out.npos) return {};
  std::string_view authority = std::string_view(out).substr(scheme + 3);
  authority = authority.substr(0, authority.find_first_of("/?#\\"));
  auto at = authority.rfind('@');
  if (at == authority.npos) return {};
  bool password = authority.substr(0, at).find(':') != authority.npos;
  bool http = out.starts_with("http");
  if (password || http) {
    out.clear();
    return {"", "carries credentials; give the address without them"};
  }
  return {};
}

Problem check_variable(const std::string& name) {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
  constexpr std::string_view all =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
  if (name.empty() || letters.find(name[0]) == letters.npos ||
      name.find_first_not_of(all) != name.npos || name.size() > 256)
    return {
        "",
        "is not a variable's name: up to 256 letters, digits and '_', not beginning with a digit"};
  if (name.starts_with("SPELL_"))
    return {"", "may not be set: names that begin with SPELL_ are the service's"};
  return {};
}

Problem read_env_value(const std::string& name, const json& j, std::string& out) {
  if (auto problem = check_variable(name)) return problem;
  return read_text(j, out, 128 << 10);
}

Problem read_secret_name(const std::string& variable, const json& j, std::string& out) {
  if (auto problem = check_variable(variable)) return problem;
  return read_name(j, out);
}

Problem read_param(const std::string& name, const json& j, std::string& out) {
  if (!base::valid_name(name))
    return {"", "is not a parameter's name: 1 to 64 letters, digits, '.', '_' and '-'"};
  return read_text(j, out, 64 << 10);
}

Problem read_max_cost(const json& j, Dollars& out) {
  if (auto problem = Codec<Dollars>::read(j, out)) return problem;
  return out.nano > 0 ? Problem{} : Problem{"", "must be more than 0 dollars"};
}

Problem read_priority(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 16)) return problem;
  if (out.empty()) return {};
  std::string all;
  for (auto name : priorities()) {
    if (out == name) return {};
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return {"", "must be one of " + all};
}

/// In any case, with or without SIG before it.
Problem read_notice_signal(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 16)) return problem;
  if (out.empty()) return {};
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (out.starts_with("SIG")) out.erase(0, 3);
  std::string all;
  for (auto name : notice_signals()) {
    if (out == name) return {};
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return {"", "must be one of " + all};
}

Problem read_pattern(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 4096)) return problem;
  if (base::trim(out).empty() || out.find('\n') != out.npos)
    return {"", "must be a pattern as in .gitignore"};
  return {};
}

/// As pip takes it on its command line, but no option and no path: those stand in its own words.
Problem read_package(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 1000)) return problem;
  out = base::trim(out);
  if (auto wrong = wrong_package(out); !wrong.empty()) return {"", wrong};
  return {};
}

Problem read_apt_package(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 500)) return problem;
  if (auto wrong = wrong_apt_package(out); !wrong.empty())
    return {"", "'" + one_line(out, 100) + "' " + wrong};
  return {};
}

/// Its path.
Problem read_committed_file(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 4096)) return problem;
  if (out.starts_with('/'))
    return {"", "must be a file of the repository: a path relative to the working folder"};
  return {};
}

Problem read_image(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 1000)) return problem;
  if (out.empty()) return {};
  auto image = parse_image(out);
  return image ? Problem() : Problem{"", image.error().message()};
}

Problem read_pin(const json& j, std::string& out) { return read_text(j, out, 1000); }

/// In order, what stands there twice once.
template <class T>
void keep_first(std::vector<T>& list) {
  auto end = list.begin();
  for (auto at = list.begin(); at != list.end(); ++at) {
    if (std::find(list.begin(), end, *at) != end) continue;
    if (end != at) *end = std::move(*at);
    ++end;
  }
  list.erase(end, list.end());
}

constexpr Field<CodeRef> code_fields[] = {
    {"workspace", [](const json& j, CodeRef& c, Unknown) { return read_git_id(j, c.workspace); }},
    {"commit", [](const json& j, CodeRef& c, Unknown) { return read_git_id(j, c.commit); }},
    {"base_commit",
     [](const json& j, CodeRef& c, Unknown) { return read_git_id(j, c.base_commit); }},
    {"repository",
     [](const json& j, CodeRef& c, Unknown) { return read_text(j, c.repository, 255); }},
    {"message",
     [](const json& j, CodeRef& c, Unknown) { return read_text(j, c.message, 64 << 10); }},
    {"github_url", [](const json& j, CodeRef& c, Unknown) { return read_url(j, c.github_url); }},
    {"label", [](const json& j, CodeRef& c, Unknown) { return read_optional_name(j, c.label); }},
};

constexpr Field<Mount> mount_fields[] = {
    {"resource",
     [](const json& j, Mount& m, Unknown) -> Problem {
       if (auto problem = read_text(j, m.resource, 4096)) return problem;
       if (m.resource.empty()) return {"", "is empty"};
       return {};
     },
     true},
    {"at", [](const json& j, Mount& m, Unknown) { return read_text(j, m.at, 4096); }},
};

constexpr Field<RunRequest> fields[] = {
    {"command",
     [](const json& j, RunRequest& r, Unknown) -> Problem {
       if (auto problem = read_text(j, r.command, longest_command)) return problem;
       if (base::trim(r.command).empty()) return {"", "is empty"};
       return {};
     },
     true},
    {"machine_type",
     [](const json& j, RunRequest& r, Unknown) { return read_optional_name(j, r.machine_type); }},
    {"description",
     [](const json& j, RunRequest& r, Unknown) { return read_text(j, r.description, 10 << 10); }},
    {"project",
     [](const json& j, RunRequest& r, Unknown) { return read_optional_name(j, r.project); }},
    {"folder",
     [](const json& j, RunRequest& r, Unknown) -> Problem {
       if (auto problem = read_text(j, r.folder, 4096)) return problem;
       if (!base::safe_relative_path(r.folder))
         return {"", "must be a path below the repository, without '.' and '..'"};
       return {};
     }},
    {"virtual_env",
     [](const json& j, RunRequest& r, Unknown) -> Problem {
       if (auto problem = read_text(j, r.virtual_env, 4096)) return problem;
       if (!r.virtual_env.empty() && r.virtual_env[0] != '/')
         return {"", "must be an absolute path"};
       return {};
     }},
    {"env", [](const json& j, RunRequest& r,
               Unknown) { return read_map(j, r.env, 1000, read_env_value); }},
    {"labels",
     [](const json& j, RunRequest& r, Unknown) {
       auto problem = read_list(j, r.labels, 50, read_name);
       keep_first(r.labels);
       return problem;
     }},
    {"after",
     [](const json& j, RunRequest& r, Unknown) {
       auto problem = read_list(j, r.after, 1000,
                                [](const json& e, std::int64_t& n) { return read_int(e, n, 1); });
       keep_first(r.after);
       return problem;
     }},
    {"timeout",
     [](const json& j, RunRequest& r, Unknown) {
       return read_optional(j, r.timeout,
                            [](const json& e, std::int64_t& n) { return read_int(e, n, 1, year); });
     }},
    {"stop_grace",
     [](const json& j, RunRequest& r, Unknown) { return read_int(j, r.stop_grace, 0, day); }},
    {"log_limit",
     [](const json& j, RunRequest& r, Unknown) { return read_int(j, r.log_limit, 4096); }},
    {"split_output",
     [](const json& j, RunRequest& r, Unknown) { return read_bool(j, r.split_output); }},
    {"save_all", [](const json& j, RunRequest& r, Unknown) { return read_bool(j, r.save_all); }},
    {"idempotent",
     [](const json& j, RunRequest& r, Unknown) { return read_bool(j, r.idempotent); }},
    {"code",
     [](const json& j, RunRequest& r, Unknown unknown) {
       return read_optional(j, r.code,
                            [=](const json& e, CodeRef& c) { return read_code(e, c, unknown); });
     }},
    {"mounts",
     [](const json& j, RunRequest& r, Unknown unknown) {
       return read_list(j, r.mounts, max_mounts, [=](const json& e, Mount& m) {
         return read_object<Mount>(e, m, mount_fields, unknown);
       });
     }},
    {"secrets", [](const json& j, RunRequest& r,
                   Unknown) { return read_map(j, r.secrets, 100, read_secret_name); }},
    {"cpus", [](const json& j, RunRequest& r, Unknown) { return read_int(j, r.cpus, 0, 1 << 20); }},
    {"memory", [](const json& j, RunRequest& r, Unknown) { return read_int(j, r.memory); }},
    {"gpus",
     [](const json& j, RunRequest& r, Unknown) {
       return read_optional(
           j, r.gpus, [](const json& e, std::int64_t& n) { return read_int(e, n, 0, 1 << 20); });
     }},
    {"gpu_name",
     [](const json& j, RunRequest& r, Unknown) { return read_optional_name(j, r.gpu_name); }},
    {"workflow", [](const json& j, RunRequest& r, Unknown) { return read_int(j, r.workflow); }},
    {"build",
     [](const json& j, RunRequest& r, Unknown) { return read_optional(j, r.build, read_target); }},
    {"params",
     [](const json& j, RunRequest& r, Unknown) { return read_map(j, r.params, 100, read_param); }},
    {"auto_resume",
     [](const json& j, RunRequest& r, Unknown) {
       return read_optional(j, r.auto_resume,
                            [](const json& e, bool& yes) { return read_bool(e, yes); });
     }},
    {"exclusive", [](const json& j, RunRequest& r, Unknown) { return read_bool(j, r.exclusive); }},
    {"notice_signal",
     [](const json& j, RunRequest& r, Unknown) { return read_notice_signal(j, r.notice_signal); }},
    {"append", [](const json& j, RunRequest& r,
                  Unknown) { return read_list(j, r.append, 100, read_pattern); }},
    {"max_cost", [](const json& j, RunRequest& r,
                    Unknown) { return read_optional(j, r.max_cost, read_max_cost); }},
    {"pip",
     [](const json& j, RunRequest& r, Unknown) {
       auto problem = read_list(j, r.pip, 500, read_package);
       keep_first(r.pip);
       return problem;
     }},
    {"requirements",
     [](const json& j, RunRequest& r, Unknown) { return read_committed_file(j, r.requirements); }},
    {"setup",
     [](const json& j, RunRequest& r, Unknown) -> Problem {
       if (auto problem = read_text(j, r.setup, 64 << 10)) return problem;
       if (!r.setup.empty() && base::trim(r.setup).empty()) return {"", "is blank"};
       return {};
     }},
    {"refresh_environment",
     [](const json& j, RunRequest& r, Unknown) { return read_bool(j, r.refresh_environment); }},
    {"requirements_text",
     [](const json& j, RunRequest& r, Unknown) {
       return read_text(j, r.requirements_text, requirements_limit);
     }},
    {"pinned",
     [](const json& j, RunRequest& r, Unknown) { return read_list(j, r.pinned, 5000, read_pin); }},
    {"apt",
     [](const json& j, RunRequest& r, Unknown) {
       auto problem = read_list(j, r.apt, 500, read_apt_package);
       keep_first(r.apt);
       return problem;
     }},
    {"pinned_apt", [](const json& j, RunRequest& r,
                      Unknown) { return read_list(j, r.pinned_apt, 5000, read_apt_package); }},
    {"image", [](const json& j, RunRequest& r, Unknown) { return read_image(j, r.image); }},
    {"pinned_image", [](const json& j, RunRequest& r,
                        Unknown) { return read_list(j, r.pinned_image, 1, read_pin); }},
    {"conda_file",
     [](const json& j, RunRequest& r, Unknown) { return read_committed_file(j, r.conda_file); }},
    {"conda_text", [](const json& j, RunRequest& r,
                      Unknown) { return read_text(j, r.conda_text, requirements_limit); }},
    {"pinned_conda", [](const json& j, RunRequest& r,
                        Unknown) { return read_list(j, r.pinned_conda, 5000, read_pin); }},
    {"priority",
     [](const json& j, RunRequest& r, Unknown) { return read_priority(j, r.priority); }},
};

/// Members that have their default stay away.
class Writer {
 public:
  template <class T>
  void put(const char* name, const T& value, const T& standard) {
    if (value != standard) object_.emplace(name, value);
  }
  json take() { return std::move(object_); }

 private:
  json object_ = json::object();
};

}  // namespace

std::span<const std::string_view> notice_signals() {
  static constexpr std::string_view names[] = {"HUP", "INT", "TERM", "USR1", "USR2"};
  return names;
}

std::span<const std::string_view> priorities() {
  static constexpr std::string_view names[] = {"low", "normal", "high"};
  return names;
}

Problem read_target(const json& j, std::string& out) {
  if (auto problem = read_text(j, out, 200)) return problem;
  bool fine = std::all_of(out.begin(), out.end(), [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("._+-").find(static_cast<char>(c)) != std::string_view::npos;
  });
  return fine && !out.starts_with('-') ? Problem{}
                                       : Problem{"", "must be the name of a CMake target"};
}

Problem read_code(const json& j, CodeRef& out, Unknown unknown) {
  if (auto problem = read_object<CodeRef>(j, out, code_fields, unknown)) return problem;
  if (!out.label.empty())
    return j.size() == 1 ? Problem{} : Problem{"label", "stands instead of a commit: give one"};
  if (out.commit.empty()) return {"commit", "is missing"};
  if (out.workspace.empty() && out.github_url.empty())
    return {"workspace", "is missing, and so is github_url: one is needed"};
  return {};
}

json to_json(const CodeRef& code) {
  static const CodeRef standard;
  Writer out;
  out.put("workspace", code.workspace, standard.workspace);
  out.put("commit", code.commit, standard.commit);
  out.put("base_commit", code.base_commit, standard.base_commit);
  out.put("repository", code.repository, standard.repository);
  out.put("message", code.message, standard.message);
  out.put("github_url", code.github_url, standard.github_url);
  out.put("label", code.label, standard.label);
  return out.take();
}

json to_json(const RunRequest& request) {
  static const RunRequest standard;
  Writer out;
  out.put("command", request.command, standard.command);
  out.put("machine_type", request.machine_type, standard.machine_type);
  out.put("description", request.description, standard.description);
  out.put("project", request.project, standard.project);
  out.put("folder", request.folder, standard.folder);
  out.put("virtual_env", request.virtual_env, standard.virtual_env);
  out.put("env", request.env, standard.env);
  out.put("secrets", request.secrets, standard.secrets);
  out.put("labels", request.labels, standard.labels);
  out.put("after", request.after, standard.after);
  out.put("stop_grace", request.stop_grace, standard.stop_grace);
  out.put("log_limit", request.log_limit, standard.log_limit);
  out.put("split_output", request.split_output, standard.split_output);
  out.put("save_all", request.save_all, standard.save_all);
  out.put("idempotent", request.idempotent, standard.idempotent);
  out.put("cpus", request.cpus, standard.cpus);
  out.put("memory", request.memory, standard.memory);
  out.put("gpu_name", request.gpu_name, standard.gpu_name);
  out.put("workflow", request.workflow, standard.workflow);
  out.put("params", request.params, standard.params);
  out.put("exclusive", request.exclusive, standard.exclusive);
  out.put("notice_signal", request.notice_signal, standard.notice_signal);
  out.put("append", request.append, standard.append);
  out.put("pip", request.pip, standard.pip);
  out.put("requirements", request.requirements, standard.requirements);
  out.put("setup", request.setup, standard.setup);
  out.put("refresh_environment", request.refresh_environment, standard.refresh_environment);
  out.put("requirements_text", request.requirements_text, standard.requirements_text);
  out.put("pinned", request.pinned, standard.pinned);
  out.put("apt", request.apt, standard.apt);
  out.put("pinned_apt", request.pinned_apt, standard.pinned_apt);
  out.put("image", request.image, standard.image);
  out.put("pinned_image", request.pinned_image, standard.pinned_image);
  out.put("conda_file", request.conda_file, standard.conda_file);
  out.put("conda_text", request.conda_text, standard.conda_text);
  out.put("pinned_conda", request.pinned_conda, standard.pinned_conda);
  out.put("priority", request.priority, standard.priority);
  json object = out.take();
  if (request.gpus) object.emplace("gpus", *request.gpus);
  if (request.build) object.emplace("build", *request.build);
  if (request.timeout) object.emplace("timeout", *request.timeout);
  if (request.auto_resume) object.emplace("auto_resume", *request.auto_resume);
  if (request.max_cost) object.emplace("max_cost", dollars_text(*request.max_cost));
  if (request.code) object.emplace("code", to_json(*request.code));
  if (!request.mounts.empty()) {
    auto& list = object["mounts"] = json::array();
    for (auto& mount : request.mounts) {
      list.push_back({{"resource", mount.resource}});
      if (!mount.at.empty()) list.back()["at"] = mount.at;
    }
  }
  return object;
}

Problem read_run_request(const json& j, RunRequest& out, Unknown unknown) {
  if (auto problem = read_object<RunRequest>(j, out, fields, unknown)) return problem;
  for (auto& [variable, name] : out.secrets)
    if (out.env.contains(variable))
      return {"secrets", "and env both set " + variable + "; give it once"};
  if (out.refresh_environment && !out.has_environment())
    return {"refresh_environment",
            "needs image, apt, conda_file, pip, requirements or setup: there is no environment"};
  return {};
}

Result<RunRequest> parse_run_request(const json& j) {
  RunRequest request;
  if (auto problem = read_run_request(j, request, Unknown::refuse))
    return problem.error("invalid_request");
  return request;
}

Result<> fill_params(RunRequest& request) {
  if (request.params.empty()) return ok();
  std::set<std::string_view> used;
  std::string filled;
  std::string_view rest = request.command;
  // A value is not looked at again: it may have such names in it.
  while (!rest.empty()) {
    auto end = rest[0] == ':' ? rest.find(':', 1) : rest.npos;
    auto found = request.params.end();
    if (end != rest.npos) found = request.params.find(std::string(rest.substr(1, end - 1)));
    if (found == request.params.end()) {
      auto next = std::min(rest.find(':', 1), rest.size());
      filled += rest.substr(0, next);
      rest.remove_prefix(next);
      continue;
    }
    used.insert(found->first);
    filled += found->second;
    if (filled.size() > longest_command) break;  // refused below
    rest.remove_prefix(end + 1);
  }
  if (filled.size() > longest_command)
    return base::error("invalid_request",
                       "'command' is longer than 256 KiB with its params in place");
  for (auto& [name, value] : request.params)
    if (!used.contains(name))
      return base::error("invalid_request", "'params.\"" + name + "\"': the command has no :" +
                                                name + ": where its value belongs");
  if (base::trim(filled).empty())
    return base::error("invalid_request", "'command' is empty with its params in place");
  request.command = std::move(filled);
  return ok();
}

std::string request_hash(const RunRequest& request) {
  json canonical = to_json(request);
  canonical.erase("idempotent");
  return base::hex(base::sha256(canonical.dump()));
}

}  // namespace spell::model
