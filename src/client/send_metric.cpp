// From within a run to the worker of its machine.
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>

#include "base/error.hpp"
#include "model/metric.hpp"
#include "net/client.hpp"
#include "spell/metric.hpp"

namespace spell {

namespace {

using namespace std::chrono_literals;
constexpr std::chrono::milliseconds patience = 10s, pause = 20ms;

/// A connection to begin with is worth much more than the request: it is kept between points, the
/// one thing that this library keeps in no object. To another address it is another one.
struct Worker {
  std::mutex mutex;
  std::string address;
  std::shared_ptr<net::HttpClient> client;
};

/// The way to this run's worker; null outside of a run.
std::shared_ptr<net::HttpClient> find_worker() {
  const char* where = std::getenv("SPELL_METRICS");
  if (!where || !*where) return nullptr;
  static Worker the_worker;
  std::lock_guard lock(the_worker.mutex);
  if (!the_worker.client || the_worker.address != where) {
    the_worker.address = where;
    the_worker.client = std::make_shared<net::HttpClient>("http://" + the_worker.address);
  }
  return the_worker.client;
}

Error refusal(const net::ClientResponse& response) {
  auto body = nlohmann::json::parse(response.body, nullptr, false);
  std::string message = "the worker answered " + std::to_string(response.status);
  if (body.is_object() && body.contains("error") && body["error"].is_object())
    message = body["error"].value("message", message);
  return base::error("invalid_metric", message);
}

Result<> send(model::SentMetric metric) {
  auto worker = find_worker();
  if (!worker) return ok();
  net::ClientRequest request;
  request.method = "POST";
  request.target = "/user-metrics";
  request.headers = {{"Content-Type", "application/json"}};
  request.body =
      model::to_json(metric).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto response = worker->send(request, {.timeout = patience, .stop = {}});
    if (response && response->status == 200) return ok();
    if (response && response->status != 503) return refusal(*response);
    // The worker is away for a moment: it is being started again. A point may have been taken if
    // the connection broke, and would come twice.
    if (!response && response.error().code() != "service_unreachable") return response.error();
    if (std::chrono::steady_clock::now() > end)
      return response ? Result<>(refusal(*response)) : Result<>(response.error());
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace

Result<> send_metric(std::string_view name, double value, std::optional<std::int64_t> index) {
  return send({std::string(name), index, value});
}

Result<> send_metric(std::string_view name, std::string_view text,
                     std::optional<std::int64_t> index) {
  return send({std::string(name), index, std::string(text)});
}

Result<> send_metric(std::string_view name, const char* text, std::optional<std::int64_t> index) {
  return send_metric(name, std::string_view(text), index);
}

}  // namespace spell
