// Resources: the outputs of runs, listed and read.
#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "service/api.hpp"
#include "spell/json.hpp"
#include "spellfs/tree.hpp"

namespace spell::service {

namespace {

constexpr std::size_t read_size = 1 << 20;

Error not_found(const std::string& path) {
  return base::error("resource_not_found",
                     "there is no '" + path + "'; `spell ls` shows what there is");
}

/// What a path names: "" and "runs" are folders of the service's own, the rest is in a run's tree.
struct Place {
  enum class Kind { top, runs, tree } kind = Kind::top;
  std::optional<spellfs::Name> tree;  ///< none: the run saved nothing
  std::string below;
  std::int64_t time_us = 0;
};

Result<Place> locate(Context& context, const Call& call, const std::string& path) {
  if (!base::safe_relative_path(path))
    return base::error("invalid_path", "'" + path + "' is no path of a resource");
  Place place;
  if (path.empty()) return place;
  auto parts = base::split(path, '/');
  if (parts[0] != "runs") return not_found(path);
  place.kind = Place::Kind::runs;
  if (parts.size() == 1) return place;
  auto number = base::parse_int(parts[1]);
  if (!number || *number < 1) return not_found(path);
  auto run = context.readers.with(
      [&](store::Reader& reader) { return reader.find_run(call->owner(), *number); });
  if (!run) return run.error();
  if (!*run) return not_found(path);
  place.kind = Place::Kind::tree;
  place.time_us = (*run)->ended_us;
  if (!(*run)->outputs.empty()) place.tree = spellfs::Name::parse((*run)->outputs);
  place.below = base::join({parts.begin() + 2, parts.end()}, "/");
  return place;
}

/// The entry at a path as lists show it: of a name that is no UTF-8 each bad byte is shown, and
/// found, as U+FFFD.
Result<spellfs::Entry> find_shown(const spellfs::ChunkStore& objects, const spellfs::Name& tree,
                                  const std::string& path) {
  constexpr std::string_view replaced = "\xEF\xBF\xBD";
  auto entry = spellfs::find(objects, tree, path);
  if (entry || entry.error().code() != "resource_not_found" ||
      path.find(replaced) == std::string::npos)
    return entry;
  entry = spellfs::find(objects, tree, "");
  for (auto& part : base::split(path, '/')) {
    if (!entry) return entry;
    if (entry->type != spellfs::EntryType::folder) return not_found(path);
    auto folder = entry->node;
    entry = spellfs::find(objects, folder, part);
    if (entry || part.find(replaced) == std::string::npos) continue;
    auto names = spellfs::list(objects, folder);
    if (!names) return names.error();
    for (auto& child : *names)
      if (base::to_utf8(child.name) == part) entry = child;
  }
  return entry;
}

ResourceInfo info_of(const spellfs::Entry& entry, const std::string& path) {
  ResourceInfo info;
  info.path = path;
  info.type = entry.type == spellfs::EntryType::folder ? EntryType::folder
              : entry.type == spellfs::EntryType::link ? EntryType::link
                                                       : EntryType::file;
  info.size = info.type == EntryType::folder ? 0 : entry.size;
  info.mode = entry.mode;
  if (entry.mtime_ns != 0)
    info.modified_at = Time(std::chrono::microseconds(entry.mtime_ns / 1000));
  info.link_target = base::to_utf8(entry.target);
  if (entry.node != spellfs::Name{}) info.node = entry.node.text();
  info.bytes = entry.size;
  info.files = info.type == EntryType::folder ? entry.files : 1;
  return info;
}

ResourceInfo folder_info(const std::string& path, std::int64_t time_us = 0) {
  ResourceInfo info;
  info.path = path;
  info.type = EntryType::folder;
  info.mode = 0755;
  if (time_us != 0) info.modified_at = Time(std::chrono::microseconds(time_us));
  return info;
}

void answer_list(const Call& call, const ResourceInfo& resource, std::vector<ResourceInfo> entries,
                 std::size_t limit) {
  json next;
  if (entries.size() > limit) {
    entries.resize(limit);
    next = entries.back().path;
  }
  json list = json::array();
  for (auto& entry : entries) list.push_back(entry);
  answer(call, {{"resource", resource}, {"entries", std::move(list)}, {"next", next}});
}

void list_runs_with_outputs(Context& context, const Call& call, std::size_t limit) {
  // By number from the first on; `after` is the last name of the page before.
  std::string after = call->query("after");
  std::int64_t from = after.empty() ? 0 : base::parse_int(after).value_or(0);
  store::RunQuery query;
  query.owner = call->owner();
  query.with_outputs = true;
  query.archived = true;
  query.limit = INT32_MAX;
  auto runs = context.readers.with([&](store::Reader& reader) { return reader.list_runs(query); });
  if (!runs) return refuse(call, runs.error());
  std::vector<ResourceInfo> entries;
  for (auto run = runs->rbegin(); run != runs->rend() && entries.size() <= limit; ++run)
    if (run->number > from)
      entries.push_back(folder_info(std::to_string(run->number), run->ended_us));
  answer_list(call, folder_info("runs"), std::move(entries), limit);
}

/// A range of a file, block by block, read on the job threads.
class FileSource : public net::BodySource, public std::enable_shared_from_this<FileSource> {
 public:
  FileSource(Context& context, spellfs::Entry entry, std::int64_t from, std::int64_t until)
      : context_(context), entry_(std::move(entry)), at_(from), until_(until) {}
  void pull(std::function<void(Result<std::string>)> done) override {
    if (at_ >= until_) return done(std::string());
    context_.jobs.post([self = shared_from_this(), done = std::move(done)] {
      auto size =
          static_cast<std::size_t>(std::min<std::int64_t>(read_size, self->until_ - self->at_));
      auto piece = spellfs::read(self->context_.objects, self->entry_.node, self->entry_.size,
                                 self->at_, size);
      if (piece) self->at_ += static_cast<std::int64_t>(piece->size());
      done(std::move(piece));
    });
  }

