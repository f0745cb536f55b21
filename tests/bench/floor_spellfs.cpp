// The floor of a save: reads every file, hashes it piece by piece and writes all of it, durably, to
// packs of 128 MiB; with as many threads as a save has. And of a restore: reads those packs, hashes
// them and writes files of a given size. Finds no cuts, knows no names, keeps no index.
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t piece = 64 << 10, block = 1 << 20;
constexpr std::int64_t pack_size = 128 << 20;

void require(bool good, const char* what) {
  if (good) return;
  std::perror(what);
  std::exit(1);
}

void hash(const char* bytes, std::size_t size) {
  static thread_local EVP_MD_CTX* context = EVP_MD_CTX_new();
  static const EVP_MD* md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  unsigned char digest[32];
  for (std::size_t at = 0; at < size; at += piece) {
    EVP_DigestInit_ex2(context, md, nullptr);
    EVP_DigestUpdate(context, bytes + at, std::min(piece, size - at));
    EVP_DigestFinal_ex(context, digest, nullptr);
  }
}

void write_all(int fd, const char* bytes, std::size_t size) {
  while (size > 0) {
    ssize_t n = ::write(fd, bytes, size);
    require(n > 0, "write");
    bytes += n;
    size -= static_cast<std::size_t>(n);
  }
}

void side_by_side(int threads, const std::function<void(int)>& work) {
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) all.emplace_back(work, i);
  for (auto& thread : all) thread.join();
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) return std::fprintf(stderr, "usage: … save|restore FROM TO [BYTES]\n"), 2;
  std::string what = words[1], from = words[2], to = words[3];
  std::int64_t file_size = count > 4 ? std::atoll(words[4]) : 0;
  int threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 8);
  auto start = std::chrono::steady_clock::now();
  std::filesystem::create_directories(to);
  std::vector<std::string> files;
  for (auto& entry : std::filesystem::recursive_directory_iterator(from))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::atomic<std::size_t> next = 0;
  std::atomic<int> made = 0;
  bool save = what == "save";
  side_by_side(threads, [&](int) {
    std::vector<char> buffer(block);
    int out = -1;
    std::int64_t written = 0, limit = save ? pack_size : file_size;
    auto finish = [&] {
      if (out < 0) return;
      require(!save || ::fsync(out) == 0, "fsync");
      ::close(out);
      out = -1;
      written = 0;
    };
    for (std::size_t i; (i = next++) < files.size();) {
      int in = ::open(files[i].c_str(), O_RDONLY | O_CLOEXEC);
      require(in >= 0, files[i].c_str());
      for (ssize_t n; (n = ::read(in, buffer.data(), buffer.size())) > 0;) {
        auto size = static_cast<std::size_t>(n);
        hash(buffer.data(), size);
        if (out < 0) {
          std::string name = to + "/" + std::to_string(made++);
          out = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
          require(out >= 0, name.c_str());
        }
        write_all(out, buffer.data(), size);
        if ((written += n) >= limit) finish();
      }
      ::close(in);
    }
    finish();
  });
  if (save) {
    int folder = ::open(to.c_str(), O_RDONLY | O_DIRECTORY);
    require(folder >= 0 && ::fsync(folder) == 0, "fsync");
  }
  std::printf("%.6f\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
