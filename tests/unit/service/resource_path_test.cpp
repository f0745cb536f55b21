#include "service/resource_path.hpp"

#include <unistd.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "catch.hpp"
#include "net/spool.hpp"
#include "spellfs/node.hpp"
#include "spellfs/tree.hpp"

using namespace spell;
using namespace spell::service;

namespace {

struct Database {
  std::string path = "/tmp/spell-paths-" + base::hex(base::random_bytes(6));
  std::optional<store::Writer> writer;
  Database() {
    REQUIRE(base::make_folders(path));
    auto opened = store::Writer::open(path + "/spell.db");
    REQUIRE(opened);
    writer.emplace(std::move(*opened));
  }
  ~Database() { (void)base::remove_tree(path); }
  Result<ResourcePath> resolve(const std::string& what, const std::string& owner = "ada") {
    return service::resolve(*writer, owner, what);
  }
  std::string why_not(const std::string& what) {
    auto place = resolve(what);
    return place ? "" : place.error().code();
  }
};

/// Counts what is read of a store.
class Counting : public spellfs::ChunkStore {
 public:
  explicit Counting(spellfs::ChunkStore& store) : store_(store) {}
  Result<std::string> get(spellfs::Kind kind, const spellfs::Name& name) const override {
    ++gets;
    return store_.get(kind, name);
  }
  Result<std::vector<spellfs::Name>> missing(const std::string& owner,
                                             std::span<const spellfs::Name> n) const override {
    return store_.missing(owner, n);
  }
  Result<> add_pack(const std::string& owner, int fd, std::int64_t size) override {
    return store_.add_pack(owner, fd, size);
  }
  Result<bool> owns(const std::string& owner, const spellfs::Name& name) const override {
    return store_.owns(owner, name);
  }
  std::int64_t stored_bytes() const override { return store_.stored_bytes(); }
  mutable int gets = 0;

 private:
  spellfs::ChunkStore& store_;
};

std::string numbered(int n) {
  std::string digits = std::to_string(n);
  return "file-" + std::string(6 - digits.size(), '0') + digits;
}

}  // namespace

TEST_CASE("runs/7+ is what the run has saved with which the chain of run 7 ends") {
  Database db;
  auto put = [&](std::int64_t number, const std::string& status, std::int64_t from,
                 std::int64_t as) {
    store::RunRecord run;
    run.id = std::string(31, 'a') + std::to_string(number);
    run.owner = "ada";
    run.number = number;
    run.status = status;
    run.request.command = "true";
    run.resumed_from = from;
    run.resumed_as = as;
    run.outputs = spellfs::name_of(spellfs::Kind::folder, std::to_string(number)).text();
    REQUIRE(db.writer->insert_run(run));
    return run;
  };
  auto run_of = [&](const std::string& path) {
    auto place = db.resolve(path);
    REQUIRE(place);
    return place->run;
  };
  auto first = put(2, "interrupted", 0, 5);
  put(5, "interrupted", 2, 7);
  auto last = put(7, "running", 5, 0);
  put(8, "complete", 0, 0);
  CHECK(run_of("runs/2") == 2);
  for (auto* path : {"runs/2+", "runs/5+/x", "runs/7+"}) CHECK(run_of(path) == 7);
  CHECK(run_of("runs/8+") == 8);
  auto place = db.resolve("runs/2+/x/y");
  CHECK(place->path == "runs/2+/x/y");
  CHECK(place->below == "x/y");
  CHECK(place->run_status == "running");
  CHECK(place->root->node.text() == last.outputs);
  for (auto* path : {"runs/+", "runs/2++", "runs/x+", "runs/-2+", "runs/0+", "runs/3+", "runs/2 +"})
    CHECK(db.why_not(path) == "resource_not_found");
  // A success that came late ends the chain where it was.
  first.status = "complete";
  first.exit_code = 0;
  last.status = "killed";
  last.reason_code = "chain_complete";
  last.resumed_from = 2;
  REQUIRE(db.writer->update_run(first));
  REQUIRE(db.writer->update_run(last));
  CHECK(run_of("runs/2+") == 2);
  CHECK(run_of("runs/7+") == 2);
}

