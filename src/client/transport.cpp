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
  explicit HttpTransport(const std::string& endpoint) : client_(endpoint) {}
  Result<net::ClientResponse> send(const net::ClientRequest& request,
                                   const CallOptions& options) override {
    return client_.send(request, options, answer_limit);
  }
  Result<std::unique_ptr<Body>> open(const net::ClientRequest& request,
                                     const CallOptions& options) override {
    auto stream = client_.open(request, options);
    if (!stream) return stream.error();
    return std::unique_ptr<Body>(std::make_unique<HttpBody>(std::move(*stream)));
  }

 private:
  net::HttpClient client_;
};

}  // namespace

std::unique_ptr<Transport> make_http_transport(const std::string& endpoint) {
  return std::make_unique<HttpTransport>(endpoint);
}

}  // namespace spell::detail
