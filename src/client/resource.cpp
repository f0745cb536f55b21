#include "spell/resource.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "client/file_reader.hpp"
#include "client/listing.hpp"
#include "spell/json.hpp"

namespace spell {

using namespace detail;

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

Result<Listing> detail::list_all(Connection& connection, const std::string& path,
                                 const Limit& limit) {
  auto plain = plain_path(path);
  if (!plain) return plain.error();
  Listing listing;
  std::string after;
  for (;;) {
    Call call{
        .route = model::Route::list_resource, .names = {*plain}, .query = {{"limit", "10000"}}};
    if (!after.empty()) call.query.emplace_back("after", after);
    auto answer = connection.call(call, limit);
    if (!answer) return answer.error();
    auto resource = member<ResourceInfo>(*answer, "resource");
    if (!resource) return resource.error();
    auto entries = member<std::vector<ResourceInfo>>(*answer, "entries");
    if (!entries) return entries.error();
    listing.resource = std::move(*resource);
    if (listing.resource.type != EntryType::folder) return listing;
    listing.entries.insert(listing.entries.end(), std::make_move_iterator(entries->begin()),
                           std::make_move_iterator(entries->end()));
    auto next = member<std::string>(*answer, "next");
    if (!next || *next == after) return listing;
    after = *next;
  }
}

Result<std::vector<ResourceInfo>> Resources::list(const std::string& path,
                                                  CallOptions options) const {
  auto listing = list_all(*connection_, path, Limit(options, connection_->waiter()));
  if (!listing) return listing.error();
  if (listing->resource.type != EntryType::folder)
    return std::vector<ResourceInfo>{listing->resource};
  return std::move(listing->entries);
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

}  // namespace spell
