#include "client/transport.hpp"

namespace spell::detail {

namespace {

class HttpBody : public Body {
 public:
  explicit HttpBody(net::ClientStream stream) : stream_(std::move(stream)) {}
  int status() const override { return stream_.status(); }
  const net::Headers& headers() const override { return stream_.headers(); }
  Result<std::size_t> read(char* buffer, std::size_t size, const CallOptions& options) override {
    return stream_.read(buffer, size, options);
  }

 private:
  net::ClientStream stream_;
};

class HttpTransport : public Transport {
 public:
  HttpTransport(const std::string& endpoint, HttpOptions options)
      : endpoint_(endpoint),
        options_(std::move(options)),
        client_(endpoint, 16, options_.trust, {}, options_.proxy) {}
  HttpTransport(const std::string& endpoint, net::Dial dial)
      : endpoint_(endpoint), client_(endpoint, std::move(dial)) {}
  Result<net::ClientResponse> send(const net::ClientRequest& request,
                                   const CallOptions& options) override {
    auto answer = client_.send(with_token(request), options, answer_limit);
    if (!answer) return explained(answer.error());
    return answer;
  }
  Result<std::unique_ptr<Body>> open(const net::ClientRequest& request,
                                     const CallOptions& options) override {
    auto stream = client_.open(with_token(request), options);
    if (!stream) return explained(stream.error());
    return std::unique_ptr<Body>(std::make_unique<HttpBody>(std::move(*stream)));
  }

  Result<net::Upgrade> upgrade(const net::ClientRequest& request,
                               const CallOptions& options) override {
    auto upgraded = client_.upgrade(with_token(request), options);
    if (!upgraded) return explained(upgraded.error());
    return upgraded;
  }

 private:
  net::ClientRequest with_token(net::ClientRequest request) const {
    if (!options_.token.empty())
      request.headers.emplace_back("Authorization", "Bearer " + options_.token);
    return request;
  }

  /// What somebody does who is not trusted only he can say who knows him.
  Error explained(const Error& error) const {
    if (error.code() != "untrusted_service") return error;
    bool pinned = options_.trust.kind == net::Trust::Kind::authority;
    return Error(
        error.code(),
        error.message() +
            (pinned ? "; nothing was sent. Ask its administrator for its fingerprint: only "
                      "if it has changed, spell login " +
                          endpoint_ + " --fingerprint HEX"
                    : "; a service with an authority of its own is trusted by spell login " +
                          endpoint_ + " --fingerprint HEX"));
  }

  const std::string endpoint_;
  const HttpOptions options_;
  net::HttpClient client_;
};

}  // namespace

std::unique_ptr<Transport> make_http_transport(const std::string& endpoint, HttpOptions options) {
  return std::make_unique<HttpTransport>(endpoint, std::move(options));
}

std::unique_ptr<Transport> make_http_transport(const std::string& endpoint, net::Dial dial) {
  return std::make_unique<HttpTransport>(endpoint, std::move(dial));
}

}  // namespace spell::detail
