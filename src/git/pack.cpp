#include "git/pack.hpp"

#include <openssl/evp.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"

namespace spell::git {

namespace {

/// Threads that compress; the objects that they hold in memory are as many.
constexpr unsigned most_threads = 4;
/// What is looked at to find out whether an object can be compressed.
constexpr std::size_t sample_size = 4 << 10;

/// zlib's form of `bytes`: its quickest compression, or, where a sample shows that this saves less
/// than a tenth, none at all.
class Deflater {
 public:
  Result<std::string_view> squeeze(std::string_view bytes) {
    int level = 1;
    if (bytes.size() > 4 * sample_size) {
      auto sample = deflated(bytes.substr((bytes.size() - sample_size) / 2, sample_size), 1);
      if (!sample) return sample;
      if (sample->size() > sample_size / 10 * 9) level = 0;
    }
    return deflated(bytes, level);
  }

 private:
  Result<std::string_view> deflated(std::string_view bytes, int level) {
    auto size = ::compressBound(bytes.size());
    if (out_.size() < size) out_.resize(size);
    int rc = ::compress2(reinterpret_cast<Bytef*>(out_.data()), &size,
                         reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(), level);
    if (rc != Z_OK) return base::error("io_error", "cannot compress an object: " + why(rc));
    return std::string_view(out_.data(), size);
  }
  static std::string why(int rc) { return rc == Z_MEM_ERROR ? "out of memory" : "zlib failed"; }

  std::string out_;
};

/// Version 2 of the pack format (gitformat-pack(5)): "PACK", version, count, the objects, and the
/// SHA-1 of all before.
class PackFile {
 public:
  explicit PackFile(int fd) : fd_(fd), hash_(EVP_MD_CTX_new()) {
    EVP_DigestInit_ex(hash_, EVP_sha1(), nullptr);
  }
  ~PackFile() { EVP_MD_CTX_free(hash_); }
  PackFile(const PackFile&) = delete;
  PackFile& operator=(const PackFile&) = delete;

  Result<> begin(std::size_t objects) {
    std::string head = "PACK";
    for (auto number : {std::size_t{2}, objects})
      for (int shift = 24; shift >= 0; shift -= 8) head += static_cast<char>(number >> shift);
    return put(head);
  }
  Result<> add(git_object_t type, std::size_t size, std::string_view deflated) {
    // Type and size: 4 bits of the size beside the type, then 7 a byte, the lowest first.
    std::string head(1, static_cast<char>(type << 4 | (size & 15)));
    for (size >>= 4; size > 0; size >>= 7) {
      head.back() = static_cast<char>(head.back() | 0x80);
      head += static_cast<char>(size & 0x7f);
    }
    SPELL_TRY(put(head));
    return put(deflated);
  }
  Result<std::int64_t> finish() {
    std::string digest(20, '\0');
    EVP_DigestFinal_ex(hash_, reinterpret_cast<unsigned char*>(digest.data()), nullptr);
    buffer_ += digest;
    SPELL_TRY(flush());
    return size_;
  }

 private:
  Result<> put(std::string_view bytes) {
    EVP_DigestUpdate(hash_, bytes.data(), bytes.size());
    if (buffer_.size() + bytes.size() > buffer_limit) SPELL_TRY(flush());
    if (bytes.size() <= buffer_limit) return buffer_ += bytes, ok();
    size_ += static_cast<std::int64_t>(bytes.size());
    return base::write_all(fd_, bytes);
  }
  Result<> flush() {
    size_ += static_cast<std::int64_t>(buffer_.size());
    auto written = base::write_all(fd_, buffer_);
    buffer_.clear();
    return written;
  }

  static constexpr std::size_t buffer_limit = 256 << 10;
  int fd_;
  EVP_MD_CTX* hash_;
  std::string buffer_;
  std::int64_t size_ = 0;
};

class Packing {
 public:
  Packing(git_odb* odb, const std::vector<Oid>& ids, int fd) : odb_(odb), ids_(ids), file_(fd) {}

  /// Reads, compresses and writes one object after the other; several threads may.
  void work(const std::function<void(std::int64_t, std::int64_t)>& progress) {
    Deflater deflater;
    for (std::size_t at; (at = next_++) < ids_.size() && !failed_;) {
      auto packed = pack(ids_[at], deflater);
      std::lock_guard lock(mutex_);
      ++done_;
      if (!packed && result_) result_ = packed, failed_ = true;
      if (progress) progress(done_, static_cast<std::int64_t>(ids_.size()));
    }
  }
  PackFile& file() { return file_; }
  const Result<>& result() const { return result_; }

 private:
  Result<> pack(const Oid& id, Deflater& deflater) {
    OdbObjectPtr object;
    git_oid name = to_git(id);
    int rc = make(object, git_odb_read, odb_, &name);
    if (rc == GIT_ENOTFOUND)
      return base::error("missing_object", "object " + base::hex(id) + " is missing");
    if (rc != 0) return library_error("io_error", "cannot read object " + base::hex(id));
    std::string_view bytes(static_cast<const char*>(git_odb_object_data(object.get())),
                           git_odb_object_size(object.get()));
    auto deflated = deflater.squeeze(bytes);
    if (!deflated) return deflated.error();
    std::lock_guard lock(mutex_);
    return file_.add(git_odb_object_type(object.get()), bytes.size(), *deflated);
  }

  git_odb* odb_;
  const std::vector<Oid>& ids_;
  PackFile file_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::int64_t done_ = 0;
  Result<> result_ = ok();
};

}  // namespace

Result<std::int64_t> write_pack(git_odb* odb, const std::vector<Oid>& ids, int fd,
                                const std::function<void(std::int64_t, std::int64_t)>& progress) {
  Packing packing(odb, ids, fd);
  SPELL_TRY(packing.file().begin(ids.size()));
  auto others =
      std::min<std::size_t>(std::clamp(std::thread::hardware_concurrency(), 1U, most_threads),
                            ids.size() / 2 + 1) -
      1;
  {
    std::vector<std::jthread> threads;
    // Progress is told by the calling thread alone.
    for (std::size_t i = 0; i < others; ++i) threads.emplace_back([&] { packing.work({}); });
    packing.work(progress);
  }
  SPELL_TRY(packing.result());
  return packing.file().finish();
}

}  // namespace spell::git
