#include "spell/resource.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "client/file_reader.hpp"
#include "client/listing.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

namespace spell {

using namespace detail;
using model::Route;

namespace {

/// A folder as a range.
class EntrySource : public Stream<ResourceInfo>::Source {
 public:
  EntrySource(std::shared_ptr<Connection> connection, const std::string& path,
              const CallOptions& options)
      : connection_(std::move(connection)) {
    auto plain = plain_path(path);
    if (plain)
      pages_.emplace(*connection_, *plain, Limit(options, connection_->waiter()));
    else
      error_ = plain.error();
  }

  std::optional<Result<ResourceInfo>> next() override {
    if (error_) return std::exchange(error_, std::nullopt);
    if (at_ == page_.size()) {
      if (!pages_) return std::nullopt;
      auto page = pages_->next();
      at_ = 0;
      page_ = page ? std::move(*page) : std::vector<ResourceInfo>();
      if (page_.empty()) pages_.reset();
      if (!page) return page.error();
      if (page_.empty()) return std::nullopt;
    }
    return std::move(page_[at_++]);
  }

 private:
  std::shared_ptr<Connection> connection_;
  std::optional<Error> error_;
  std::optional<Pages> pages_;
  std::vector<ResourceInfo> page_;
  std::size_t at_ = 0;
};

}  // namespace

Result<UploadPath> detail::upload_path(const Connection& connection, const std::string& path) {
  auto plain = plain_path(path);
  if (!plain) return plain.error();
  auto parts = base::split(*plain, '/');
  if (parts.size() == 2 && parts[0] == "uploads")
    return UploadPath{connection.owner(), std::move(parts[1])};
  if (parts.size() == 4 && parts[0] == "uploads" && parts[1] == "workflows")
    return UploadPath{connection.owner(), parts[1] + "/" + parts[2] + "/" + parts[3]};
  if (parts.size() == 2 && parts[0] == "public") return UploadPath{"public", std::move(parts[1])};
  return base::error("invalid_path",
                     "'" + base::to_utf8(path) + "' is no upload; one looks like uploads/data");
}

Result<std::string> detail::plain_path(const std::string& path) {
  std::string_view plain = path;
  while (!plain.empty() && plain.front() == '/') plain.remove_prefix(1);
  while (!plain.empty() && plain.back() == '/') plain.remove_suffix(1);
  if (!base::safe_relative_path(plain) || !base::valid_text(plain))
    return base::error("invalid_path",
                       "'" + base::to_utf8(path) +
                           "' is no path of a resource; one looks like runs/7/results/a.txt");
  return std::string(plain);
}

Result<std::vector<ResourceInfo>> Pages::next() {
  constexpr int first_limit = 500, limit = 5000;
  if (ended_) return std::vector<ResourceInfo>();
  Call call{.route = Route::list_resource,
            .names = {path_},
            .query = {{"limit", std::to_string(page_++ == 0 ? first_limit : limit)}}};
  if (!after_.empty()) call.query.emplace_back("after", after_);
  auto answer = connection_.call(call, limit_);
  if (!answer) return answer.error();
  auto resource = member<ResourceInfo>(*answer, "resource");
  if (!resource) return resource.error();
  auto entries = member<std::vector<ResourceInfo>>(*answer, "entries");
  if (!entries) return entries.error();
  resource_ = std::move(*resource);
  if (resource_.type != spell::EntryType::folder) {
    ended_ = true;
    return std::vector<ResourceInfo>{resource_};
  }
  auto next = member<std::string>(*answer, "next");
  ended_ = !next || *next == after_ || entries->empty();
  if (!ended_) after_ = std::move(*next);
  return entries;
}

Result<Stated> detail::stat_resource(Connection& connection, const std::string& plain,
                                     const Limit& limit) {
  auto answer = connection.call(
      {.route = Route::list_resource, .names = {plain}, .query = {{"limit", "1"}}}, limit);
  if (!answer) return answer.error();
  auto info = member<ResourceInfo>(*answer, "resource");
  if (!info) return info.error();
  // An older service does not say it.
  auto beyond_us = member<std::int64_t>((*answer)["resource"], "modified_ns").value_or(0);
  return Stated{std::move(*info), std::clamp<std::int64_t>(beyond_us, 0, 999)};
}

Result<std::vector<ResourceInfo>> Resources::list(const std::string& path,
                                                  CallOptions options) const {
  std::vector<ResourceInfo> all;
  for (auto& entry : entries(path, options)) {
    if (!entry) return entry.error();
    all.push_back(std::move(*entry));
  }
  return all;
}

Stream<ResourceInfo> Resources::entries(const std::string& path, CallOptions options) const {
  return Stream<ResourceInfo>(std::make_unique<EntrySource>(connection_, path, options));
}

Result<ResourceInfo> Resources::stat(const std::string& path, CallOptions options) const {
  auto plain = plain_path(path);
  if (!plain) return plain.error();
  auto info = stat_resource(*connection_, *plain, Limit(options, connection_->waiter()));
  if (!info) return info.error();
  return std::move(*info);
}

Result<std::string> Resources::read(const std::string& path, std::int64_t limit,
                                    CallOptions options) const {
  auto plain = plain_path(path);
  if (!plain) return plain.error();
  std::string bytes;
  auto check = [&](std::int64_t size) -> Result<> {
    if (size <= limit) return ok();
    return base::error("too_large", path + " is larger than " + std::to_string(limit) + " bytes");
  };
  auto take = [&](std::string_view piece) -> Result<> {
    SPELL_TRY(check(static_cast<std::int64_t>(bytes.size() + piece.size())));
    bytes.append(piece);
    return ok();
  };
  SPELL_TRY(
      read_resource(*connection_, *plain, take, Limit(options, connection_->waiter()), check));
  return bytes;
}

// ---- reading

struct ResourceReader::Impl {
  std::shared_ptr<Connection> connection;
  FileReader reader;
  std::int64_t size = 0;
};

Result<ResourceReader> Resources::open(const std::string& path, CallOptions options) const {
  auto plain = plain_path(path);
  if (!plain) return plain.error();
  std::unique_ptr<ResourceReader::Impl> impl(
      new ResourceReader::Impl{connection_, FileReader(*connection_, *plain)});
  auto size = impl->reader.size(Limit(options, connection_->waiter()));
  if (!size) return size.error();
  impl->size = *size;
  return ResourceReader(std::move(impl));
}

ResourceReader::ResourceReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ResourceReader::ResourceReader(ResourceReader&&) noexcept = default;
ResourceReader& ResourceReader::operator=(ResourceReader&&) noexcept = default;
ResourceReader::~ResourceReader() = default;

Result<std::size_t> ResourceReader::read(void* buffer, std::size_t size, CallOptions options) {
  return impl_->reader.read(static_cast<char*>(buffer), size,
                            Limit(options, impl_->connection->waiter()));
}
Result<> ResourceReader::seek(std::int64_t offset) {
  if (offset < 0) return base::error("range_not_satisfiable", "a file begins at 0");
  impl_->reader.seek(offset);
  return ok();
}
std::int64_t ResourceReader::offset() const noexcept { return impl_->reader.offset(); }
std::int64_t ResourceReader::size() const noexcept { return impl_->size; }

// ---- uploads and links

Result<> Resources::remove(const std::string& path, CallOptions options) const {
  auto upload = upload_path(*connection_, path);
  if (!upload) return upload.error();
  auto answer = connection_->call(
      {.route = Route::delete_upload, .names = {upload->name}, .owner = upload->owner}, options);
  if (!answer) return answer.error();
  return ok();
}

Result<ResourceInfo> Resource::stat(CallOptions options) const {
  return Resources(connection_).stat(path_, options);
}

Stream<ResourceInfo> Resource::list(CallOptions options) const {
  return Resources(connection_).entries(path_, options);
}

Result<DownloadInfo> Resource::download(const std::string& destination, const DownloadOptions& what,
                                        CallOptions options) const {
  return Resources(connection_).fetch(path_, destination, what, options);
}

Result<ResourceReader> Resource::open(CallOptions options) const {
  return Resources(connection_).open(path_, options);
}

Result<> Resource::remove(CallOptions options) const {
  return Resources(connection_).remove(path_, options);
}

Result<UploadInfo> Resource::upload(const std::string& local, UploadOptions what,
                                    CallOptions options) const {
  auto upload = upload_path(*connection_, path_);
  if (!upload) return upload.error();
  what.name = path_;
  return Resources(connection_).upload(local, what, options);
}

Result<std::vector<LinkInfo>> Resources::links(CallOptions options) const {
  auto answer = connection_->call({.route = Route::list_links}, options);
  if (!answer) return answer.error();
  return member<std::vector<LinkInfo>>(*answer, "links");
}

Result<LinkInfo> Resources::link(const std::string& alias, CallOptions options) const {
  auto all = links(options);
  if (!all) return all.error();
  for (auto& link : *all)
    if (link.alias == alias) return link;
  return base::error("not_found",
                     "there is no alias '" + base::to_utf8(alias) + "'; spell link lists them");
}

Result<LinkInfo> Resources::set_link(const std::string& alias, const std::string& resource,
                                     CallOptions options) const {
  auto plain = plain_path(resource);
  if (!plain) return plain.error();
  auto answer = connection_->call(
      {.route = Route::put_link, .names = {alias}, .body = {{"resource", *plain}}}, options);
  if (!answer) return answer.error();
  return member<LinkInfo>(*answer, "link");
}

Result<> Resources::remove_link(const std::string& alias, CallOptions options) const {
  auto answer = connection_->call({.route = Route::delete_link, .names = {alias}}, options);
  if (!answer) return answer.error();
  return ok();
}

// ---- room

Result<UsageInfo> Resources::usage(const std::string& path, CallOptions options) const {
  auto plain = plain_path(path);
  if (!plain) return plain.error();
  auto answer = connection_->call({.route = Route::usage, .query = {{"path", *plain}}}, options);
  if (!answer) return answer.error();
  auto usage = member<UsageInfo>(*answer, "usage");
  if (usage) usage->name = *plain;
  return usage;
}

Result<std::vector<UsageInfo>> Resources::usage_by(const std::string& what,
                                                   CallOptions options) const {
  Limit limit(options, connection_->waiter());
  std::vector<UsageInfo> all;
  std::string after;
  for (;;) {
    Call call{.route = Route::usage, .query = {{"by", what}}};
    if (!after.empty()) call.query.emplace_back("after", after);
    auto answer = connection_->call(call, limit);
    if (!answer) return answer.error();
    auto page = member<std::vector<UsageInfo>>(*answer, "usage");
    if (!page) return page.error();
    all.insert(all.end(), page->begin(), page->end());
    auto next = member<std::string>(*answer, "next");
    if (!next || *next == after) return all;
    after = std::move(*next);
  }
}

Result<StorageCheck> Resources::check(CallOptions options) const {
  auto answer = connection_->call({.route = Route::check}, options);
  return answer ? member<StorageCheck>(*answer, "check") : answer.error();
}

}  // namespace spell
