#include "supervisor/hide.hpp"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace spell::supervisor {

namespace {

struct Mounted {
  char* device;
  char* root;   ///< what of the file system…
  char* point;  ///< …is mounted where
};

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

char* read_mount_table() {
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

/// Whether `path` is `folder` or below it; then `rest` is what follows ("" or "/…").
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

bool cover(const char* path) {
  struct stat st;
  if (stat(path, &st) != 0) return true;
  return mount(S_ISDIR(st.st_mode) ? hidden_cover : "/dev/null", path, nullptr, MS_BIND, nullptr) ==
         0;
}

}  // namespace

bool hide(const char* path) {
  static char real[PATH_MAX], place[PATH_MAX], other[PATH_MAX];
  struct stat st, same;
  if (!realpath(path, real) || stat(real, &st) != 0) return errno == ENOENT || errno == ENOTDIR;
  char* table = read_mount_table();
  if (!table) return false;

  size_t count = 0;
  for (const char* at = table; *at; ++at) count += *at == '\n';
  auto* mounts = static_cast<Mounted*>(calloc(count + 1, sizeof(Mounted)));
  if (!mounts) return false;
  count = 0;
  for (char* at = table; at && next_mount(at, mounts[count]);) ++count;

  const Mounted* home = nullptr;
  const char* rest;
  for (size_t i = 0; i < count; ++i)
    if (is_below(real, mounts[i].point, rest) &&
        (!home || strlen(mounts[i].point) >= strlen(home->point)))
      home = &mounts[i];
  bool done = home && is_below(real, home->point, rest) && join(place, home->root, rest);
  done = cover(real) && done;
  for (size_t i = 0; done && i < count; ++i) {
    if (strcmp(mounts[i].device, home->device) != 0) continue;
    if (is_below(place, mounts[i].root, rest)) {
      done = join(other, mounts[i].point, rest);
      if (done && stat(other, &same) == 0 && same.st_dev == st.st_dev && same.st_ino == st.st_ino)
        done = cover(other);
    } else if (is_below(mounts[i].root, place, rest)) {
      done = cover(mounts[i].point);
    }
  }
  free(mounts);
  free(table);
  return done;
}

}  // namespace spell::supervisor