TEST_CASE("a resource's path names a run's outputs, an upload, or what is below") {
  Database db;
  store::RunRecord run;
  run.id = std::string(32, 'a');
  run.owner = "ada";
  run.number = 7;
  run.status = "running";
  run.request.command = "true";
  REQUIRE(db.writer->insert_run(run));
  auto unfinished = db.resolve("runs/7/out/x");
  REQUIRE(unfinished);
  CHECK(unfinished->kind == ResourcePath::Kind::tree);
  CHECK(unfinished->run == 7);
  CHECK(unfinished->run_status == "running");
  CHECK_FALSE(unfinished->root);
  run.status = "complete";
  run.outputs = spellfs::name_of(spellfs::Kind::folder, "x").text();
  run.output_bytes = 5;
  REQUIRE(db.writer->update_run(run));
  auto finished = db.resolve("runs/7/out/x");
  REQUIRE(finished);
  REQUIRE(finished->root);
  CHECK(finished->root->node.text() == run.outputs);
  CHECK(finished->root->size == 5);
  CHECK(finished->below == "out/x");

  store::UploadRecord upload{"ada", "data", "file", "", 0, 1, 0640, 9, 8, "ada"};
  REQUIRE(db.writer->put_upload(upload));
  upload.owner = "public";
  upload.name = "shared";
  upload.type = "folder";
  upload.node = spellfs::name_of(spellfs::Kind::folder, "y").text();
  upload.size = 12;
  REQUIRE(db.writer->put_upload(upload));
  auto file = db.resolve("uploads/data");
  REQUIRE(file);
  REQUIRE(file->root);
  CHECK(file->root->type == spellfs::EntryType::file);
  CHECK(file->root->mode == 0640);
  CHECK(file->root->mtime_ns == 9000);
  CHECK(file->root->node == spellfs::Name{});
  for (auto owner : {"ada", "bob"}) {
    auto shared = db.resolve("public/shared/a", owner);
    REQUIRE(shared);
    CHECK(shared->owner == "public");
    CHECK(shared->root->size == 12);
    CHECK(shared->below == "a");
  }

  CHECK(db.resolve("")->kind == ResourcePath::Kind::top);
  CHECK(db.resolve("runs")->kind == ResourcePath::Kind::runs);
  CHECK(db.resolve("uploads")->kind == ResourcePath::Kind::uploads);
  CHECK(db.resolve("public")->kind == ResourcePath::Kind::shared);
  for (auto none : {"x", "run/7", "runs/8", "runs/x", "runs/0", "runs/-7", "runs/+7", "uploads/x",
                    "uploads/shared", "public/data"})
    CHECK(db.why_not(none) == "resource_not_found");
  for (auto bad : {"/runs/7", "runs//7", "runs/7/", "runs/7/..", "./runs/7"})
    CHECK(db.why_not(bad) == "invalid_path");
  // Another's are not found.
  for (auto path : {"runs/7", "uploads/data"})
    CHECK(service::resolve(*db.writer, "bob", path).error().code() == "resource_not_found");
}

TEST_CASE("an alias is replaced, once") {
  Database db;
  store::UploadRecord upload{"ada", "data", "folder", "", 0, 1, 0755, 9, 8, "ada"};
  REQUIRE(db.writer->put_upload(upload));
  REQUIRE(db.writer->put_link("ada", {"d", "uploads/data/train", 1, ""}));
  REQUIRE(db.writer->put_link("ada", {"gone", "uploads/none", 1, ""}));
  auto place = db.resolve("d/images/1");
  REQUIRE(place);
  CHECK(place->path == "uploads/data/train/images/1");
  CHECK(place->upload == "data");
  CHECK(place->below == "train/images/1");
  CHECK(db.why_not("gone/x") == "resource_not_found");
  CHECK(service::resolve(*db.writer, "bob", "d").error().code() == "resource_not_found");
}

TEST_CASE("names of uploads") {
  for (auto good : {"a", "with space", "ü", "-v", "...", ".x", "a\\b", "100%"})
    CHECK(valid_upload_name(good));
  for (auto bad : {"", ".", "..", "a/b", "a:b", "a\nb", "\x7f", "\xff", "\xc2\x85"})
    CHECK_FALSE(valid_upload_name(bad));
  CHECK(valid_upload_name(std::string(255, 'x')));
  CHECK_FALSE(valid_upload_name(std::string(256, 'x')));
}

TEST_CASE("a page of a folder of 100,000 entries, and one of them, cost a few nodes") {
  auto memory = spellfs::make_memory_store();
  auto spool = net::unnamed_file("/tmp");
  REQUIRE(spool);
  spellfs::PackWriter pack(spool->get());
  spellfs::Emit emit = [&](spellfs::Kind kind, const spellfs::Name& name, std::string bytes) {
    return pack.add(kind, name, bytes);
  };
  spellfs::TreeBuilder builder(spellfs::Kind::folder, emit);
  constexpr int count = 100'000;
  for (int n = 0; n < count; ++n) {
    spellfs::Entry entry;
    entry.name = numbered(n);
    REQUIRE(builder.add(entry));
  }
  auto root = builder.finish();
  REQUIRE(root);
  auto size = pack.finish();
  REQUIRE(size);
  REQUIRE(memory->add_pack("ada", spool->get(), *size));

  Counting store(*memory);
  for (int from : {0, 50'000, 98'999}) {
    store.gets = 0;
    auto page = spellfs::list(store, root->node, numbered(from), 1000);
    REQUIRE(page);
    REQUIRE(page->size() == 1000);
    CHECK(page->front().name == numbered(from + 1));
    CHECK(store.gets <= 1000 / spellfs::min_items + 8);
  }
  ResourcePath place;
  place.root.emplace();
  place.root->type = spellfs::EntryType::folder;
  place.root->node = root->node;
  place.below = numbered(77'777);
  store.gets = 0;
  auto entry = entry_at(store, place);
  REQUIRE(entry);
  CHECK(entry->name == numbered(77'777));
  CHECK(store.gets <= 8);
  place.below = "none";
  CHECK(entry_at(store, place).error().code() == "resource_not_found");
}
