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
  Result<net::BodyRule> body_rule(const net::Request& head) override;
  void handle(net::Request, net::Reply) override;
  net::Response error(const Error&, const std::string& request_id) override;

 private:
  /// Who it is, if he may use this route.
  Result<Caller> admit(const net::Request&, const model::RouteRow&, const std::string& machine);
  /// Counts and logs the answer; `user` may be filled in until then.
  void observe(const net::Request&, const net::Reply&, const model::RouteRow*,
               std::shared_ptr<std::string> user);
  Context& context_;
  const Callers& callers_;
  std::function<void()> on_call_;  // for every call but those of workers
};

}  // namespace spell::service
