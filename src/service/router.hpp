// From a request to its handler: who may call, which route it is, and what its body may be.
#pragma once
#include <string>

#include "net/server.hpp"
#include "service/api.hpp"

namespace spell::service {

class Router : public net::Handler {
 public:
  Router(Context& context, const Callers& callers, std::function<void()> on_call)
      : context_(context), callers_(callers), on_call_(std::move(on_call)) {}
  net::BodyRule body_rule(const std::string& method, const std::string& raw_target) override;
  void handle(net::Request, net::Reply) override;
  net::Response error(const Error&, const std::string& request_id) override;

 private:
  Context& context_;
  const Callers& callers_;
  std::function<void()> on_call_;  // for every call but those of workers
};

}  // namespace spell::service
