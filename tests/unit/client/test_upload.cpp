#include <unistd.h>

#include "base/hash.hpp"
#include "catch.hpp"
#include "client/pack_sender.hpp"
#include "fake.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"
#include "spellfs/store.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::test;

namespace {

/// A service with a store: what it was sent, and how much of it.
struct UploadTarget : World {
  TemporaryFolder folder;
  std::unique_ptr<spellfs::ChunkStore> store = spellfs::make_memory_store();
  std::vector<std::int64_t> packs;
  std::vector<json> puts;
  int refusals = 0;  ///< of the last step, that many times

  UploadTarget() {
    transport->serve = [this](const net::ClientRequest& request) { return answer(request); };
  }
  Answer answer(const net::ClientRequest& request) {
    auto target = target_of(request);
    std::string owner = target.segments.size() > 2 ? target.segments[2] : "";
    if (target.segments.back() == "missing") {
      std::vector<spellfs::Name> names;
      json body = json::parse(request.body);
      for (auto& name : body.at("names"))
        names.push_back(*spellfs::Name::parse(name.get<std::string>()));
      json out = json::array();
      for (auto& name : store->missing(owner, names).value()) out.push_back(name.text());
      return {200, json{{"names", out}}.dump()};
    }
    if (target.segments.back() == "objects") {
      packs.push_back(request.body_size);
      auto taken = store->add_pack(owner, request.body_fd, request.body_size);
      REQUIRE(taken.ok());
      return {200, "{}"};
    }
    if (request.method == "PUT") {
      if (refusals-- > 0)
        return {409, R"({"error":{"code":"incomplete_pack","message":"something is gone"}})"};
      json body = json::parse(request.body);
      if (auto name = spellfs::Name::parse(body["node"].get<std::string>()))
        CHECK(store->owns(owner, *name).value());
      puts.push_back(body);
      body["name"] = target.segments.back();
      body["creator"] = owner;
      body.erase("mode");
      body.erase("modified_at");
      return {200, json{{"upload", body}}.dump()};
    }
    return {200, "{}"};
  }
  void write(const std::string& name, const std::string& bytes) {
    REQUIRE(base::write_file(folder.path + "/" + name, bytes));
  }
  Result<UploadInfo> upload(const UploadOptions& options = {}, const CallOptions& call = {}) {
    UploadOptions named = options;
    if (named.name.empty()) named.name = "x";
    return Resources(connection).upload(folder.path, named, call);
  }
};

}  // namespace

TEST_CASE("an upload is sent in packs of bounded size, and named when all is there") {
  UploadTarget target;
  for (int i = 0; i < 5; ++i)
    target.write(std::to_string(i), std::to_string(i) + base::random_bytes(20 << 20));
  auto info = target.upload().value();
  CHECK(target.packs.size() == 4);
  for (auto size : target.packs) CHECK(size < detail::PackSender::pack_size + (2 << 20));
  CHECK(info.name == "x");
  CHECK(info.files == 5);
  CHECK(info.sent > 100 << 20);
  CHECK(info.deduplicated == 0);
  CHECK(target.puts.size() == 1);
  SECTION("again: nothing") {
    auto again = target.upload({.name = "public/y"});
    // Another owner's: what one has sent is not the other's.
    CHECK(again.value().sent > 100 << 20);
    again = target.upload();
    CHECK(again.value().sent == 0);
    CHECK(again.value().deduplicated == again.value().size);
    CHECK(target.packs.size() == 8);
  }
}

TEST_CASE("an upload arrives whichever step is lost") {
  for (int failing = 1;; ++failing) {
    UploadTarget target;
    target.write("a", base::random_bytes(100'000));
    bool failed = false;
    target.transport->fault = [&](int step) {
      if (step != failing) return Fault::none;
      failed = true;
      return failing % 2 ? Fault::lost_before : Fault::lost_after;
    };
    INFO("step " << failing);
    REQUIRE(target.upload().ok());
    if (!failed) break;
  }
}

TEST_CASE("what went away between question and name is sent again, once") {
  UploadTarget target;
  target.write("a", "bytes");
  target.refusals = GENERATE(1, 2);
  bool once = target.refusals == 1;
  auto info = target.upload();
  CHECK(info.ok() == once);
  if (!once) CHECK(info.error().code() == "incomplete_pack");
}

TEST_CASE("a canceled upload ends, and leaves what it sent") {
  UploadTarget target;
  for (int i = 0; i < 6; ++i) target.write(std::to_string(i), base::random_bytes(20 << 20));
  std::stop_source stop;
  UploadOptions options;
  options.progress = [&](const CopyProgress& progress) {
    std::lock_guard lock(target.transport->mutex);
    if (!target.packs.empty() && progress.bytes > 50 << 20) stop.request_stop();
  };
  auto info = target.upload(options, {.stop = stop.get_token()});
  REQUIRE_FALSE(info.ok());
  CHECK(info.error().code() == "canceled");
  CHECK(target.puts.empty());
  auto arrived = target.store->stored_bytes();
  CHECK(arrived > detail::PackSender::pack_size * 9 / 10);
  auto rest = target.upload().value();
  CHECK(rest.sent < (120 << 20) - arrived + (1 << 20));
}

TEST_CASE("progress ends with all there is") {
  UploadTarget target;
  for (int i = 0; i < 3; ++i) target.write(std::to_string(i), base::random_bytes(1 << 20));
  CopyProgress last;
  UploadOptions options;
  options.progress = [&](const CopyProgress& progress) {
    CHECK(progress.bytes <= progress.total_bytes);
    last = progress;
  };
  REQUIRE(target.upload(options).ok());
  CHECK(last.bytes == 3 << 20);
  CHECK(last.total_bytes == 3 << 20);
}
