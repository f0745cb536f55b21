#include <algorithm>

#include "spellfs/bytes.hpp"
#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;

namespace {

Entry file_entry(const std::string& name, std::int64_t size, int number) {
  Entry entry;
  entry.name = name;
  entry.mode = 0644;
  entry.mtime_ns = 1'700'000'000'123'456'789 + number;
  entry.size = size;
  if (size > 0) entry.node = fake_name(number);
  return entry;
}

/// One of each kind, with everything that an entry can hold.
std::vector<Entry> varied_entries() {
  std::vector<Entry> out;
  out.push_back(file_entry("-rf", 3, 1));
  Entry folder;
  folder.name = "a folder";
  folder.type = EntryType::folder;
  folder.mode = 02755;
  folder.mtime_ns = -5;
  folder.size = 123'456'789'012;
  folder.files = 77;
  folder.depth = 4;
  folder.node = fake_name(2);
  out.push_back(folder);
  out.push_back(file_entry("empty", 0, 3));
  Entry link;
  link.name = "line\nfeed";
  link.type = EntryType::link;
  link.mode = 0777;
  link.target = "../../outside";
  out.push_back(link);
  Entry attributed = file_entry("xattr", max_size - 123'456'789'012 - 3, 5);
  attributed.mode = 07777;
  attributed.xattrs = {{"user.a", ""}, {"user.b", std::string("\0\xff", 2)}};
  out.push_back(attributed);
  out.push_back(file_entry(std::string(255, '\xfe'), 0, 6));
  return out;
}

std::string encode_folder(const std::vector<Entry>& entries) {
  Collected made;
  TreeBuilder builder(Kind::folder, made.emit);
  for (auto& entry : entries) builder.add(entry).value();
  builder.finish().value();
  REQUIRE(made.objects.size() == 1);
  return made.objects[0].second;
}

std::vector<Piece> varied_pieces() {
  return {{fake_name(1), 1},
          {std::nullopt, 1LL << 40},
          {fake_name(2), 512 << 10},
          {std::nullopt, 70'000}};
}

std::string encode_file(const std::vector<Piece>& pieces) {
  Collected made;
  TreeBuilder builder(Kind::file, made.emit);
  for (auto& piece : pieces) builder.add(piece).value();
  builder.finish().value();
  REQUIRE(made.objects.size() == 1);
  return made.objects[0].second;
}

/// All items of a tree, in order, by way of its nodes.
template <class Item>
void collect(const std::map<Name, std::string>& objects, const Name& name, std::vector<Item>& out) {
  if constexpr (std::is_same_v<Item, Entry>) {
    auto node = decode_folder_node(objects.at(name)).value();
    out.insert(out.end(), node.entries.begin(), node.entries.end());
    for (auto& child : node.children) collect(objects, child.node, out);
  } else {
    auto node = decode_file_node(objects.at(name)).value();
    out.insert(out.end(), node.pieces.begin(), node.pieces.end());
    for (auto& child : node.children) collect(objects, child.node, out);
  }
}

std::map<Name, std::string> by_name(const Collected& made) {
  std::map<Name, std::string> out;
  for (auto& [kind, bytes] : made.objects) out[name_of(kind, bytes)] = bytes;
  return out;
}

}  // namespace

TEST_CASE("a folder node holds all that an entry has") {
  auto entries = varied_entries();
  std::string bytes = encode_folder(entries);
  auto node = decode_folder_node(bytes);
  REQUIRE(node);
  CHECK(node->level == 0);
  CHECK(node->entries == entries);
  CHECK(node->totals == Totals{max_size, 77 + 5, 5});
  CHECK(bytes == golden("folder-node-v1.bin"));
}

TEST_CASE("a file node holds chunks and holes") {
  auto pieces = varied_pieces();
  std::string bytes = encode_file(pieces);
  auto node = decode_file_node(bytes);
  REQUIRE(node);
  CHECK(node->pieces == pieces);
  CHECK(node->totals.size == 1 + (1LL << 40) + (512 << 10) + 70'000);
  CHECK(bytes == golden("file-node-v1.bin"));
}

TEST_CASE("adjacent holes are one, and an empty folder is a node") {
  CHECK(encode_file({{fake_name(1), 5}, {std::nullopt, 3}, {std::nullopt, 4}}) ==
        encode_file({{fake_name(1), 5}, {std::nullopt, 7}}));
  auto node = decode_folder_node(encode_folder({}));
  REQUIRE(node);
  CHECK(node->entries.empty());
  CHECK(node->totals == Totals{0, 0, 1});
}

TEST_CASE("a large folder is a tree of nodes, and a change in it writes a few anew") {
  std::vector<Entry> entries;
  for (int i = 0; i < 20'000; ++i) {
    char name[16];
    std::snprintf(name, sizeof name, "f%06d", i);
    entries.push_back(file_entry(name, 100, i));
  }
  auto build = [](const std::vector<Entry>& all, Collected& made) {
    TreeBuilder builder(Kind::folder, made.emit);
    for (auto& entry : all) builder.add(entry).value();
    return builder.finish().value();
  };
  Collected made;
  Child root = build(entries, made);
  CHECK(root.totals == Totals{2'000'000, 20'000, 1});
  auto before = by_name(made);
  CHECK(before.size() > 20'000 / 256);
  CHECK(before.size() < 20'000 / 64);
  std::vector<Entry> found;
  collect(before, root.node, found);
  CHECK(found == entries);

  SECTION("a changed file") { entries[10'000].node = fake_name(-1); }
  SECTION("a new file") { entries.insert(entries.begin() + 12'345, file_entry("f012344x", 9, -2)); }
  SECTION("a removed file") { entries.erase(entries.begin() + 77); }
  Collected again;
  build(entries, again);
  std::size_t fresh = 0;
  for (auto& [name, bytes] : by_name(again)) fresh += !before.contains(name);
  CHECK(fresh <= 6);
}

TEST_CASE("a large file is a tree of nodes") {
  std::vector<Piece> pieces;
  for (int i = 0; i < 30'000; ++i) {
    if (i % 7 == 3)
      pieces.push_back({std::nullopt, 100'000 + i});
    else
      pieces.push_back({fake_name(i), 1000 + i});
  }
  Collected made;
  TreeBuilder builder(Kind::file, made.emit);
  for (auto& piece : pieces) builder.add(piece).value();
  Child root = builder.finish().value();
  std::vector<Piece> found;
  collect(by_name(made), root.node, found);
  CHECK(found == pieces);
  CHECK(decode_file_node(by_name(made).at(root.node))->level >= 1);
}

TEST_CASE("equal chunks without end are bounded nodes, too") {
  Collected made;
  TreeBuilder builder(Kind::file, made.emit);
  for (int i = 0; i < 5'000; ++i) builder.add(Piece{fake_name(4), 512 << 10}).value();
  CHECK(builder.finish().value().totals.size == 5'000LL * (512 << 10));
  for (auto& [kind, bytes] : made.objects) CHECK(bytes.size() <= max_node);
}

TEST_CASE("nodes stay small when every entry is huge") {
  Collected made;
  TreeBuilder builder(Kind::folder, made.emit);
  for (int i = 0; i < 300; ++i) {
    Entry link;
    char name[8];
    std::snprintf(name, sizeof name, "%03d", i);
    link.name = name + std::string(252, 'x');
    link.type = EntryType::link;
    link.target = std::string(max_target, 'y');
    builder.add(link).value();
  }
  Child root = builder.finish().value();
  CHECK(root.totals.files == 300);
  for (auto& [kind, bytes] : made.objects) CHECK(bytes.size() <= max_node + 16);
}

TEST_CASE("every cut and every wrong bit of a node is refused or read within bounds") {
  for (auto& bytes : {encode_folder(varied_entries()), encode_file(varied_pieces())}) {
    auto accepted = [](const std::string& b) {
      return decode_folder_node(b).ok() || decode_file_node(b).ok();
    };
    CHECK(accepted(bytes));
    for (std::size_t cut = 0; cut < bytes.size(); ++cut)
      CHECK_FALSE(accepted(bytes.substr(0, cut)));
    CHECK_FALSE(accepted(bytes + '\0'));
    for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
      std::string flipped = bytes;
      flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << i % 8));
      // What is still a node must be the canonical encoding of what was read from it.
      if (auto node = decode_folder_node(flipped); node && node->level == 0)
        CHECK(encode_folder(node->entries) == flipped);
      if (auto node = decode_file_node(flipped); node && node->level == 0)
        CHECK(encode_file(node->pieces) == flipped);
    }
  }
}

TEST_CASE("a folder node with a name that no file can have is refused") {
  auto with_name = [](const std::string& name) {
    std::string bytes("\x01\x00\x01\x03", 4);  // version, level 0, one entry: a link
    put_text(bytes, name);
    put_varint(bytes, 0777);
    put_fixed(bytes, 0, 8);
    put_text(bytes, "target");
    put_varint(bytes, 0);
    return decode_folder_node(bytes);
  };
  CHECK(with_name("fine"));
  CHECK(with_name("\xff\xfe"));
  CHECK(with_name("..."));
  CHECK(with_name(std::string(255, 'x')));
  for (std::string wrong : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                            std::string("/"), std::string("a\0b", 3), std::string(256, 'x')}) {
    auto node = with_name(wrong);
    REQUIRE_FALSE(node);
    CHECK(node.error().code() == "bad_node");
  }
}

TEST_CASE("nodes out of order, too deep, too large or of another version are refused") {
  std::string good = encode_folder({file_entry("a", 1, 1), file_entry("b", 1, 2)});
  std::string swapped = good;
  std::swap(swapped[swapped.find('a', 4)], swapped[swapped.find('b', 4)]);
  CHECK_FALSE(decode_folder_node(swapped));
  std::string version = good;
  version[0] = 2;
  CHECK_FALSE(decode_folder_node(version));
  std::string level = good;
  level[1] = max_level + 1;
  CHECK_FALSE(decode_folder_node(level));
  CHECK_FALSE(decode_folder_node(std::string(max_object + 1, '\1')));

  Collected made;
  Entry deep;
  deep.name = "deep";
  deep.type = EntryType::folder;
  for (auto [depth, fits] :
       {std::pair(0, false), {1, true}, {max_depth - 1, true}, {max_depth, false}}) {
    deep.depth = depth;
    TreeBuilder builder(Kind::folder, made.emit);
    CHECK(builder.add(deep).ok() == fits);
  }
  TreeBuilder sums(Kind::folder, made.emit);
  CHECK(sums.add(file_entry("a", max_size, 1)));
  CHECK_FALSE(sums.add(file_entry("b", 1, 1)));
}

TEST_CASE("a varint has one form") {
  for (std::int64_t value :
       {std::int64_t{0}, std::int64_t{127}, std::int64_t{128}, std::int64_t{300}, INT64_MAX}) {
    std::string bytes;
    put_varint(bytes, value);
    ByteReader in(bytes);
    CHECK(in.varint(INT64_MAX) == value);
    CHECK(in.done());
    if (value == 0) continue;
    ByteReader limited(bytes);
    limited.varint(value - 1);
    CHECK(limited.failed());
  }
  for (std::string wrong : {std::string("\x80\x00", 2), std::string("\xff\x80\x00", 3),
                            std::string("\x80"), std::string(10, '\xff'), std::string()}) {
    ByteReader in(wrong);
    in.varint(INT64_MAX);
    CHECK(in.failed());
  }
}
