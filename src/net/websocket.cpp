#include "net/websocket.hpp"

#include <openssl/evp.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"

namespace spell::net {

namespace {

enum Opcode : std::uint8_t {
  continuation = 0,
  text = 1,
  binary = 2,
  closing = 8,
  ping = 9,
  pong = 10
};
constexpr std::uint8_t final_bit = 0x80, mask_bit = 0x80;
constexpr std::size_t control_limit = 125;  // RFC 6455, section 5.5

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return (x | 0x20) == (y | 0x20);  // letters and '-' only
  });
}

/// Whether a comma-separated field has this word.
bool has_word(std::string_view field, std::string_view word) {
  while (!field.empty()) {
    auto part = field.substr(0, field.find(','));
    field.remove_prefix(std::min(field.size(), part.size() + 1));
    while (!part.empty() && (part.front() == ' ' || part.front() == '\t')) part.remove_prefix(1);
    while (!part.empty() && (part.back() == ' ' || part.back() == '\t')) part.remove_suffix(1);
    if (same_word(part, word)) return true;
  }
  return false;
}

void apply_mask(char* bytes, std::size_t size, const std::array<char, 4>& mask,
                std::size_t position) {
  for (std::size_t i = 0; i < size; ++i) bytes[i] ^= mask[(position + i) & 3];
}

Error bad(const std::string& what) {
  return base::error("invalid_stream", "the other end of the stream sent " + what);
}

}  // namespace

std::string make_upgrade_key() { return base::base64(base::random_bytes(16)); }

std::string upgrade_accept(std::string_view key) {
  // The constant is RFC 6455's, section 1.3.
  std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr) != 1) return {};
  return base::base64({reinterpret_cast<char*>(digest), size});
}

Headers upgrade_request(const std::string& key) {
  return {{"Connection", "Upgrade"},
          {"Upgrade", "websocket"},
          {"Sec-WebSocket-Version", "13"},
          {"Sec-WebSocket-Key", key}};
}

std::string upgrade_key(const Headers& headers) {
  std::string_view key = find_header(headers, "Sec-WebSocket-Key");
  bool fine = has_word(find_header(headers, "Upgrade"), "websocket") &&
              has_word(find_header(headers, "Connection"), "upgrade") &&
              find_header(headers, "Sec-WebSocket-Version") == "13" && key.size() == 24;
  return fine ? std::string(key) : std::string();
}

void append_message(std::string& out, WireMessage::Kind kind, std::string_view payload,
                    bool masked) {
  std::uint8_t opcode = kind == WireMessage::Kind::data   ? binary
                        : kind == WireMessage::Kind::ping ? ping
                        : kind == WireMessage::Kind::pong ? pong
                                                          : closing;
  out += static_cast<char>(final_bit | opcode);
  std::uint8_t flag = masked ? mask_bit : 0;
  std::size_t size = payload.size();
  int more = size < 126 ? 0 : size < 65536 ? 2 : 8;
  out += static_cast<char>(flag | (more == 0 ? size : more == 2 ? 126 : 127));
  for (int i = more - 1; i >= 0; --i) out += static_cast<char>(size >> 8 * i & 0xFF);
  if (!masked) {
    out.append(payload);
    return;
  }
  std::string random = base::random_bytes(4);
  std::array<char, 4> mask{random[0], random[1], random[2], random[3]};
  out.append(random);
  std::size_t begin = out.size();
  out.append(payload);
  apply_mask(out.data() + begin, size, mask, 0);
}

Result<> MessageReader::feed(std::string_view bytes) {
  while (!bytes.empty() || (in_payload_ && left_ == 0)) {
    if (!in_payload_) {
      std::size_t whole = 2;
      if (head_.size() >= 2) {
        auto length = static_cast<std::uint8_t>(head_[1]) & 0x7F;
        whole += (length == 126 ? 2 : length == 127 ? 8 : 0) + (masked_ ? 4 : 0);
      }
      std::size_t used = std::min(bytes.size(), whole - head_.size());
      head_.append(bytes.substr(0, used));
      bytes.remove_prefix(used);
      if (head_.size() < whole) continue;
      if (whole == 2) {
        auto second = static_cast<std::uint8_t>(head_[1]);
        if (((second & mask_bit) != 0) != masked_)
          return bad(masked_ ? "a frame without a mask" : "a masked frame");
        if (masked_ || (second & 0x7F) >= 126) continue;  // more of the head is to come
      }
      SPELL_TRY(begin_frame());
      continue;
    }
    std::size_t used = std::min(bytes.size(), left_);
    std::string& into = opcode_ >= closing ? control_ : message_;
    std::size_t begin = into.size();
    into.append(bytes.substr(0, used));
    if (masked_) apply_mask(into.data() + begin, used, mask_, position_);
    position_ += used;
    left_ -= used;
    bytes.remove_prefix(used);
    if (left_ == 0) end_frame();
  }
  return ok();
}

/// The head is whole: decides whether its frame may come.
Result<> MessageReader::begin_frame() {
  auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(head_[i]); };
  last_ = (byte(0) & final_bit) != 0;
  opcode_ = byte(0) & 0x0F;
  if ((byte(0) & 0x70) != 0) return bad("a frame with unknown flags");
  std::uint64_t size = byte(1) & 0x7F;
  std::size_t at = 2, more = size == 126 ? 2 : size == 127 ? 8 : 0;
  if (more > 0) {
    size = 0;
    for (std::size_t i = 0; i < more; ++i) size = size << 8 | byte(at++);
    if (size < (more == 2 ? 126U : 65536U)) return bad("a length in the wrong form");
  }
  if (masked_) std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(at), 4, mask_.begin());
  bool control = opcode_ >= closing;
  if (opcode_ > pong || (opcode_ > binary && !control)) return bad("a frame of an unknown kind");
  if (control && (!last_ || size > control_limit)) return bad("a control frame that is too long");
  if (!control && in_message_ != (opcode_ == continuation))
    return bad("a message in the middle of another");
  if (!control && (size > limit_ || message_.size() + size > limit_))
    return bad("a message that is longer than " + std::to_string(limit_) + " bytes");
  head_.clear();
  left_ = static_cast<std::size_t>(size);
  position_ = 0;
  in_payload_ = true;
  return ok();
}

void MessageReader::end_frame() {
  in_payload_ = false;
  if (opcode_ >= closing) {
    auto kind = opcode_ == closing ? WireMessage::Kind::close
                : opcode_ == ping  ? WireMessage::Kind::ping
                                   : WireMessage::Kind::pong;
    messages_.push_back({kind, std::exchange(control_, {})});
    return;
  }
  in_message_ = !last_;
  if (last_) messages_.push_back({WireMessage::Kind::data, std::exchange(message_, {})});
}

std::optional<WireMessage> MessageReader::next() {
  if (messages_.empty()) return std::nullopt;
  auto first = std::move(messages_.front());
  messages_.pop_front();
  return first;
}

}  // namespace spell::net
