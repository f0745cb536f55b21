// Who did what.
#include "service/api.hpp"

namespace spell::service {

Result<> audit(State& state, std::int64_t now_us, const Caller& caller, const std::string& action,
               const std::string& thing, const std::string& detail, const std::string& request_id) {
  return state.writer().add_audit({0, now_us, caller.name, action, thing, detail, request_id});
}

Result<> audit(State& state, std::int64_t now_us, const Call& call, const std::string& action,
               const std::string& thing, const std::string& detail) {
  return audit(state, now_us, call->caller, action, thing, detail, call->request.id);
}

}  // namespace spell::service
