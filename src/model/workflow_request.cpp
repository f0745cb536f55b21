#include "model/workflow_request.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "model/run_request.hpp"

namespace spell::model {

namespace {

constexpr std::size_t most_commits = 100;

Problem read_commits(const json& j, std::map<std::string, CodeRef>& out, Unknown unknown) {
  return read_map(j, out, most_commits,
                  [=](const std::string& label, const json& e, CodeRef& code) -> Problem {
                    if (!base::valid_name(label))
                      return {"", "must be a label: 1 to 64 letters, digits, '.', '_' and '-'"};
                    if (auto problem = read_code(e, code, unknown)) return problem;
                    if (!code.label.empty()) return {"label", "a commit is not named by a label"};
                    return {};
                  });
}

constexpr Field<WorkflowRequest> workflow_fields[] = {
    {"description", [](const json& j, WorkflowRequest& r,
                       Unknown) { return read_text(j, r.description, 10 << 10); }},
    {"commits", [](const json& j, WorkflowRequest& r,
                   Unknown unknown) { return read_commits(j, r.commits, unknown); }},
    {"run",
     [](const json& j, WorkflowRequest& r, Unknown unknown) {
       return read_optional(j, r.run, [=](const json& e, RunRequest& run) {
         return read_run_request(e, run, unknown);
       });
     }},
    {"program",
     [](const json& j, WorkflowRequest& r, Unknown) -> Problem {
       if (j.is_null()) return {};
       if (!j.is_object()) return {"", "must be an object"};
       auto name = j.find("name");
       if (name == j.end()) return {"name", "is missing"};
       if (auto problem = read_name(*name, r.program_name))
         return std::move(problem).within("name");
       r.program = j;
       r.program.erase("name");
       return {};
     }},
    {"build",
     [](const json& j, WorkflowRequest& r, Unknown) -> Problem {
       if (j.is_null()) return {};
       if (!j.is_object()) return {"", "must be an object"};
       r.build_target.emplace();
       if (auto target = j.find("target"); target != j.end())
         if (auto problem = read_target(*target, *r.build_target))
           return std::move(problem).within("target");
       r.build = j;
       r.build.erase("target");
       return {};
     }},
};

}  // namespace

Result<WorkflowRequest> parse_workflow_request(const json& j) {
  WorkflowRequest request;
  auto problem = read_object<WorkflowRequest>(j, request, workflow_fields, Unknown::refuse);
  if (!problem && !request.program_name.empty() && !request.run)
    problem = {"program", "needs a run that executes it"};
  if (!problem && request.build_target && !request.run)
    problem = {"build", "needs a run that executes what is built"};
  if (!problem && request.build_target && !request.program_name.empty())
    problem = {"build", "and 'program': give one of them"};
  if (!problem && request.run && request.run->build)
    problem = {"run.build", "is given by the workflow itself"};
  if (!problem && request.run && request.run->workflow != 0)
    problem = {"run.workflow", "is given by the workflow itself"};
  if (problem) return problem.error("invalid_request");
  if (request.run) SPELL_TRY(fill_params(*request.run));
  return request;
}

json to_json(const std::map<std::string, CodeRef>& commits) {
  json out = json::object();
  for (auto& [label, code] : commits) out[label] = to_json(code);
  return out;
}

Result<std::map<std::string, CodeRef>> parse_commits(const std::string& text) {
  std::map<std::string, CodeRef> commits;
  if (text.empty()) return commits;
  auto stored = parse_json(text);
  if (!stored || read_commits(*stored, commits, Unknown::ignore))
    return base::error("damaged", "a workflow's record of its commits cannot be read");
  return commits;
}

}  // namespace spell::model
