#include "service/log_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "base/file.hpp"
#include "model/log.hpp"
#include "spellfs/bytes.hpp"

namespace spell::service {

using model::frame_header_size;

namespace {

constexpr std::int64_t part_size = 256 << 10;
constexpr std::size_t record_size = 40, block_size = 1 << 20;

/// The frame at `at`, if it is whole and the output of byte `output`.
std::optional<model::FrameHeader> frame_at(std::string_view bytes, std::size_t at,
                                           std::int64_t output) {
  if (bytes.size() - at < frame_header_size) return {};
  auto header = model::parse_frame_header(bytes.substr(at, frame_header_size));
  if (!header || header->kind != model::FrameKind::output || header->size == 0 ||
      header->sequence != static_cast<std::uint64_t>(output) ||
      bytes.size() - at - frame_header_size < header->size)
    return {};
  return *header;
}

/// How many of `bytes` are whole frames, the first of them of byte `output`; moves that behind
/// them.
std::size_t whole_frames(std::string_view bytes, std::int64_t& output) {
  std::size_t at = 0;
  while (auto header = frame_at(bytes, at, output)) {
    at += frame_header_size + header->size;
    output += header->size;
  }
  return at;
}

Result<std::string> read_at(int file, std::int64_t at, std::int64_t size) {
  std::string out(static_cast<std::size_t>(size), '\0');
  auto n = base::pread_full(file, out.data(), out.size(), at);
  if (!n) return n.error();
  out.resize(*n);
  return out;
}

}  // namespace

std::string LogFile::Part::record() const {
  std::string out;
  for (std::uint64_t value : {static_cast<std::uint64_t>(file), static_cast<std::uint64_t>(output),
                              static_cast<std::uint64_t>(checked), sum})
    spellfs::put_fixed(out, value, 8);
  spellfs::put_fixed(out, base::checksum(out), 8);
  return out;
}

struct LogFile::Parts {
  std::vector<Part> all;
  bool sound = true, stale = false;
};

LogFile::Parts LogFile::read_parts(const std::string& path, std::int64_t size) {
  Parts out;
  auto stored = base::read_file(path + ".parts", INT64_MAX);
  if (!stored) return out;
  for (std::size_t at = 0; at + record_size <= stored->size(); at += record_size) {
    std::string_view bytes(stored->data() + at, record_size);
    spellfs::ByteReader in(bytes);
    Part part;
    part.file = static_cast<std::int64_t>(in.fixed(8));
    part.output = static_cast<std::int64_t>(in.fixed(8));
    part.checked = static_cast<std::int64_t>(in.fixed(8));
    part.sum = in.fixed(8);
    if (base::checksum(bytes.substr(0, 32)) != in.fixed(8)) {
      out.sound = false;
      break;
    }
    // What was cut off by a power loss has its record still.
    out.stale = part.checked > size;
    if (part.checked <= part.file || out.stale) break;
    if (out.all.empty()
            ? part.file != 0 || part.output != 0
            : part.file < out.all.back().checked || part.output <= out.all.back().output)
      break;
    out.all.push_back(part);
  }
  return out;
}

Result<std::unique_ptr<LogFile>> LogFile::open(const std::string& path) {
  std::unique_ptr<LogFile> out(new LogFile(path));
  auto data = base::open(path, O_RDWR | O_CREAT);
  if (!data) return data.error();
  out->data_ = std::move(*data);
  auto records = base::open(path + ".parts", O_WRONLY | O_CREAT);
  if (!records) return records.error();
  out->records_ = std::move(*records);
  SPELL_TRY(out->load());
  return out;
}

Result<> LogFile::load() {
  struct stat st;
  if (::fstat(data_.get(), &st) != 0) return base::errno_error("read " + path_);
  if (st.st_size == 0) {
    if (::ftruncate(records_.get(), 0) != 0) return base::errno_error("write " + path_ + ".parts");
    return ok();
  }
  auto known = read_parts(path_, st.st_size);
  stale_ = known.stale;
  std::size_t first = 0;  // the first part whose record is not right
  if (!known.all.empty()) {
    parts_ = std::move(known.all);
    Part& last = parts_.back();
    auto bytes = read_at(data_.get(), last.file, last.checked - last.file);
    if (!bytes) return bytes.error();
    sum_.add(*bytes);
    hurt_ = sum_.value() != last.sum;
    // Its frames, whatever their bytes are, tell where it ends.
    output_size_ = last.output;
    auto at = whole_frames(*bytes, output_size_);
    hurt_ = hurt_ || at != bytes->size();
    file_size_ = last.file + static_cast<std::int64_t>(at);
    first = parts_.size() - 1;
  }
  for (bool more = !hurt_; more;) {
    auto bytes = read_at(data_.get(), file_size_, block_size + frame_header_size);
    if (!bytes) return bytes.error();
    more = take(*bytes) > 0;
  }
  longer_ = file_size_ < st.st_size;
  durable_ = parts_.size() - 1;
  if (!hurt_) {
    // What is there may be in memory alone, and no record is ahead of the disk.
    if (::fdatasync(data_.get()) != 0) return base::errno_error("sync " + path_);
    write_records(first, {parts_.begin() + static_cast<std::ptrdiff_t>(first), parts_.end()});
    unrecorded_ = parts_.size() - 1;
    if (::ftruncate(records_.get(), static_cast<off_t>(parts_.size() * record_size)) != 0)
      return base::errno_error("write " + path_ + ".parts");
    // What older versions kept in its place.
    (void)::unlink((path_ + ".idx").c_str());
  }
  return ok();
}

std::int64_t LogFile::take(std::string_view bytes) {
  std::size_t at = 0, from = 0;  // from: the first byte that is not in the sum
  auto add = [&] {
    sum_.add(bytes.substr(from, at - from));
    from = at;
    parts_.back().checked = file_size_;
    parts_.back().sum = sum_.value();
  };
  while (auto header = frame_at(bytes, at, output_size_)) {
    if (file_size_ - parts_.back().file >= part_size) {
      add();
      parts_.push_back({file_size_, output_size_, file_size_, 0});
      sum_ = {};
    }
    at += frame_header_size + header->size;
    file_size_ += static_cast<std::int64_t>(frame_header_size) + header->size;
    output_size_ += header->size;
  }
  add();
  return static_cast<std::int64_t>(at);
}

void LogFile::write_records(std::size_t first, const std::vector<Part>& parts) {
  std::string records;
  for (auto& part : parts) records += part.record();
  // Where they are not written they are made anew later.
  (void)base::pwrite_all(records_.get(), records, static_cast<std::int64_t>(first * record_size));
}

std::int64_t LogFile::size() const {
  std::lock_guard lock(mutex_);
  return output_size_;
}

std::vector<std::int64_t> LogFile::parts() const {
  std::lock_guard lock(mutex_);
  std::vector<std::int64_t> out;
  for (auto& part : parts_) out.push_back(part.output);
  return out;
}

Result<std::int64_t> LogFile::append(std::int64_t offset, std::string_view frames) {
  std::lock_guard lock(mutex_);
  std::int64_t end = hurt_ ? parts_.back().output : output_size_;
  if (offset != end || frames.empty()) return end;
  if (hurt_) {
    file_size_ = parts_.back().file;
    output_size_ = end;
    parts_.back().checked = file_size_;
    sum_ = {};
    hurt_ = false;
    longer_ = true;
    stale_ = true;
    unrecorded_ = parts_.size() - 1;
    ++rewrites_;
  }
  if (longer_ && ::ftruncate(data_.get(), file_size_) != 0)
    return base::errno_error("shorten " + path_);
  longer_ = false;
  // No record of what stood here may outlive a power loss: what comes now is other bytes.
  auto records = static_cast<off_t>((parts_.size() - 1) * record_size);
  if (stale_ && (::ftruncate(records_.get(), records) != 0 || ::fdatasync(records_.get()) != 0))
    return base::errno_error("write " + path_ + ".parts");
  stale_ = false;
  if (auto done = base::pwrite_all(data_.get(), frames, file_size_); !done) {
    longer_ = ::ftruncate(data_.get(), file_size_) != 0;
    return done.error();
  }
  take(frames);
  return output_size_;
}

Result<> LogFile::sync() {
  std::unique_lock lock(mutex_);
  const std::size_t first = unrecorded_, last = parts_.size() - 1;
  const std::vector<Part> written(parts_.begin() + static_cast<std::ptrdiff_t>(first),
                                  parts_.end());
  const auto rewrites = rewrites_;
  lock.unlock();
  if (::fdatasync(data_.get()) == 0) {
    lock.lock();
    durable_ = std::max(durable_, std::min(last, parts_.size() - 1));
    if (rewrites == rewrites_ && !hurt_ && unrecorded_ <= last) {
      write_records(first, written);
      unrecorded_ = last;
    }
    return ok();
  }
  Error error = base::errno_error("sync " + path_);
  lock.lock();
  // It can be read now, but the kernel tells of the failure only once.
  if (parts_.size() > durable_ + 1) parts_.resize(durable_ + 1);
  unrecorded_ = std::min(unrecorded_, parts_.size() - 1);
  hurt_ = true;
  return error;
}

Error LogFile::damaged(std::int64_t at) const {
  return base::error("damaged", "the log " + path_.substr(path_.rfind('/') + 1) +
                                    " is damaged behind byte " + std::to_string(at) +
                                    " of its file; `spell fsck` names what is hurt");
}

Result<std::string> LogFile::read(std::int64_t from, std::int64_t until, std::size_t limit) const {
  std::vector<Part> wanted;
  std::int64_t end;  // in the file
  {
    std::lock_guard lock(mutex_);
    until = std::min(until, output_size_);
    if (from >= until) return std::string();
    auto first = std::prev(
        std::upper_bound(parts_.begin(), parts_.end(), from,
                         [](std::int64_t value, const Part& part) { return value < part.output; }));
    auto last = std::next(first);
    while (last != parts_.end() && last->output < until &&
           last->file - first->file < static_cast<std::int64_t>(limit))
      ++last;
    wanted.assign(first, last);
    end = last == parts_.end() ? file_size_ : last->file;
  }
  const std::int64_t begin = wanted.front().file;
  auto raw = read_at(data_.get(), begin, end - begin);
  if (!raw) return raw.error();
  for (auto& part : wanted) {
    auto at = static_cast<std::size_t>(part.file - begin),
         size = static_cast<std::size_t>(part.checked - part.file);
    if (raw->size() >= at + size &&
        base::checksum(std::string_view(*raw).substr(at, size)) == part.sum)
      continue;
    if (&part == &wanted.front()) return damaged(part.file);
    // What lies before it is sound.
    raw->resize(std::min(raw->size(), at));
    until = std::min(until, part.output);
    break;
  }
  // The common case, whole frames, is returned as it was read.
  std::string out;
  std::int64_t position = wanted.front().output;
  std::size_t at = 0, kept = 0;
  bool copied = false;
  while (at < raw->size() && position < until && at - kept < limit && out.size() < limit) {
    auto header = frame_at(*raw, at, position);
    if (!header) return damaged(begin + static_cast<std::int64_t>(at));
    std::size_t next = at + frame_header_size + header->size;
    std::int64_t first = std::max(from, position),
                 last = std::min<std::int64_t>(until, position + header->size);
    if (last <= from) {
      kept = next;
    } else if (copied || last - first < header->size) {
      if (!copied) out.assign(*raw, kept, at - kept);
      copied = true;
      std::string_view payload(raw->data() + at + frame_header_size, header->size);
      auto piece = *header;
      piece.sequence = static_cast<std::uint64_t>(first);
      model::append_frame(out, piece,
                          payload.substr(static_cast<std::size_t>(first - position),
                                         static_cast<std::size_t>(last - first)));
    }
    at = next;
    position += header->size;
  }
  if (copied) return out;
  raw->resize(at);
  raw->erase(0, kept);
  return raw;
}

Result<LogFile::Sound> LogFile::check(const std::string& path, std::stop_token stop) {
  Sound out;
  auto data = base::open(path, O_RDONLY);
  if (!data && data.error().code() == "not_found") return out;
  if (!data) return data.error();
  struct stat st;
  if (::fstat(data->get(), &st) != 0) return base::errno_error("read " + path);
  auto known = read_parts(path, st.st_size);
  out.parts = known.sound;
  std::int64_t at = 0;
  std::size_t part = 0;
  while (at < st.st_size) {
    if (stop.stop_requested()) return base::error("canceled", "stopped before all was checked");
    // One part, or a block where none is known.
    bool checked = part < known.all.size() && known.all[part].file == at;
    std::int64_t end = part + 1 < known.all.size() ? known.all[part + 1].file
                       : checked                   ? known.all[part].checked
                                 : at + static_cast<std::int64_t>(block_size + frame_header_size);
    auto bytes = read_at(data->get(), at, end - at);
    if (!bytes) return bytes.error();
    if (checked) {
      auto size = static_cast<std::size_t>(known.all[part].checked - at);
      out.damaged = bytes->size() < size ||
                    base::checksum(std::string_view(*bytes).substr(0, size)) != known.all[part].sum;
      if (out.damaged) return out;
    }
    auto taken = whole_frames(*bytes, out.output);
    out.damaged = checked && taken != bytes->size();
    if (out.damaged || taken == 0) return out;
    at += static_cast<std::int64_t>(taken);
    ++part;
  }
  return out;
}

std::vector<std::string> LogFile::names(const std::string& path) {
  return {path, path + ".parts", path + ".idx"};  // .idx: of older versions
}

}  // namespace spell::service
