// From a request to its handler: who may call, which route it is, and what its body may be.
#pragma once
#include <string>

#include "net/server.hpp"
#include "service/api.hpp"

namespace spell::service {

class Router : public net::Handler {
 public:
  Router(Context& context, std::string machine_token, std::function<void()> on_call)
      : context_(context), machine_token_(std::move(machine_token)), on_call_(std::move(on_call)) {}
  net::BodyRule body_rule(const std::string& method, const std::string& raw_target) override;
  void handle(net::Request, net::Reply) override;
  net::Response error(const Error&, const std::string& request_id) override;

 private:
  Result<> authorize(const net::Request&, const model::RouteRow&) const;
  Context& context_;
  std::string machine_token_;
  std::function<void()> on_call_;  // for every call but those of workers
};

}  // namespace spell::service
