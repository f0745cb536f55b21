#include "worker/log_shipper.hpp"

#include <fcntl.h>

#include <algorithm>

#include "base/error.hpp"
#include "model/log.hpp"

namespace spell::worker {

using model::frame_header_size;
using model::FrameKind;

namespace {

Result<model::FrameHeader> read_header(int spool, std::int64_t at) {
  char bytes[frame_header_size];
  auto read = base::pread_full(spool, bytes, sizeof bytes, at);
  if (!read) return read.error();
  return model::parse_frame_header({bytes, *read});
}

}  // namespace

Result<> LogShipper::seek(std::int64_t output_offset, std::int64_t spool_end) {
  if (output_offset < offset_) position_ = offset_ = 0;
  skip_ = 0;
  while (position_ < spool_end) {
    auto header = read_header(spool_.get(), position_);
    if (!header) return header.error();
    if (header->kind == FrameKind::output) {
      if (offset_ + header->size > output_offset) break;
      offset_ += header->size;
    }
    position_ += static_cast<std::int64_t>(frame_header_size) + header->size;
  }
  skip_ = std::max<std::int64_t>(0, output_offset - offset_);
  return ok();
}

Result<LogShipper::Batch> LogShipper::next_batch(std::int64_t spool_end) const {
  // Room for one frame of the greatest size.
  auto room = static_cast<std::size_t>(
      std::clamp<std::int64_t>(spool_end - position_, 0, batch_limit + frame_header_size));
  Batch batch{std::string(room, '\0'), position_, offset_};
  auto& frames = batch.frames;
  auto read = base::pread_full(spool_.get(), frames.data(), room, position_);
  if (!read) return read.error();
  frames.resize(*read);
  std::size_t at = 0;
  while (frames.size() - at >= frame_header_size) {
    auto header = model::parse_frame_header(std::string_view(frames).substr(at, frame_header_size));
    if (!header) return header.error();
    // What is not output is stepped over by the next seek.
    if (header->kind != FrameKind::output || frames.size() - at - frame_header_size < header->size)
      break;
    at += frame_header_size + header->size;
    batch.next_offset += header->size;
  }
  frames.resize(at);
  batch.next_position += static_cast<std::int64_t>(at);
  if (skip_ > 0 && at > 0) {
    auto header = *model::parse_frame_header(std::string_view(frames).substr(0, frame_header_size));
    std::string first;
    auto skipped = static_cast<std::size_t>(skip_);
    header.sequence += skipped;
    model::append_frame(
        first, header,
        std::string_view(frames).substr(frame_header_size + skipped, header.size - skipped));
    frames.replace(0, frame_header_size + header.size, first);
  }
  return batch;
}

Result<std::int64_t> LogShipper::ship(std::int64_t spool_end, const Send& send) {
  if (!spool_) {
    auto file = base::open(path_, O_RDONLY);
    if (!file) return file.error();
    spool_ = std::move(*file);
  }
  if (!known_) {
    auto durable = send(0, {});
    if (!durable) return durable;
    SPELL_TRY(seek(*durable, spool_end));
    known_ = true;
    return durable;
  }
  SPELL_TRY(seek(offset_ + skip_, spool_end));
  std::int64_t from = offset_ + skip_;
  auto batch = next_batch(spool_end);
  if (!batch) return batch.error();
  if (batch->frames.empty()) {
    auto durable = send(from, {});
    if (durable && *durable < from) SPELL_TRY(seek(*durable, spool_end));
    return durable;
  }
  auto durable = send(from, std::move(batch->frames));
  if (!durable) return durable;
  if (*durable != batch->next_offset) {
    SPELL_TRY(seek(*durable, spool_end));
  } else {
    position_ = batch->next_position;
    offset_ = batch->next_offset;
    skip_ = 0;
  }
  return durable;
}

}  // namespace spell::worker
