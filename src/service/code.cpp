// The code of runs: what is here, and taking what is not.
#include <sys/stat.h>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "service/api.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

bool is_object_id(const std::string& text) {
  if (text.size() != 40 && text.size() != 64) return false;
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

Result<std::string> workspace_of(const Call& call) {
  auto& name = call->path.at("name");
  if (!is_object_id(name))
    return base::error("invalid_request", "a workspace is the id of a root commit: 40 hex digits");
  return name;
}

}  // namespace

void list_repositories(Context& context, Call call) {
  auto found = context.readers.with(
      [&](store::Reader& reader) { return reader.repositories(call->owner()); });
  if (!found) return refuse(call, found.error());
  context.jobs.post([&context, call, found = *found] {
    json list = json::array();
    for (auto& record : found) {
      RepositoryInfo info;
      info.workspace = record.workspace;
      info.name = record.name;
      info.runs = record.runs;
      info.last_used_at = Time(std::chrono::microseconds(record.used_us));
      if (auto store = git::Store::open(context.code_path(call->owner(), record.workspace)))
        info.bytes = store->size();
      list.push_back(info);
    }
    answer(call, {{"repositories", std::move(list)}});
  });
}

void code_missing(Context& context, Call call) {
  auto workspace = workspace_of(call);
  if (!workspace) return refuse(call, workspace.error());
  auto body = model::parse_json(call->request.body, 4 << 20);
  if (!body) return refuse(call, body.error());
  if (!body->is_object())
    return refuse(call, base::error("invalid_request", "the body must be a JSON object"));
  std::string commit;
  std::vector<std::string> trees;
  for (auto& [field, value] : body->items()) {
    if (field == "commit" && value.is_string() && is_object_id(value.get_ref<const std::string&>()))
      commit = value;
    else if (field == "trees" && value.is_array()) {
      for (auto& tree : value) {
        if (!tree.is_string() || !is_object_id(tree.get_ref<const std::string&>()))
          return refuse(
              call, base::error("invalid_request", "'trees' must hold object ids: 40 hex digits"));
        trees.push_back(tree);
      }
    } else if (field == "commit" || field == "trees") {
      return refuse(
          call, base::error("invalid_request",
                            "'" + field + "' must be " +
                                (field == "commit" ? "an object id: 40 hex digits" : "a list")));
    } else {
      return refuse(call, base::error("invalid_request", "'" + field + "' is not a known field"));
    }
  }
  if (commit.empty()) return refuse(call, base::error("invalid_request", "'commit' is missing"));
  context.jobs.post([&context, call, workspace = *workspace, commit, trees] {
    std::string path = context.code_path(call->owner(), workspace);
    struct stat st;
    // Asking must not make a repository.
    if (::stat(path.c_str(), &st) != 0)
      return answer(call, {{"has_commit", false}, {"trees", json::array()}});
    auto store = git::Store::open(path);
    if (!store) return refuse(call, store.error());
    auto has = store->has_commit(commit);
    if (!has) return refuse(call, has.error());
    auto known = store->known_trees(trees);
    if (!known) return refuse(call, known.error());
    answer(call, {{"has_commit", *has}, {"trees", *known}});
  });
}

void send_code(Context& context, Call call) {
  auto workspace = workspace_of(call);
  if (!workspace) return refuse(call, workspace.error());
  std::string commit = call->query("commit");
  if (!is_object_id(commit))
    return refuse(call,
                  base::error("invalid_request",
                              "query parameter 'commit' must be an object id: 40 hex digits"));
  context.jobs.post([&context, call, workspace = *workspace, commit] {
    auto store = git::Store::open(context.code_path(call->owner(), workspace));
    if (!store) return refuse(call, store.error());
    if (auto taken =
            store->add_pack(call->request.body_file.get(), call->request.body_size, commit);
        !taken)
      return refuse(call, taken.error());
    answer(call, {{"commit", commit}}, 201);
    (void)store->repack();
  });
}

}  // namespace spell::service
