// Links: short names for resources.
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/status.hpp"
#include "service/api.hpp"
#include "service/resource_path.hpp"

namespace spell::service {

namespace {

json link_json(const store::LinkRecord& link) {
  return {{"alias", link.alias},
          {"resource", link.resource},
          {"created_at", base::rfc3339(link.created_us)}};
}

Result<std::string> alias_of(const Call& call) {
  auto& alias = call->path.at("alias");
  if (!base::valid_name(alias))
    return base::error("invalid_request",
                       "an alias is 1 to 64 letters, digits, '.', '_' and '-', not beginning with "
                       "'.' or '-'");
  return alias;
}

/// Aliases share one name space with machines and machine types, whose names know no case.
Result<> check_free(const State& state, const std::string& owner, const std::string& alias) {
  std::string by = state.name_owner(owner, alias);
  if (by.empty()) return ok();
  return base::error("name_taken", "'" + alias + "' is the name of " + by + "; use another");
}

/// What the link will name: without an alias, and there, unless it is in a run that goes on.
Result<std::string> target_of(Context& context, const std::string& owner,
                              const std::string& resource) {
  auto place =
      context.readers.with([&](store::Reader& reader) { return resolve(reader, owner, resource); });
  if (!place) return place.error();
  if (place->kind != ResourcePath::Kind::tree)
    return base::error("invalid_request", "'" + resource +
                                              "' cannot be linked: a link names runs/N, "
                                              "uploads/NAME, public/NAME, or something in them");
  bool final = place->run == 0 || model::is_final(place->run_status);
  if (final && !place->below.empty())
    if (auto entry = entry_at(context.objects, *place); !entry) return entry.error();
  return place->path;
}

}  // namespace

void list_links(Context& context, Call call) {
  auto links =
      context.readers.with([&](store::Reader& reader) { return reader.links(call->owner()); });
  if (!links) return refuse(call, links.error());
  json list = json::array();
  for (auto& link : *links) list.push_back(link_json(link));
  answer(call, {{"links", std::move(list)}});
}

void put_link(Context& context, Call call) {
  auto alias = alias_of(call);
  if (!alias) return refuse(call, alias.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  if (body->size() != 1 || !body->contains("resource") || !(*body)["resource"].is_string())
    return refuse(call, base::error("invalid_request",
                                    "the body must be {\"resource\": path of a resource}"));
  std::string resource = (*body)["resource"];
  if (!base::valid_text(resource))
    return refuse(call, base::error("invalid_request", "'resource' must be UTF-8 without NUL"));
  while (resource.ends_with('/')) resource.pop_back();
  context.jobs.post([&context, call = std::move(call), alias = *alias, resource] {
    auto target = target_of(context, call->owner(), resource);
    if (!target) return refuse(call, target.error());
    context.reactor.post(
        [call, alias, target = *target](State& state, std::int64_t now) -> Reactor::Answer {
          store::LinkRecord link{alias, target, now, call->caller.name};
          auto put = check_free(state, call->owner(), alias);
          auto before = state.writer().find_link(call->owner(), alias);
          if (put && !before) put = before.error();
          if (put && *before) put = may_change(call, (*before)->creator, "the alias " + alias);
          if (put) put = state.writer().put_link(call->owner(), link);
          if (put) put = audit(state, now, call, "link.set", alias, target);
          return [call, link, put](const Result<>& committed) {
            if (!put) return refuse(call, put.error());
            if (!committed) return refuse(call, committed.error());
            answer(call, {{"link", link_json(link)}});
          };
        });
  });
}

void delete_link(Context& context, Call call) {
  auto alias = alias_of(call);
  if (!alias) return refuse(call, alias.error());
  context.reactor.post(
      [call = std::move(call), alias = *alias](State& state, std::int64_t now) -> Reactor::Answer {
        auto found = state.writer().find_link(call->owner(), alias);
        Result<> done = found ? ok() : Result<>(found.error());
        if (found && !*found)
          done = base::error("resource_not_found",
                             "there is no link '" + alias + "'; `spell link` shows them");
        if (done) done = may_change(call, (*found)->creator, "the alias " + alias);
        if (done) done = state.writer().delete_link(call->owner(), alias);
        if (done) done = audit(state, now, call, "link.delete", alias, "by " + (*found)->creator);
        return [call, found, done](const Result<>& committed) {
          if (!done) return refuse(call, done.error());
          if (!committed) return refuse(call, committed.error());
          answer(call, {{"link", link_json(**found)}});
        };
      });
}

}  // namespace spell::service
