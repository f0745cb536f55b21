#include "store/pages.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <string>
#include <string_view>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "store/sqlite.hpp"
#include "store/store.hpp"
#include "store/wal.hpp"

namespace spell::store {

namespace {

/// Of what is not what was written. An error of reading would make SQLite take back all of a
/// transaction, and SQLITE_CORRUPT write nothing more in it: one run would refuse all of a batch.
constexpr int wrong = SQLITE_NOTADB;
constexpr int reserved = 8;
constexpr std::size_t summed = page_size - reserved;
using Page = std::array<char, page_size>;

sqlite3_vfs* real() {
  static sqlite3_vfs* vfs = sqlite3_vfs_find(nullptr);
  return vfs;
}

/// What SQLite gets to see in a page's reserved bytes, so that it stands in the frames of its log,
/// too: whatever copies those into the database without us leaves a page that says it carries no
/// sum, not one with that of another content. (Those of a page that SQLite made anew are zero.)
constexpr std::string_view unsummed = "unsummed";
static_assert(unsummed.size() == reserved);

enum class Sum { right, none, wrong };

std::uint64_t sum_of(const char* page, std::int64_t offset) {
  return base::checksum({page, summed}) ^ static_cast<std::uint64_t>(offset / page_size + 1);
}

void put_sum(char* page, std::int64_t offset) {
  std::uint64_t sum = sum_of(page, offset);
  for (int i = 0; i < reserved; ++i)
    page[summed + static_cast<std::size_t>(i)] = static_cast<char>(sum >> (8 * i));
}

Sum look_at(const char* page, std::int64_t offset) {
  std::uint64_t sum = 0;
  for (int i = 0; i < reserved; ++i)
    sum |= std::uint64_t{static_cast<unsigned char>(page[summed + static_cast<std::size_t>(i)])}
           << (8 * i);
  if (sum == sum_of(page, offset)) return Sum::right;
  if (std::string_view(page + summed, reserved) == unsummed) return Sum::none;
  if (sum != 0) return Sum::wrong;
  // Each page that SQLite writes has something in it, or our sum.
  return std::all_of(page, page + summed, [](char c) { return c == 0; }) ? Sum::wrong : Sum::none;
}

constexpr std::uint32_t first_checked_schema = 6;

/// Where the schema's version stands in page 1, and the number of reserved bytes.
constexpr std::size_t version_at = 60, reserved_at = 20;

/// Of a file's first bytes: whether its pages carry sums, as those of a file that is made do.
/// Either sign is enough, so that no single bit that is wrong can hide it.
bool carries_sums(const char* header) {
  if (std::memcmp(header, "SQLite format 3", 16) != 0) return true;
  auto* p = reinterpret_cast<const unsigned char*>(header) + version_at;
  std::uint32_t version = std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 |
                          std::uint32_t{p[2]} << 8 | std::uint32_t{p[3]};
  bool of_old = version < first_checked_schema || version > std::uint32_t{schema_version};
  return header[reserved_at] != 0 || !of_old;
}

/// One file of SQLite. The real one lies behind it in the same memory.
struct File : sqlite3_file {
  bool log = false;
  bool sums = true;  ///< of a database: its pages carry them
  const char* name = nullptr;
  // Of a log: the last frame that was written here, and what is known to be on the disk.
  std::int64_t last_frame = 0;
  FrameHeader last;
  Synced noted;
  base::Fd note;

  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  static File& of(sqlite3_file* file) { return *static_cast<File*>(file); }
  int read(void* to, std::size_t size, std::int64_t offset) {
    return real()->pMethods->xRead(real(), to, static_cast<int>(size), offset);
  }
};

std::string synced_path(std::string_view log) {
  return std::string(log.substr(0, log.size() - std::string_view("-wal").size())) + "-synced";
}

int close(sqlite3_file* file) {
  auto& f = File::of(file);
  int code = f.real()->pMethods ? f.real()->pMethods->xClose(f.real()) : SQLITE_OK;
  f.~File();
  return code;
}

/// A frame's page by the sum in its header, which goes on from that of the frame before.
int check_frame(File& f, const char* page, std::int64_t offset) {
  std::int64_t start = offset - frame_header_size;
  char header[frame_header_size], before[8];
  std::int64_t sum_before =
      start == wal_header_size ? wal_header_size - 8 : start - frame_size + frame_header_size - 8;
  if (int code = f.read(header, sizeof header, start)) return code;
  if (int code = f.read(before, sizeof before, sum_before)) return code;
  char whole[frame_header_size] = {};
  std::memcpy(whole + frame_header_size - 8, before, 8);
  WalSum sum = frame_sum(FrameHeader::parse(whole).sum, header, {page, page_size});
  return sum == FrameHeader::parse(header).sum ? SQLITE_OK : wrong;
}

/// A page of a database that carries sums.
int read_page(File& f, char* page, std::int64_t offset) {
  int code = f.read(page, page_size, offset);
  if (code == SQLITE_IOERR_SHORT_READ) {
    sqlite3_int64 size = 0;
    if (int failed = f.real()->pMethods->xFileSize(f.real(), &size)) return failed;
    return size > 0 ? wrong : code;  // SQLite would take zeros for it
  }
  if (code == SQLITE_IOERR_CORRUPTFS) return wrong;
  if (code != SQLITE_OK) return code;
  if (look_at(page, offset) == Sum::wrong) {
    // Whoever opens a database looks at page 1 before it can keep others from writing it.
    if (int again = f.read(page, page_size, offset)) return again;
    if (look_at(page, offset) == Sum::wrong) return wrong;
  }
  std::memcpy(page + summed, unsummed.data(), reserved);
  return SQLITE_OK;
}

int read_page(sqlite3_file* file, void* to, int size, sqlite3_int64 offset) {
  auto& f = File::of(file);
  auto* out = static_cast<char*>(to);
  auto length = static_cast<std::size_t>(size);
  if (f.log) {
    int code = f.read(to, length, offset);
    bool page = size == page_size && offset > wal_header_size &&
                (offset - wal_header_size) % frame_size == frame_header_size;
    return code == SQLITE_OK && page ? check_frame(f, out, offset) : code;
  }
  // Of less than the smallest page SQLite takes hints alone, which page 1 then confirms.
  if (!f.sums || size < 512) return f.read(to, length, offset);
  if (size == page_size && offset % page_size == 0) return read_page(f, out, offset);
  // A wrong size of the pages, or several at once.
  for (std::int64_t at = offset - offset % page_size; at < offset + size; at += page_size) {
    Page page;
    if (int code = read_page(f, page.data(), at)) {
      std::memset(to, 0, length);
      return code;
    }
    std::int64_t from = std::max<std::int64_t>(at, offset),
                 end = std::min<std::int64_t>(at + page_size, offset + size);
    std::memcpy(out + (from - offset), page.data() + (from - at),
                static_cast<std::size_t>(end - from));
  }
  return SQLITE_OK;
}

/// Before a frame is written over that the note names: it was taken back after it was on the disk.
bool forget(File& f) {
  if (!base::pwrite_all(f.note.get(), std::string(Synced{}.bytes().size(), '\0'), 0)) return false;
  if (::fdatasync(f.note.get()) != 0) return false;
  f.noted = {};
  return true;
}

int write_log(File& f, const char* bytes, int size, std::int64_t offset) {
  bool is_header = size == frame_header_size && offset >= wal_header_size &&
                   (offset - wal_header_size) % frame_size == 0;
  FrameHeader header = is_header ? FrameHeader::parse(bytes) : FrameHeader{};
  std::int64_t frame = (offset - wal_header_size) / frame_size + 1;
  if (is_header && frame <= f.noted.frames && header.salt == f.noted.salt && !forget(f))
    return SQLITE_IOERR_WRITE;
  int code = f.real()->pMethods->xWrite(f.real(), bytes, size, offset);
  if (code != SQLITE_OK) f.last = {};
  if (code != SQLITE_OK || !is_header) return code;
  f.last = header;
  f.last_frame = frame;
  return SQLITE_OK;
}

int write(sqlite3_file* file, const void* from, int size, sqlite3_int64 offset) {
  auto& f = File::of(file);
  auto* bytes = static_cast<const char*>(from);
  if (f.log) return write_log(f, bytes, size, offset);
  bool page = size == page_size && offset % page_size == 0;
  if (page && offset == 0) f.sums = carries_sums(bytes);
  auto* methods = f.real()->pMethods;
  if (!f.sums) return methods->xWrite(f.real(), from, size, offset);
  // There is no room for sums, so this is not a database that was made here.
  if (!page || (offset == 0 && bytes[reserved_at] != reserved)) return SQLITE_IOERR_WRITE;
  Page copy;
  std::memcpy(copy.data(), bytes, page_size);
  put_sum(copy.data(), offset);
  return methods->xWrite(f.real(), copy.data(), size, offset);
}

int sync(sqlite3_file* file, int flags) {
  auto& f = File::of(file);
  int code = f.real()->pMethods->xSync(f.real(), flags);
  // What was written is taken back by SQLite then.
  if (code != SQLITE_OK) f.last = {};
  Synced now{f.last.salt, static_cast<std::uint32_t>(f.last_frame), f.last.sum};
  if (code != SQLITE_OK || !f.log || !f.last.commit || now == f.noted) return code;
  // Where the note cannot be made the last one stands, which says less and nothing wrong.
  if (!f.note)
    if (auto opened = base::open(synced_path(f.name), O_WRONLY | O_CREAT))
      f.note = std::move(*opened);
  auto text = now.bytes();
  if (f.note && base::pwrite_all(f.note.get(), {text.data(), text.size()}, 0)) f.noted = now;
  return code;
}

// The rest is the real file's.
#define PASS(name, ...) f->real()->pMethods->name(f->real() __VA_OPT__(, ) __VA_ARGS__)
constexpr auto self = [](sqlite3_file* file) { return static_cast<File*>(file); };

int truncate(sqlite3_file* file, sqlite3_int64 size) {
  auto* f = self(file);
  return PASS(xTruncate, size);
}
int file_size(sqlite3_file* file, sqlite3_int64* size) {
  auto* f = self(file);
  return PASS(xFileSize, size);
}
int lock(sqlite3_file* file, int level) {
  auto* f = self(file);
  return PASS(xLock, level);
}
int unlock(sqlite3_file* file, int level) {
  auto* f = self(file);
  return PASS(xUnlock, level);
}
int check_lock(sqlite3_file* file, int* out) {
  auto* f = self(file);
  return PASS(xCheckReservedLock, out);
}
int control(sqlite3_file* file, int what, void* argument) {
  auto* f = self(file);
  return PASS(xFileControl, what, argument);
}
int sector_size(sqlite3_file* file) {
  auto* f = self(file);
  return PASS(xSectorSize);
}
int characteristics(sqlite3_file* file) {
  auto* f = self(file);
  return PASS(xDeviceCharacteristics);
}
int map_shared(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
  auto* f = self(file);
  return PASS(xShmMap, region, size, extend, out);
}
int lock_shared(sqlite3_file* file, int offset, int count, int flags) {
  auto* f = self(file);
  return PASS(xShmLock, offset, count, flags);
}
void shared_barrier(sqlite3_file* file) {
  auto* f = self(file);
  PASS(xShmBarrier);
}
int unmap_shared(sqlite3_file* file, int remove) {
  auto* f = self(file);
  return PASS(xShmUnmap, remove);
}
#undef PASS

// Version 2: no page is read by a mapping, past the check.
constexpr sqlite3_io_methods methods = {2,
                                        close,
                                        read_page,
                                        write,
                                        truncate,
                                        sync,
                                        file_size,
                                        lock,
                                        unlock,
                                        check_lock,
                                        control,
                                        sector_size,
                                        characteristics,
                                        map_shared,
                                        lock_shared,
                                        shared_barrier,
                                        unmap_shared,
                                        nullptr,
                                        nullptr};

int open_pages(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  // Journals, and what lives for a statement only.
  if (!(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)))
    return real()->xOpen(real(), name, file, flags, out_flags);
  auto* f = new (static_cast<void*>(file)) File;
  f->pMethods = nullptr;
  f->real()->pMethods = nullptr;
  int code = real()->xOpen(real(), name, f->real(), flags, out_flags);
  if (code != SQLITE_OK) {
    if (f->real()->pMethods) f->real()->pMethods->xClose(f->real());
    f->~File();
    file->pMethods = nullptr;
    return code;
  }
  f->pMethods = &methods;
  f->name = name;
  f->log = flags & SQLITE_OPEN_WAL;
  char header[100];
  if (!f->log && f->read(header, sizeof header, 0) == SQLITE_OK) f->sums = carries_sums(header);
  return SQLITE_OK;
}

int remove(sqlite3_vfs*, const char* name, int durable) {
  // First what the log would be held against.
  if (std::string_view(name).ends_with("-wal")) ::unlink(synced_path(name).c_str());
  return real()->xDelete(real(), name, durable);
}

}  // namespace