 private:
  Context& context_;
  spellfs::Entry entry_;
  std::int64_t at_, until_;
};

struct Range {
  std::int64_t from = 0, until = 0;
  bool whole = true;
};

/// One range of RFC 9110; anything else than "bytes=a-b", "bytes=a-", "bytes=-n" is ignored, as it
/// says.
Result<Range> parse_range(std::string_view header, std::int64_t size) {
  Range range{0, size, true};
  if (!header.starts_with("bytes=") || header.find(',') != std::string_view::npos) return range;
  header.remove_prefix(6);
  auto dash = header.find('-');
  if (dash == std::string_view::npos) return range;
  auto first = base::parse_int(header.substr(0, dash)),
       last = base::parse_int(header.substr(dash + 1));
  if (dash == 0) {
    if (!last || *last < 0) return range;
    range.from = std::max<std::int64_t>(0, size - *last);
  } else {
    if (!first || *first < 0 || (dash + 1 < header.size() && (!last || *last < *first)))
      return range;
    range.from = *first;
    if (last) range.until = std::min(size, *last + 1);
  }
  if (range.from >= size)
    return base::error("range_not_satisfiable", "the file has " + std::to_string(size) + " bytes");
  range.whole = false;
  return range;
}

}  // namespace

void list_resource(Context& context, Call call) {
  std::string path = call->path.at("path");
  auto limit = call->number("limit", 1000, 1, 10'000);
  if (!limit) return refuse(call, limit.error());
  auto place = locate(context, call, path);
  if (!place) return refuse(call, place.error());
  if (place->kind == Place::Kind::top)
    return answer_list(call, folder_info(""), {folder_info("runs")},
                       static_cast<std::size_t>(*limit));
  if (place->kind == Place::Kind::runs)
    return list_runs_with_outputs(context, call, static_cast<std::size_t>(*limit));
  context.jobs.post(
      [&context, call, path, place = *place, limit = static_cast<std::size_t>(*limit)] {
        if (!place.tree) {
          if (!place.below.empty()) return refuse(call, not_found(path));
          return answer_list(call, folder_info(path, place.time_us), {}, limit);
        }
        auto entry = find_shown(context.objects, *place.tree, place.below);
        if (!entry)
          return refuse(
              call, entry.error().code() == "resource_not_found" ? not_found(path) : entry.error());
        ResourceInfo resource = info_of(*entry, path);
        if (place.below.empty())
          resource.modified_at = folder_info(path, place.time_us).modified_at;
        if (entry->type != spellfs::EntryType::folder)
          return answer_list(call, resource, {info_of(*entry, path.substr(path.rfind('/') + 1))},
                             limit);
        auto listed = spellfs::list(context.objects, entry->node, call->query("after"), limit + 1);
        if (!listed) return refuse(call, listed.error());
        std::vector<ResourceInfo> entries;
        for (auto& child : *listed) entries.push_back(info_of(child, child.name));
        answer_list(call, resource, std::move(entries), limit);
      });
}

void read_file(Context& context, Call call) {
  std::string path = call->path.at("path");
  auto place = locate(context, call, path);
  if (!place) return refuse(call, place.error());
  if (place->kind != Place::Kind::tree || !place->tree) return refuse(call, not_found(path));
  context.jobs.post([&context, call, path, place = *place] {
    auto entry = find_shown(context.objects, *place.tree, place.below);
    if (!entry)
      return refuse(call,
                    entry.error().code() == "resource_not_found" ? not_found(path) : entry.error());
    if (entry->type != spellfs::EntryType::file)
      return refuse(call, base::error("invalid_path", "'" + path + "' is no file"));
    std::string tag = "\"" + entry->node.text() + "\"";
    net::Response head = new_response();
    head.content_type = "application/octet-stream";
    head.headers.emplace_back("ETag", tag);
    head.headers.emplace_back("Accept-Ranges", "bytes");
    if (net::find_header(call->request.headers, "If-None-Match") == tag) {
      head.status = 304;
      return call->reply.send(std::move(head));
    }
    auto range = parse_range(net::find_header(call->request.headers, "Range"), entry->size);
    if (!range) {
      auto response = error_response(range.error(), call->request.id);
      response.headers.emplace_back("Content-Range", "bytes */" + std::to_string(entry->size));
      return call->reply.send(std::move(response));
    }
    if (!range->whole) {
      head.status = 206;
      head.headers.emplace_back("Content-Range", "bytes " + std::to_string(range->from) + "-" +
                                                     std::to_string(range->until - 1) + "/" +
                                                     std::to_string(entry->size));
    }
    call->reply.stream(std::move(head),
                       std::make_shared<FileSource>(context, *entry, range->from, range->until),
                       range->until - range->from);
  });
}

}  // namespace spell::service
