#include "spell/cost.hpp"

#include "base/clock.hpp"
#include "client/connection.hpp"
#include "spell/client.hpp"
#include "spell/json.hpp"

namespace spell {

using namespace detail;
using model::Route;

namespace {

constexpr std::string_view names[] = {"run",     "workflow", "project", "user",
                                      "machine", "type",     "day"};

std::string time_text(Time time) {
  return base::rfc3339(
      std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count());
}

}  // namespace

Result<CostReport> Client::costs(const CostFilter& filter, CallOptions options) const {
  auto by = static_cast<std::size_t>(filter.by);
  Call call{.route = Route::get_costs};
  call.query = {{"by", std::string(by < std::size(names) ? names[by] : "")},
                {"limit", std::to_string(filter.limit)}};
  if (filter.since) call.query.emplace_back("since", time_text(*filter.since));
  if (filter.until) call.query.emplace_back("until", time_text(*filter.until));
  auto answer = connection_->call(call, options);
  if (!answer) return answer.error();
  return member<CostReport>(*answer, "costs");
}

}  // namespace spell