const char* checked_files() {
  static sqlite3_vfs vfs;
  static const bool registered = [] {
    vfs = *real();  // its other functions, which ask it for nothing of its own
    vfs.pNext = nullptr;
    vfs.zName = "spell-checked";
    vfs.szOsFile = static_cast<int>(sizeof(File)) + real()->szOsFile;
    vfs.xOpen = open_pages;
    vfs.xDelete = remove;
    return sqlite3_vfs_register(&vfs, 0) == SQLITE_OK;
  }();
  return registered ? vfs.zName : "";
}

void reserve_for_checks(sqlite3* db) {
  int bytes = reserved;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes);
}

namespace {

/// Calls `look` with each page as it stands in the file of the database.
template <class Look>
Result<> each_page(sqlite3* db, Look look) {
  constexpr std::int64_t lock_bytes = 0x40000000;  // SQLite locks these, and keeps nothing there
  sqlite3_file* file = nullptr;
  sqlite3_int64 size = 0;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
      file->pMethods->xFileSize(file, &size) != SQLITE_OK)
    return sqlite_error(db, "read the pages of the database");
  auto& f = File::of(file);
  Page page;
  for (std::int64_t at = 0; at < size; at += page_size) {
    if (at == lock_bytes) continue;
    bool there = f.read(page.data(), page_size, at) == SQLITE_OK;
    Sum sum = !there ? Sum::wrong : f.sums ? look_at(page.data(), at) : Sum::right;
    SPELL_TRY(look(f, at, page, sum));
  }
  return ok();
}

}  // namespace

