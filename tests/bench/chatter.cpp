// Prints numbered lines as fast as it can, BYTES in all.
//
//     spell_bench_chatter BYTES
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

int main(int argc, char** argv) {
  long left = argc > 1 ? std::atol(argv[1]) : 0;
  // Lines of 64 bytes; only their number changes, so that making them costs next to nothing.
  std::string block;
  for (int i = 0; i < 1024; ++i)
    block += "000000000 the quick brown fox jumps over the lazy dog and on...\n";
  for (long line = 0; left > 0;) {
    for (std::size_t at = 0; at < block.size(); at += 64, ++line) {
      long rest = line;
      for (int digit = 8; digit >= 0; --digit, rest /= 10)
        block[at + digit] = static_cast<char>('0' + rest % 10);
    }
    for (std::size_t at = 0; at < block.size() && left > 0;) {
      std::size_t size = std::min<std::size_t>(block.size() - at, left);
      ssize_t written = ::write(1, block.data() + at, size);
      if (written <= 0) return std::perror("write"), 1;
      at += written;
      left -= written;
    }
  }
}
