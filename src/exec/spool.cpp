#include "exec/spool.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "model/log.hpp"
#include "supervisor/protocol.hpp"

namespace spell::exec {

namespace {

using supervisor::Field;
using supervisor::FieldReader;
using supervisor::number_of;

constexpr std::int64_t lock_file_limit = 4096;

void take_end(std::string_view payload, std::int64_t time_us, SpoolView& view) {
  Exit exit;
  exit.time_us = time_us;
  std::string level, reason;
  Field field;
  for (FieldReader reader(payload.data(), payload.size()); reader.next(field);) {
    if (field.key == "code") exit.code = static_cast<int>(number_of(field.value, 0));
    if (field.key == "signal") exit.signal = static_cast<int>(number_of(field.value, 0));
    if (field.key == "ended_by") exit.ended_by = field.value;
    if (field.key == "ended_us") exit.time_us = number_of(field.value, time_us);
    if (field.key == "error_code") exit.error_code = field.value;
    if (field.key == "error") exit.error = field.value;
    if (field.key == "started_us") view.started_us = exit.started_us = number_of(field.value, 0);
    if (field.key == "stopped_us") exit.stopped_us = number_of(field.value, 0);
    if (field.key == "level") level = field.value;
    if (field.key == "containment") reason = field.value;
  }
  view.containment = reason.empty() ? level : level + ": " + reason;
  view.exit = std::move(exit);
}

/// Field 22 of /proc/PID/stat, 0 if there is no such process.
std::int64_t start_of(int process) {
  auto text = base::read_file("/proc/" + std::to_string(process) + "/stat", 4096);
  if (!text) return 0;
  auto at = text->rfind(')');
  if (at == std::string::npos) return 0;
  auto fields = base::split(std::string_view(*text).substr(at + 2), ' ');
  return fields.size() > 19 ? base::parse_int(fields[19]).value_or(0) : 0;
}

}  // namespace

Result<SpoolView> read_spool(const std::string& folder, SpoolView known) {
  auto file = base::open(folder + "/spool", O_RDONLY);
  if (!file) return file.error();
  struct stat st;
  if (::fstat(file->get(), &st) != 0) return base::errno_error("read " + folder + "/spool");
  SpoolView view = std::move(known);
  while (!view.exit) {
    char bytes[model::frame_header_size];
    auto n = base::pread_full(file->get(), bytes, sizeof bytes, view.end);
    if (!n) return n.error();
    if (*n < sizeof bytes) break;
    auto header = model::parse_frame_header({bytes, sizeof bytes});
    if (!header || header->sequence != static_cast<std::uint64_t>(view.output_bytes)) break;
    std::int64_t next = view.end + static_cast<std::int64_t>(sizeof bytes) + header->size;
    if (next > st.st_size) break;
    if (header->kind == model::FrameKind::output) {
      view.output_bytes += header->size;
    } else if (header->kind == model::FrameKind::end) {
      std::string payload(header->size, '\0');
      auto read = base::pread_full(file->get(), payload.data(), payload.size(),
                                   view.end + static_cast<std::int64_t>(sizeof bytes));
      if (!read) return read.error();
      // A disk that lost power may give the size without the bytes: then the last field is not
      // there.
      if (*read < payload.size() || !payload.ends_with(std::string_view("\0end=\0", 6))) break;
      take_end(payload, header->time_us, view);
    } else {
      break;
    }
    view.end = next;
  }
  return view;
}

const std::string kept_lock = supervisor::kept_lock;

Result<LockFile> read_lock(const std::string& folder) {
  auto file = base::open(folder + "/lock", O_RDONLY);
  if (!file) return file.error();
  LockFile out;
  struct flock whole {};
  whole.l_type = F_RDLCK;
  if (::fcntl(file->get(), F_OFD_GETLK, &whole) != 0)
    return base::errno_error("test the lock " + folder + "/lock");
  out.held = whole.l_type != F_UNLCK;
  std::string content(lock_file_limit, '\0');
  auto n = base::pread_full(file->get(), content.data(), content.size(), 0);
  if (!n) return n.error();
  Field field;
  for (FieldReader reader(content.data(), *n); reader.next(field);) {
    if (field.key == "boot") out.boot = field.value;
    if (field.key == "pid") out.pid = static_cast<int>(number_of(field.value, 0));
    if (field.key == "init") out.init = static_cast<int>(number_of(field.value, 0));
    if (field.key == "init_start") out.init_start = number_of(field.value, 0);
  }
  return out;
}

void await_end_of_tree(const LockFile& lock) {
  if (lock.init <= 0) return;
  base::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, lock.init, 0)));
  if (!process || start_of(lock.init) != lock.init_start) return;
  pollfd file{process.get(), POLLIN, 0};
  ::poll(&file, 1, 2000);
}

}  // namespace spell::exec
