#include "support.hpp"

using namespace spell;
using namespace spell::spellfs;

namespace {

std::string tiny_folder(const Name& chunk, std::int64_t size) {
  Collected made;
  TreeBuilder builder(Kind::folder, made.emit);
  Entry entry;
  entry.name = "h";
  entry.mode = 0600;
  entry.mtime_ns = 7;
  entry.size = size;
  entry.node = chunk;
  builder.add(entry).value();
  builder.finish().value();
  return made.objects[0].second;
}

std::string simple_pack() {
  PackInFile pack;
  Name chunk = pack.add(Kind::chunk, "hello, pack");
  pack.add(Kind::folder, tiny_folder(chunk, 11));
  pack.finish();
  return pack.bytes();
}

struct Opened {
  base::Fd fd = PackInFile::make();
  Result<PackFileReader> pack;
  explicit Opened(const std::string& bytes) {
    base::pwrite_all(fd.get(), bytes, 0).value();
    pack = PackFileReader::open(fd.get(), static_cast<std::int64_t>(bytes.size()));
  }
};

}  // namespace

TEST_CASE("pack v1 is written as the format says") {
  CHECK(simple_pack() == golden("pack-v1.bin"));
}

TEST_CASE("pack v1 with an owner, and an object that lies elsewhere, is read") {
  Opened opened(golden("owned-pack-v1.bin"));
  REQUIRE(opened.pack);
  CHECK(opened.pack->owner() == "alice");
  REQUIRE(opened.pack->frames().size() == 2);
  CHECK(opened.pack->frames()[0].codec == Codec::elsewhere);
  CHECK(opened.pack->frames()[0].name == name_of(Kind::chunk, "hello, pack"));
  auto& folder = opened.pack->frames()[1];
  Decompressor decompressor;
  CHECK(decompressor.unpack(folder, opened.pack->stored(folder).value()).value() ==
        tiny_folder(name_of(Kind::chunk, "hello, pack"), 11));
}

TEST_CASE("what goes into a pack comes out, compressed only where that pays") {
  std::vector<std::string> objects = {noise(1, 1),           noise(16 << 10, 2),
                                      noise(512 << 10, 3),   std::string(512 << 10, 'a'),
                                      std::string(100, 'b'), noise(40 << 10, 4)};
  // A compressible end does not pay for an incompressible rest.
  objects.back() += std::string(100, 'x');
  PackInFile pack;
  for (auto& bytes : objects) pack.add(Kind::chunk, bytes);
  for (auto& bytes : objects) CHECK(pack.writer.has(name_of(Kind::chunk, bytes)));
  std::int64_t before = pack.writer.bytes();
  pack.add(Kind::chunk, objects[1]);
  CHECK(pack.writer.bytes() == before);
  CHECK(pack.writer.objects() == 6);
  pack.finish();
  auto read = PackFileReader::open(pack.fd.get(), pack.size);
  REQUIRE(read);
  Decompressor decompressor;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    Frame frame = read->frames()[i];
    CHECK(decompressor.unpack(frame, read->stored(frame).value()).value() == objects[i]);
    CHECK((frame.codec == Codec::zstd) == (i == 3 || i == 4));
    CHECK(read_stored(pack.fd.get(), frame).value() == read->stored(frame).value());
  }
}

TEST_CASE("objects of no or too much size do not go into a pack") {
  PackInFile pack;
  CHECK_FALSE(pack.writer.add(Kind::chunk, fake_name(1), ""));
  CHECK_FALSE(pack.writer.add(Kind::chunk, fake_name(1), std::string(max_object + 1, 'x')));
}

TEST_CASE("what is sent in packs has few objects in each, and a pack of very many is refused") {
  auto fd = PackInFile::make();
  std::vector<std::int64_t> sizes;
  PackPlace place{fd.get(), 1 << 30};
  PackWriter writer(place, [&](std::int64_t size) -> Result<PackPlace> {
    sizes.push_back(size);
    return place;
  });
  for (std::size_t i = 0; i <= usual_pack_objects; ++i)
    writer.add(Kind::chunk, fake_name(static_cast<int>(i)), "x").value();
  CHECK(sizes.size() == 1);
  CHECK(writer.objects() == 1);

  PackInFile pack;
  for (std::uint64_t i = 0; i <= max_sent_objects; ++i)
    pack.writer.add(Kind::chunk, fake_name(static_cast<int>(i)), "x").value();
  pack.finish();
  CHECK(PackFileReader::open(pack.fd.get(), pack.size));
  auto store = make_memory_store();
  auto refused = store->add_pack("ann", pack.fd.get(), pack.size);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == "bad_pack");
  CHECK(refused.error().message().find("too many at once") != std::string::npos);
}

TEST_CASE("a pack that is cut anywhere is refused") {
  std::string bytes = simple_pack();
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    Opened opened(bytes.substr(0, cut));
    REQUIRE_FALSE(opened.pack);
    CHECK(opened.pack.error().code() == "bad_pack");
  }
  CHECK_FALSE(Opened(bytes + '\0').pack);
}

TEST_CASE("a wrong bit of a pack is found wherever it is") {
  std::string bytes = simple_pack();
  Decompressor decompressor;
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    std::string flipped = bytes;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << i % 8));
    Opened opened(flipped);
    bool found = !opened.pack;
    if (opened.pack) {
      for (auto& frame : opened.pack->frames()) {
        auto stored = opened.pack->stored(frame);
        found = found || !stored || !decompressor.unpack(frame, *stored);
      }
    }
    REQUIRE(found);
  }
}

TEST_CASE("compressed bytes that are longer or shorter than they say are damaged") {
  std::string bytes(1000, 'a');
  Frame frame;
  frame.name = name_of(Kind::chunk, bytes);
  Compressor compressor;
  std::string stored(compressor.squeeze(frame, bytes));
  REQUIRE(frame.codec == Codec::zstd);
  Decompressor decompressor;
  CHECK(decompressor.unpack(frame, stored).value() == bytes);
  for (int by : {-1, 1}) {
    Frame wrong = frame;
    wrong.raw += static_cast<std::uint32_t>(by);
    CHECK(decompressor.unpack(wrong, stored).error().code() == "damaged");
  }
  CHECK_FALSE(decompressor.unpack(frame, stored.substr(0, stored.size() - 1)));
  CHECK_FALSE(decompressor.unpack(frame, "garbage"));
}