Result<PagesRead> read_pages(sqlite3* db, const std::unordered_set<std::uint32_t>& others) {
  PagesRead out;
  SPELL_TRY(each_page(db, [&](File&, std::int64_t at, const Page&, Sum sum) -> Result<> {
    auto number = static_cast<std::uint32_t>(at / page_size + 1);
    if (others.contains(number)) return ok();
    ++out.pages;
    if (sum == Sum::wrong) out.wrong.push_back(number);
    return ok();
  }));
  return out;
}

Result<> sum_pages(sqlite3* db, bool holes) {
  File* written = nullptr;
  SPELL_TRY(each_page(db, [&](File& f, std::int64_t at, const Page& page, Sum sum) -> Result<> {
    bool wanted =
        sum == Sum::none || (holes && sum == Sum::wrong &&
                             std::all_of(page.begin(), page.end(), [](char c) { return c == 0; }));
    if (!wanted) return ok();
    written = &f;
    if (write(&f, page.data(), page_size, at) == SQLITE_OK) return ok();
    return sqlite_error(db, "write the sums of the database's pages");
  }));
  if (written && sync(written, SQLITE_SYNC_NORMAL) != SQLITE_OK)
    return sqlite_error(db, "write the sums of the database's pages");
  return ok();
}

}  // namespace spell::store
