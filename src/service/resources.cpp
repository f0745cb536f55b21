// Resources: outputs of runs and uploads, listed and read.
#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "service/api.hpp"
#include "service/resource_path.hpp"
#include "spell/json.hpp"
#include "spellfs/tree.hpp"

namespace spell::service {

namespace {

constexpr std::size_t read_size = 1 << 20;

/// The API's times have microseconds; what a file has beyond them stands beside.
constexpr std::int64_t ns_beyond(std::int64_t ns) { return (ns % 1000 + 1000) % 1000; }

ResourceInfo entry_info(const spellfs::Entry& entry, const std::string& path) {
  ResourceInfo info;
  info.path = path;
  info.type = entry.type == spellfs::EntryType::folder ? EntryType::folder
              : entry.type == spellfs::EntryType::link ? EntryType::link
                                                       : EntryType::file;
  info.size = info.type == EntryType::folder ? 0 : entry.size;
  info.mode = entry.mode;
  if (entry.mtime_ns != 0)
    info.modified_at =
        Time(std::chrono::microseconds((entry.mtime_ns - ns_beyond(entry.mtime_ns)) / 1000));
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

/// The cursor behind an entry: its name; of one that JSON cannot hold, '%' and its bytes in hex.
std::string cursor_of(const std::string& name) {
  return base::valid_text(name) && !name.starts_with('%') ? name : "%" + base::hex(name);
}

Result<std::string> name_of_cursor(const Call& call) {
  std::string cursor = call->query("after");
  if (!cursor.starts_with('%')) return cursor;
  std::string name(cursor.size() / 2, '\0');
  if (!base::unhex(std::string_view(cursor).substr(1), reinterpret_cast<std::uint8_t*>(name.data()),
                   name.size()))
    return base::error("invalid_request", "query parameter 'after' must be 'next' of a page");
  return name;
}

/// One entry more than `limit` says that there is a next page.
void answer_list(const Call& call, const ResourceInfo& resource, std::vector<ResourceInfo> entries,
                 std::size_t limit, std::int64_t mtime_ns = 0) {
  json next, itself = resource;
  itself["modified_ns"] = ns_beyond(mtime_ns);
  if (entries.size() > limit) {
    entries.resize(limit);
    next = cursor_of(entries.back().path);
  }
  json list = json::array();
  for (auto& entry : entries) list.push_back(entry);
  answer(call, {{"resource", std::move(itself)}, {"entries", std::move(list)}, {"next", next}});
}

/// What everybody has, and the owner's links.
Result<std::vector<ResourceInfo>> list_top(store::Reader& reader, const std::string& owner,
                                           const std::string& after, std::size_t limit) {
  std::vector<ResourceInfo> entries;
  for (auto* name : {"public", "runs", "uploads"}) entries.push_back(folder_info(name));
  auto links = reader.links(owner);
  if (!links) return links.error();
  for (auto& link : *links) {
    auto& entry = entries.emplace_back();
    entry.path = link.alias;
    entry.type = EntryType::link;
    entry.mode = 0777;
    entry.modified_at = Time(std::chrono::microseconds(link.created_us));
    entry.link_target = link.resource;
    entry.files = 1;
  }
  std::erase_if(entries, [&](auto& entry) { return entry.path <= after; });
  std::sort(entries.begin(), entries.end(), [](auto& a, auto& b) { return a.path < b.path; });
  if (entries.size() > limit + 1) entries.resize(limit + 1);
  return entries;
}

/// By number from the first on.
Result<std::vector<ResourceInfo>> list_owner_runs(store::Reader& reader, const std::string& owner,
                                                  const std::string& after, std::size_t limit) {
  auto runs = reader.runs_with_outputs(owner, base::parse_int(after).value_or(0),
                                       static_cast<int>(limit + 1));
  if (!runs) return runs.error();
  std::vector<ResourceInfo> entries;
  for (auto& run : *runs) entries.push_back(folder_info(std::to_string(run.number), run.ended_us));
  return entries;
}

Result<std::vector<ResourceInfo>> list_uploads(store::Reader& reader, const std::string& owner,
                                               const std::string& after, std::size_t limit) {
  auto uploads = reader.uploads(owner, after, static_cast<int>(limit + 1));
  if (!uploads) return uploads.error();
  std::vector<ResourceInfo> entries;
  for (auto& upload : *uploads) entries.push_back(entry_info(root_of(upload), upload.name));
  return entries;
}

void list_tree(Context& context, const Call& call, const ResourcePath& place,
               const std::string& after, std::size_t limit) {
  std::string path = call->path.at("path");
  if (!place.root && place.below.empty()) return answer_list(call, folder_info(path), {}, limit);
  auto entry = entry_at(context.objects, place);
  if (!entry) return refuse(call, entry.error());
  ResourceInfo resource = entry_info(*entry, path);
  if (entry->type != spellfs::EntryType::folder)
    return answer_list(call, resource, {entry_info(*entry, path.substr(path.rfind('/') + 1))},
                       limit, entry->mtime_ns);
  auto listed = spellfs::list(context.objects, entry->node, after, limit + 1);
  if (!listed) return refuse(call, listed.error());
  std::vector<ResourceInfo> entries;
  for (auto& child : *listed) entries.push_back(entry_info(child, child.name));
  answer_list(call, resource, std::move(entries), limit, entry->mtime_ns);
}

/// A range of a file, block by block, read on the job threads. Whatever becomes of its run
/// meanwhile: it comes to its end.
class FileSource : public net::BodySource, public std::enable_shared_from_this<FileSource> {
 public:
  FileSource(Context& context, spellfs::Entry entry, std::int64_t from, std::int64_t until)
      : context_(context),
        entry_(std::move(entry)),
        pin_(entry_.node == spellfs::Name{} ? spellfs::PackStore::Pin()
                                            : context.objects.pin({entry_.node})),
        at_(from),
        until_(until) {}
  /// Reads the first block, so that what cannot be read is refused and not begun. Blocks.
  Result<> begin() {
    auto piece = next();
    if (!piece) return piece.error();
    first_ = std::move(*piece);
    return ok();
  }
  void pull(std::function<void(Result<std::string>)> done) override {
    if (!first_.empty()) return done(std::exchange(first_, {}));
    if (at_ >= until_) return done(std::string());
    context_.jobs.post([self = shared_from_this(), done = std::move(done)] { done(self->next()); });
  }

 private:
  Result<std::string> next() {
    auto size = static_cast<std::size_t>(std::min<std::int64_t>(read_size, until_ - at_));
    auto piece = spellfs::read(context_.objects, entry_.node, entry_.size, at_, size);
    if (piece) at_ += static_cast<std::int64_t>(piece->size());
    return piece;
  }
  Context& context_;
  spellfs::Entry entry_;
  spellfs::PackStore::Pin pin_;
  std::int64_t at_, until_;
  std::string first_;
};

/// Whether an If-None-Match names this ETag.
bool names_tag(std::string_view header, std::string_view tag) {
  for (auto& part : base::split(header, ',')) {
    std::string_view given = base::trim(part);
    if (given.starts_with("W/")) given.remove_prefix(2);
    if (given == tag || given == "*") return true;
  }
  return false;
}

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
  auto limit = call->number("limit", 1000, 1, 10'000);
  if (!limit) return refuse(call, limit.error());
  auto after = name_of_cursor(call);
  if (!after) return refuse(call, after.error());
  std::string path = call->path.at("path");
  auto most = static_cast<std::size_t>(*limit);
  using Kind = ResourcePath::Kind;
  ResourcePath place;
  auto entries =
      context.readers.with([&](store::Reader& reader) -> Result<std::vector<ResourceInfo>> {
        auto resolved = resolve(reader, call->owner(), path);
        if (!resolved) return resolved.error();
        place = std::move(*resolved);
        switch (place.kind) {
          case Kind::top:
            return list_top(reader, call->owner(), *after, most);
          case Kind::runs:
            return list_owner_runs(reader, call->owner(), *after, most);
          case Kind::uploads:
          case Kind::shared:
            return list_uploads(reader, place.owner, *after, most);
          case Kind::tree:
            break;
        }
        return std::vector<ResourceInfo>();
      });
  if (!entries) return refuse(call, entries.error());
  if (place.kind != Kind::tree)
    return answer_list(call, folder_info(path), std::move(*entries), most);
  context.jobs.post([&context, call, place, after = *after, most] {
    list_tree(context, call, place, after, most);
  });
}

void read_file(Context& context, Call call) {
  std::string path = call->path.at("path");
  auto place = context.readers.with(
      [&](store::Reader& reader) { return resolve(reader, call->owner(), path); });
  if (!place) return refuse(call, place.error());
  if (place->kind != ResourcePath::Kind::tree) return refuse(call, resource_not_found(path));
  context.jobs.post([&context, call, path, place = *place] {
    auto entry = entry_at(context.objects, place);
    if (!entry) return refuse(call, entry.error());
    if (entry->type != spellfs::EntryType::file)
      return refuse(call, base::error("invalid_path", "'" + path + "' is no file"));
    std::string tag = "\"" + entry->node.text() + "\"";
    net::Response head = new_response();
    head.content_type = "application/octet-stream";
    head.headers.emplace_back("ETag", tag);
    head.headers.emplace_back("Accept-Ranges", "bytes");
    if (names_tag(net::find_header(call->request.headers, "If-None-Match"), tag)) {
      head.status = 304;
      return call->reply.send(std::move(head));
    }
    // Who goes on with a copy of another file gets the whole of this one.
    auto if_range = net::find_header(call->request.headers, "If-Range");
    bool same = if_range.empty() || if_range == tag;
    auto range = parse_range(
        same ? net::find_header(call->request.headers, "Range") : std::string_view(), entry->size);
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
    auto source = std::make_shared<FileSource>(context, *entry, range->from, range->until);
    if (auto begun = source->begin(); !begun) return refuse(call, begun.error());
    call->reply.stream(std::move(head), std::move(source), range->until - range->from);
  });
}

namespace {

/// A tree that is read stays until it is read: see Reads.
Result<> hold_while_read(Context& context, const std::string& owner, const spellfs::Name& tree) {
  auto& reads = context.collector.reads();
  auto now = Reads::Clock::now();
  if (reads.renew(owner, tree, now)) return ok();
  auto pin = context.objects.pin({tree});
  auto owns = context.objects.owns(owner, tree);
  if (!owns) return owns.error();
  if (*owns) reads.hold(owner, tree, std::move(pin), now);  // else the read says what is missing
  return ok();
}

}  // namespace

void read_objects(Context& context, Call call) {
  constexpr std::size_t most_names = 4096, most_bytes = 4 << 20;
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  auto names = object_names(*body, "names");
  if (!names) return refuse(call, names.error());
  auto path = body->find("path");
  if (path == body->end() || !path->is_string() || body->size() != 2 || names->empty() ||
      names->size() > most_names)
    return refuse(call, base::error("invalid_request",
                                    "the body must be {\"path\", \"names\": […]} with 1 to " +
                                        std::to_string(most_names) + " names"));
  if (!base::valid_text(path->get_ref<const std::string&>()))
    return refuse(call, base::error("invalid_request", "'path' must be UTF-8 without NUL"));
  auto given = call->query("tree");
  auto tree = spellfs::Name::parse(given);
  if (!given.empty() && !tree)
    return refuse(call, base::error("invalid_request",
                                    "query parameter 'tree' must be the node of a resource"));
  auto place = context.readers.with([&](store::Reader& reader) {
    return resolve(reader, call->owner(), path->get<std::string>());
  });
  if (!place) return refuse(call, place.error());
  if (place->kind != ResourcePath::Kind::tree)
    return refuse(call, resource_not_found(path->get<std::string>()));
  std::string owner = place->upload.empty() ? call->owner() : place->owner;
  context.jobs.post([&context, call, owner, tree, names = std::move(*names)] {
    if (tree)
      if (auto held = hold_while_read(context, owner, *tree); !held)
        return refuse(call, held.error());
    auto pack = context.objects.pack_of(owner, names, most_bytes);
    if (!pack && pack.error().code() == "object_not_found")
      return refuse(call, base::error("resource_not_found", pack.error().message()));
    if (!pack) return refuse(call, pack.error());
    net::Response response = new_response();
    response.content_type = "application/vnd.spell.pack";
    response.body = std::move(*pack);
    call->reply.send(std::move(response));
  });
}

}  // namespace spell::service
