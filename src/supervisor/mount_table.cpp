#include "supervisor/mount_table.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace spell::supervisor {

namespace {

/// In place: the kernel writes blanks, tabs, line ends and backslashes as \ooo.
void unescape(char* text) {
  char* out = text;
  for (; *text; ++out) {
    if (text[0] == '\\' && text[1] && text[2] && text[3]) {
      *out = static_cast<char>((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
      text += 4;
    } else {
      *out = *text++;
    }
  }
  *out = 0;
}

char* read_text() {
  int file = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  if (file < 0) return nullptr;
  size_t size = 0, room = 65536;
  auto* text = static_cast<char*>(malloc(room));
  while (text) {
    ssize_t n = read(file, text + size, room - size - 1);
    if (n <= 0) break;
    size += static_cast<size_t>(n);
    if (room - size < 8192) text = static_cast<char*>(realloc(text, room *= 2));
  }
  close(file);
  if (text) text[size] = 0;
  return text;
}

/// Cuts the next line off: "id parent device root point …".
bool next_mount(char*& text, Mounted& out) {
  char* line = strsep(&text, "\n");
  if (!line || !*line) return false;
  strsep(&line, " ");
  strsep(&line, " ");
  out.device = strsep(&line, " ");
  out.root = strsep(&line, " ");
  out.point = strsep(&line, " ");
  if (!out.point) return false;
  unescape(out.root);
  unescape(out.point);
  return true;
}

}  // namespace

MountTable::~MountTable() {
  free(items_);
  free(text_);
}

bool MountTable::read() {
  text_ = read_text();
  if (!text_) return false;
  size_t count = 0;
  for (const char* at = text_; *at; ++at) count += *at == '\n';
  items_ = static_cast<Mounted*>(calloc(count + 1, sizeof(Mounted)));
  if (!items_) return false;
  for (char* at = text_; at && next_mount(at, items_[size_]);) ++size_;
  return true;
}

const Mounted* MountTable::home_of(const char* real) const {
  const Mounted* home = nullptr;
  const char* rest;
  for (auto& mounted : *this)
    if (is_below(real, mounted.point, rest) &&
        (!home || strlen(mounted.point) >= strlen(home->point)))
      home = &mounted;
  return home;
}

bool is_below(const char* path, const char* folder, const char*& rest) {
  size_t size = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
  if (strncmp(path, folder, size) != 0 || (path[size] != 0 && path[size] != '/')) return false;
  rest = size == 0 && path[1] == 0 ? "" : path + size;
  return true;
}

bool join(char (&out)[PATH_MAX], const char* folder, const char* rest) {
  size_t size = strcmp(folder, "/") == 0 ? 0 : strlen(folder), more = strlen(rest);
  if (size + more + 2 > PATH_MAX) return false;
  memcpy(out, folder, size);
  memcpy(out + size, rest, more + 1);
  if (size + more == 0) strcpy(out, "/");
  return true;
}

}  // namespace spell::supervisor
