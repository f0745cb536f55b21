// Environments: what stands in a run's requirements file; list, look, remove.
#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "git/store.hpp"
#include "model/environment.hpp"
#include "service/api.hpp"
#include "spell/json.hpp"

namespace spell::service {

Result<> read_requirements(Context& context, const std::string& owner, model::RunRequest& request) {
  auto& code = *request.code;
  auto repository = context.code_path(owner, code.workspace);
  auto read = [&](const std::string& path) {
    auto text = git::read_committed(repository, code.commit, path, model::requirements_limit);
    if (!text && text.error().code() == "too_large")
      return Result<std::string>(base::error("invalid_requirements", text.error().message()));
    return text;
  };
  if (!request.conda_file.empty()) {
    auto text = model::read_conda_file(request.folder, request.conda_file, read);
    if (!text) return text.error();
    request.conda_text = std::move(*text);
  }
  if (request.requirements.empty()) return ok();
  auto text = model::gather_requirements(request.folder, request.requirements, read);
  if (!text) return text.error();
  if (base::trim(*text).empty())
    return base::error("invalid_requirements",
                       base::to_utf8(request.requirements) + " asks for no package");
  request.requirements_text = std::move(*text);
  return ok();
}

namespace {

using Uses = std::vector<store::Reader::LayerUse>;

std::vector<std::int64_t> runs_of(const store::LayerRecord& layer, const Uses& uses) {
  std::vector<std::int64_t> runs;
  for (auto& use : uses)
    if (use.owner == layer.owner && use.layer == layer.name) runs.push_back(use.run);
  return runs;
}

json environment_json(const store::LayerRecord& layer, const Uses& uses) {
  EnvironmentInfo info;
  info.name = layer.name;
  info.method = layer.method;
  info.base = layer.base;
  info.made_of = layer.made_of;
  info.state = layer.node.empty() ? "building" : "ready";
  info.packages = layer.packages;
  info.size = layer.size;
  info.files = layer.files;
  info.runs = runs_of(layer, uses);
  auto time = [](std::int64_t us) {
    return Time(std::chrono::duration_cast<Time::duration>(std::chrono::microseconds(us)));
  };
  info.created_at = time(layer.created_us);
  info.used_at = time(layer.used_us);
  return json(info);
}

/// By its whole name, or by the beginning of it that no other has.
Result<store::LayerRecord> find_layer(store::Reader& reader, const std::string& owner,
                                      const std::string& name) {
  auto layers = reader.layers(owner);
  if (!layers) return layers.error();
  std::vector<store::LayerRecord> found;
  for (auto& layer : *layers)
    if (name.size() >= 4 && layer.name.starts_with(name)) found.push_back(std::move(layer));
  if (found.empty())
    return base::error("environment_not_found", "there is no environment '" + base::to_utf8(name) +
                                                    "' of " + owner +
                                                    "; `spell env list` lists them");
  if (found.size() > 1)
    return base::error("environment_not_found",
                       "several environments begin with '" + name + "': give more of the name");
  return std::move(found[0]);
}

}  // namespace

void list_environments(Context& context, Call call) {
  auto list = context.readers.with([&](store::Reader& reader) -> Result<json> {
    auto layers = reader.layers(call->owner());
    if (!layers) return layers.error();
    auto uses = reader.layers_in_use();
    if (!uses) return uses.error();
    std::stable_sort(layers->begin(), layers->end(),
                     [](auto& a, auto& b) { return a.used_us > b.used_us; });
    json out = json::array();
    for (auto& layer : *layers) out.push_back(environment_json(layer, *uses));
    return out;
  });
  if (!list) return refuse(call, list.error());
  answer(call, {{"environments", std::move(*list)}});
}

void get_environment(Context& context, Call call) {
  auto found = context.readers.with([&](store::Reader& reader) -> Result<json> {
    auto layer = find_layer(reader, call->owner(), call->path.at("name"));
    if (!layer) return layer.error();
    auto uses = reader.layers_in_use();
    if (!uses) return uses.error();
    return environment_json(*layer, *uses);
  });
  if (!found) return refuse(call, found.error());
  answer(call, {{"environment", std::move(*found)}});
}

void delete_environment(Context& context, Call call) {
  context.reactor.post(
      [&context, call = std::move(call)](State& state, std::int64_t now) -> Reactor::Answer {
        auto remove = [&]() -> Result<json> {
          auto layer = find_layer(state.writer(), call->owner(), call->path.at("name"));
          if (!layer) return layer.error();
          auto uses = state.writer().layers_in_use();
          if (!uses) return uses.error();
          auto runs = runs_of(*layer, *uses);
          if (auto* builder = state.active_run(layer->builder); builder && runs.empty())
            runs.push_back(builder->number);
          if (!runs.empty()) {
            std::vector<std::string> shown;
            for (auto run : runs) shown.push_back(std::to_string(run));
            return base::error("environment_in_use",
                               "environment " + layer->name.substr(0, 12) + " is in use by run " +
                                   base::join(shown, ", ") + ": remove it when they have ended");
          }
          SPELL_TRY(state.writer().delete_layer(layer->owner, layer->name));
          SPELL_TRY(audit(state, now, call, "environment.rm", layer->name, layer->made_of));
          SPELL_TRY(Collector::note_removal(state, now));
          return environment_json(*layer, {});
        };
        auto removed = remove();
        return [&context, call, removed](const Result<>& committed) {
          if (!removed) return refuse(call, removed.error());
          if (!committed) return refuse(call, committed.error());
          context.collector.removed();
          answer(call, {{"environment", *removed}});
        };
      });
}

}  // namespace spell::service
