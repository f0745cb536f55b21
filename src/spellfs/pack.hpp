// Pack v1: many objects in one immutable file. This header is for the inside of the module; others
// use PackWriter (store.hpp).
//
//   pack     header · frames · index · trailer
//   header   "spellpk" (7 bytes) · version (byte, 1) · owner's length (2 bytes) · owner
//   frame    kind (byte) · codec (byte) · 0 (2 bytes) · raw length (4) · stored length (4)
//            · name (32) · stored bytes
//   index    for each frame, in order: its first 44 bytes · its offset (8)
//   trailer  index offset (8) · count (8) · SHA-256 (header ‖ index ‖ the 16 bytes before) ·
//            "spellend" (8 bytes)
//
// Fixed integers, little-endian. Codecs: 0 raw; 1 zstd; 2 elsewhere: no bytes here, but this owner
// sent the object, and another pack of the store holds it. An object comes after all that it names,
// so one pass can check a pack, and what is left of a cut one is whole in itself. Bytes are covered
// by their frame's name, everything else by the checksum.
//
// On the way to a store the owner is empty and there is no codec 2; a store's own packs name their
// owner, so that who may read what can be rebuilt from them alone.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spell/result.hpp"
#include "spellfs/object.hpp"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace spell::spellfs {

inline constexpr int pack_version = 1;
inline constexpr std::size_t frame_head_size = 44;
/// What is made here has no more objects than that: they are held in memory until it is done.
inline constexpr std::size_t usual_pack_objects = 64 << 10;
/// What is sent with more is refused.
inline constexpr std::uint64_t max_sent_objects = 4 * usual_pack_objects;

enum class Codec : std::uint8_t { raw = 0, zstd = 1, elsewhere = 2 };

struct Frame {
  Kind kind = Kind::chunk;
  Codec codec = Codec::raw;
  std::uint32_t raw = 0, stored = 0;  ///< lengths
  std::int64_t offset = 0;            ///< of the frame in the pack
  Name name{};
};

/// Compresses where that pays. Results are valid until the next call. Not thread-safe.
class Compressor {
 public:
  Compressor();
  ~Compressor();
  /// What to store for `bytes`; sets codec and lengths.
  std::string_view squeeze(Frame& frame, std::string_view bytes);

 private:
  std::string_view compress(std::string_view bytes);
  ZSTD_CCtx_s* context_;
  std::string out_;
};

/// The way back. Results are valid until the next call. Not thread-safe.
class Decompressor {
 public:
  Decompressor() = default;
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  /// The object's bytes. Error `damaged` if they do not have the frame's name.
  Result<std::string_view> unpack(const Frame& frame, std::string_view stored);

 private:
  ZSTD_DCtx_s* context_ = nullptr;
  std::string out_;
};

/// An object as it is to be stored.
struct Squeezed {
  Frame frame{};
  std::string_view stored{}, bytes{};  ///< compressed where that pays; as it is
};

/// Writes a pack to a descriptor from offset 0, through a buffer; or keeps it in memory.
class PackFileWriter {
 public:
  /// `mapped`: see PackPlace.
  PackFileWriter(int fd, const std::string& owner, std::span<char> mapped = {});
  /// In memory, without an owner: for a pack on its way. take() has it after finish().
  PackFileWriter() : PackFileWriter(-1, {}) { in_memory_ = true; }
  std::string take() { return std::move(buffer_); }
  Result<> append(Frame frame, std::string_view stored);
  /// The same, with many of them in one call: the bytes must stay until flush(). To a descriptor.
  Result<> hold(Frame frame, std::string_view stored);
  Result<> flush();
  /// Index and trailer; returns the pack's size.
  Result<std::int64_t> finish();
  const std::vector<Frame>& frames() const { return frames_; }
  std::int64_t size() const { return size_; }

 private:
  void put_frame(Frame frame);
  Result<> put(std::string_view bytes);
  void hold(std::string_view bytes);
  void begin_write_back();

  int fd_;
  bool in_memory_ = false, stays_ = false;
  std::span<char> mapped_;
  std::string head_, buffer_;
  /// What is to be written: so many bytes of the buffer, then those that are held.
  struct Part {
    std::size_t buffered = 0;
    std::string_view held{};
  };
  std::vector<Part> held_;
  std::size_t held_bytes_ = 0, buffered_ = 0;  ///< in `held_`
  std::int64_t written_ = 0, size_ = 0;
  std::int64_t on_its_way_ = 0;  ///< so much the kernel was told to bring to the disk
  std::vector<Frame> frames_;
};

/// Where a PackWriter's packs go.
struct PackTarget {
  virtual ~PackTarget() = default;
  /// Whose packs they are; "" on the way to a store.
  virtual std::string owner() const { return {}; }
  /// The file of the present pack.
  virtual int file() const = 0;
  virtual std::span<char> mapped() const { return {}; }
  /// False: the store has the bytes of this object, it only has to be named (Codec::elsewhere).
  virtual Result<bool> wants(Kind, const Name&, std::string_view bytes) = 0;
  /// Whether the pack is to be the last of its kind before next().
  virtual bool full(const PackFileWriter& pack) const = 0;
  /// Takes a finished pack; the next one is the present one then.
  virtual Result<> next(const PackFileWriter& pack) = 0;
  /// Takes the last one, which may have no objects.
  virtual Result<> last(const PackFileWriter& pack) = 0;
};

/// Reads a pack. Everything in it is hostile until it was checked. Not thread-safe.
class PackFileReader {
 public:
  /// Checks header, index and trailer. Errors: `bad_pack`, also where there are more objects than
  /// `most`, and those of reading. `fd` must stay open.
  static Result<PackFileReader> open(int fd, std::int64_t size, std::uint64_t most = UINT64_MAX);
  /// Of a pack in memory.
  static Result<PackFileReader> open(std::string bytes);
  /// For a pack whose end is lost: the frames that can be found from its start on, unchecked beyond
  /// their heads. Error `bad_pack` if not even the header can be read.
  static Result<PackFileReader> salvage(int fd, std::int64_t size);

  const std::string& owner() const { return owner_; }
  const std::vector<Frame>& frames() const { return frames_; }
  /// The stored bytes; valid until the next call. Error `damaged` if the frame's head is not what
  /// the index says.
  Result<std::string_view> stored(const Frame& frame);

 private:
  Result<> read_header();
  Result<> read_index(std::uint64_t most = UINT64_MAX);
  Result<std::string_view> at(std::int64_t offset, std::size_t size);

  int fd_ = -1;
  std::int64_t size_ = 0;
  std::string owner_, head_;
  std::vector<Frame> frames_;
  // A window on the file, so that a pass over small frames needs few system calls.
  std::string window_;
  std::int64_t window_at_ = 0;
};

/// The stored bytes of one frame, for a look-up at random. Errors as PackFileReader::stored.
Result<std::string> read_stored(int fd, const Frame& frame);
/// The same, to `to`, which has room for them.
Result<> read_stored(int fd, const Frame&, char* to);

}  // namespace spell::spellfs
