// What the tests of this module share: a temporary folder, fixed pseudo-random bytes, packs by
// hand.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "catch.hpp"
#include "spellfs/node.hpp"
#include "spellfs/pack.hpp"
#include "spellfs/pack_store.hpp"
#include "spellfs/store.hpp"
#include "spellfs/tree.hpp"

namespace spell::spellfs {

struct TemporaryFolder {
  std::filesystem::path path;
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "spellfs-XXXXXX").string();
    if (!::mkdtemp(name.data())) std::abort();
    path = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& below) const { return (path / below).string(); }
};

inline void write(const std::string& path, std::string_view bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline std::string golden(const std::string& name) {
  return slurp(SPELL_SOURCE_DIR "/tests/unit/spellfs/golden/" + name);
}

/// SplitMix64: the same bytes everywhere. The test vectors depend on it.
inline std::string noise(std::size_t size, std::uint64_t seed) {
  std::string out;
  out.reserve(size + 8);
  while (out.size() < size) {
    std::uint64_t z = (seed += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    for (int i = 0; i < 8; ++i) out += static_cast<char>(z >> (8 * i));
  }
  out.resize(size);
  return out;
}

/// A pack in an unnamed file.
struct PackInFile {
  base::Fd fd;
  PackWriter writer;
  std::int64_t size = 0;
  PackInFile() : fd(make()), writer(fd.get()) {}
  static base::Fd make() {
    std::string name = (std::filesystem::temp_directory_path() / "spellfs-pack-XXXXXX").string();
    int fd = ::mkstemp(name.data());
    ::unlink(name.c_str());
    return base::Fd(fd);
  }
  Name add(Kind kind, std::string_view bytes) {
    Name name = name_of(kind, bytes);
    writer.add(kind, name, bytes).value();
    return name;
  }
  void finish() { size = writer.finish().value(); }
  std::string bytes() const {
    std::string out(static_cast<std::size_t>(size), '\0');
    base::pread_full(fd.get(), out.data(), out.size(), 0).value();
    return out;
  }
};

/// Bytes as a file for add_pack.
inline Result<> add_bytes(ChunkStore& store, const std::string& owner, std::string_view bytes) {
  base::Fd fd = PackInFile::make();
  base::pwrite_all(fd.get(), bytes, 0).value();
  return store.add_pack(owner, fd.get(), static_cast<std::int64_t>(bytes.size()));
}

/// Encoded objects of one file or folder, in the order in which they are made.
struct Collected {
  std::vector<std::pair<Kind, std::string>> objects;
  Emit emit = [this](Kind kind, const Name&, std::string bytes) {
    objects.emplace_back(kind, std::move(bytes));
    return ok();
  };
};

inline Name fake_name(int number) { return name_of(Kind::chunk, std::to_string(number)); }

}  // namespace spell::spellfs
