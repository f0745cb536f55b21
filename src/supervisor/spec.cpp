#include "supervisor/spec.hpp"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

namespace spell::supervisor {

namespace {

char* text_of(const Field& field) { return const_cast<char*>(field.value.data()); }

}  // namespace

bool read_all(int descriptor, char*& bytes, size_t& size) {
  struct stat st;
  size_t room =
      fstat(descriptor, &st) == 0 && st.st_size > 0 ? static_cast<size_t>(st.st_size) + 1 : 65536;
  bytes = static_cast<char*>(malloc(room));
  size = 0;
  while (bytes) {
    ssize_t n = read(descriptor, bytes + size, room - size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0;
    size += static_cast<size_t>(n);
    if (size == room) bytes = static_cast<char*>(realloc(bytes, room *= 2));
  }
  return false;
}

bool read_spec(int descriptor, Spec& out) {
  char* bytes;
  size_t size;
  if (!read_all(descriptor, bytes, size)) return false;

  size_t env = 0, hidden = 0, binds = 0, mounts = 0, links = 0, revive = 0, masks = 0, lower = 0,
         groups = 0;
  Field field;
  bool whole = false;
  for (FieldReader reader(bytes, size); reader.next(field);) {
    env += field.key == "env";
    hidden += field.key == "hidden";
    binds += field.key == "bind_from" || field.key == "bind_from_read_only";
    mounts += field.key == "mount_from";
    links += field.key == "link_to";
    lower += field.key == "root_lower";
    masks += field.key == "mask";
    groups += field.key == "group";
    revive += field.key == "revive";
    whole = field.key == "end";
  }
  if (!whole) return false;
  out.env = static_cast<char**>(calloc(env + 5, sizeof(char*)));
  out.hidden.items = static_cast<const char**>(calloc(hidden + 1, sizeof(char*)));
  out.binds.items = static_cast<Bind*>(calloc(binds + 1, sizeof(Bind)));
  out.mounts.items = static_cast<Mount*>(calloc(mounts + 1, sizeof(Mount)));
  out.root.lower.items = static_cast<const char**>(calloc(lower + 1, sizeof(char*)));
  out.links.items = static_cast<Bind*>(calloc(links + 1, sizeof(Bind)));
  out.masks.items = static_cast<const char**>(calloc(masks + 1, sizeof(char*)));
  out.groups.items = static_cast<const char**>(calloc(groups + 1, sizeof(char*)));
  out.revive = revive ? static_cast<char**>(calloc(revive + 1, sizeof(char*))) : nullptr;
  if (!out.env || !out.hidden.items || !out.binds.items || !out.mounts.items || !out.links.items ||
      !out.masks.items || !out.root.lower.items || !out.groups.items || (revive && !out.revive))
    return false;

  FieldReader reader(bytes, size);
  if (!reader.next(field) || field.key != "spell-supervisor" ||
      number_of(field.value, 0) != protocol_version)
    return false;
  size_t revived = 0;
  while (reader.next(field)) {
    auto key = field.key;
    if (key == "run")
      out.run = text_of(field);
    else if (key == "containment")
      out.level = static_cast<int>(number_of(field.value, best_effort));
    else if (key == "command")
      out.command = text_of(field);
    else if (key == "working_folder")
      out.working_folder = text_of(field);
    else if (key == "service_lock")
      out.service_lock = text_of(field);
    else if (key == "log_limit")
      out.log_limit = number_of(field.value, 0);
    else if (key == "log_wait_s")
      out.log_wait_s = number_of(field.value, 0);
    else if (key == "stop_grace_s")
      out.stop_grace_s = number_of(field.value, 0);
    else if (key == "timeout_s")
      out.timeout_s = number_of(field.value, 0);
    else if (key == "lease_until_us")
      out.lease_until_us = number_of(field.value, 1);
    else if (key == "allowed_until_us")
      out.allowed_until_us = number_of(field.value, 1);
    else if (key == "user")
      out.user = number_of(field.value, 0);
    else if (key == "split_output")
      out.split_output = field.value == "1";
    else if (key == "env")
      out.env[out.env_size++] = text_of(field);
    else if (key == "hidden")
      out.hidden.items[out.hidden.size++] = text_of(field);
    else if (key == "mask")
      out.masks.items[out.masks.size++] = text_of(field);
    else if (key == "group")
      out.groups.items[out.groups.size++] = text_of(field);
    else if (key == "revive")
      out.revive[revived++] = text_of(field);
    else if (key == "bind_from" || key == "bind_from_read_only") {
      Bind bind{text_of(field), nullptr, key != "bind_from"};
      if (!reader.next(field) || field.key != "bind_to") return false;
      bind.to = text_of(field);
      out.binds.items[out.binds.size++] = bind;
    } else if (key == "mount_from") {
      Mount mount{text_of(field), nullptr, nullptr, nullptr};
      if (!reader.next(field) || field.key != "mount_upper") return false;
      mount.upper = text_of(field);
      if (!reader.next(field) || field.key != "mount_work") return false;
      mount.work = text_of(field);
      if (!reader.next(field) || field.key != "mount_to") return false;
      mount.to = text_of(field);
      out.mounts.items[out.mounts.size++] = mount;
    } else if (key == "link_to") {
      Bind link{text_of(field), nullptr};
      if (!reader.next(field) || field.key != "link_at") return false;
      link.to = text_of(field);
      out.links.items[out.links.size++] = link;
    } else if (key == "root_lower") {
      out.root.lower.items[out.root.lower.size++] = text_of(field);
    } else if (key == "root_upper" || key == "root_build_upper") {
      out.root.upper = text_of(field);
      out.root.build = key == "root_build_upper";
      if (!reader.next(field) || field.key != "root_work") return false;
      out.root.work = text_of(field);
    } else if (key == "system_layer") {
      out.system.layer = text_of(field);
    } else if (key == "system_upper") {
      out.system.upper = text_of(field);
      if (!reader.next(field) || field.key != "system_work") return false;
      out.system.work = text_of(field);
    } else if (key != "end")
      return false;
  }
  // A user of its own is not given up for a weaker fence.
  if (out.user != 0 && (out.user < 0 || out.user >= 0xffffffffLL || out.level != namespaces))
    return false;
  if (out.root.there() && (out.system.there() || !*out.root.upper)) return false;
  return out.level >= namespaces && out.level <= best_effort;
}

}  // namespace spell::supervisor
