#include "net/parser.hpp"

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/status.hpp>

#include "base/error.hpp"

namespace spell::net {

namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

struct MessageParser::Impl {
  virtual ~Impl() = default;
  virtual Result<Step> feed(std::string_view bytes) = 0;
  virtual bool finish() = 0;
  virtual bool done() const = 0;
  MessageHead head;
  bool started = false, head_done = false;
};

namespace {

template <bool request>
class Parser final : public MessageParser::Impl, private http::basic_parser<request> {
  using Base = http::basic_parser<request>;

 public:
  Parser(std::size_t header_limit, bool no_body) : header_limit_(header_limit) {
    Base::header_limit(static_cast<std::uint32_t>(header_limit));
    Base::body_limit(boost::none);
    Base::eager(false);
    if (no_body) Base::skip(true);
  }

  Result<MessageParser::Step> feed(std::string_view bytes) override {
    // Between chunks at least "0\r\n\r\n" is still to come, and Beast asserts that it sees as much
    // of a last one.
    if (this->head_done && Base::chunked() && chunk_left_ == 0 && bytes.size() < 5)
      return MessageParser::Step{};
    error_code failure;
    body_ = {};
    std::size_t used = Base::put(boost::asio::const_buffer(bytes.data(), bytes.size()), failure);
    this->started = this->started || !bytes.empty();
    // Beast's own limit holds for the part of the head that it has not yet cut into fields.
    if (!this->head_done || Base::chunked()) {
      overhead_ += used - body_.size();
      std::size_t limit = this->head_done ? header_limit_ + chunk_overhead() : header_limit_;
      if (overhead_ > limit) failure = http::error::header_limit;
      if (this->head_done && bytes.size() - used > header_limit_ &&
          failure == http::error::need_more)
        failure = http::error::header_limit;
    }
    if (failure == http::error::need_more) failure = {};
    if (failure == http::error::header_limit)
      return base::error("headers_too_large", "the header fields are longer than " +
                                                  std::to_string(header_limit_) + " bytes");
    if (failure) return base::error("invalid_request", "malformed HTTP: " + failure.message());
    if (!this->head_done && Base::is_header_done()) {
      this->head_done = true;
      this->head.keep_alive = Base::keep_alive() && !Base::need_eof();
      this->head.chunked = Base::chunked();
      if (auto length = Base::content_length()) {
        if (*length > static_cast<std::uint64_t>(INT64_MAX))
          return base::error("invalid_request", "malformed HTTP: bad Content-Length");
        this->head.content_length = static_cast<std::int64_t>(*length);
      }
      // Another coding than chunked leaves the body's length unknown: what follows could pass for a
      // request.
      if (request && !Base::chunked() &&
          !find_header(this->head.headers, "Transfer-Encoding").empty())
        return base::error("invalid_request", "malformed HTTP: bad Transfer-Encoding");
    }
    return MessageParser::Step{used, body_};
  }

  bool finish() override {
    if (!Base::got_some()) return false;
    error_code failure;
    Base::put_eof(failure);
    return !failure;
  }

  bool done() const override { return Base::is_done(); }

 private:
  /// Chunks must carry data: what their heads may cost grows with it.
  std::size_t chunk_overhead() const { return received_ * 16; }

  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       error_code&) override {
    this->head.method.assign(method.data(), method.size());
    this->head.target.assign(target.data(), target.size());
    this->head.http_1_0 = version < 11;
  }
  void on_response_impl(int status, string_view, int version, error_code&) override {
    this->head.status = status;
    this->head.http_1_0 = version < 11;
  }
  void on_field_impl(http::field, string_view name, string_view value, error_code&) override {
    if (this->head_done) return;  // trailers
    this->head.headers.emplace_back(std::string(name.data(), name.size()),
                                    std::string(value.data(), value.size()));
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view piece, error_code&) override { return take(piece); }
  void on_chunk_header_impl(std::uint64_t size, string_view, error_code&) override {
    chunk_left_ = size;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, string_view piece, error_code&) override {
    chunk_left_ -= piece.size();
    return take(piece);
  }
  void on_finish_impl(error_code&) override {}

  std::size_t take(string_view piece) {
    body_ = {piece.data(), piece.size()};
    received_ += piece.size();
    return piece.size();
  }

  std::string_view body_;
  std::size_t header_limit_;
  std::size_t overhead_ = 0, received_ = 0;
  std::uint64_t chunk_left_ = 0;
};

}  // namespace

MessageParser::MessageParser(Kind kind, std::size_t header_limit) {
  if (kind == Kind::request)
    impl_ = std::make_unique<Parser<true>>(header_limit, false);
  else
    impl_ = std::make_unique<Parser<false>>(header_limit, kind == Kind::response_to_head);
}
MessageParser::~MessageParser() = default;
MessageParser::MessageParser(MessageParser&&) noexcept = default;
MessageParser& MessageParser::operator=(MessageParser&&) noexcept = default;
Result<MessageParser::Step> MessageParser::feed(std::string_view bytes) {
  return impl_->feed(bytes);
}
bool MessageParser::finish() { return impl_->finish(); }
bool MessageParser::started() const { return impl_->started; }
bool MessageParser::head_done() const { return impl_->head_done; }
bool MessageParser::done() const { return impl_->done(); }
MessageHead& MessageParser::head() { return impl_->head; }

std::string_view reason_phrase(int status) {
  auto text = http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
  return {text.data(), text.size()};
}

}  // namespace spell::net
