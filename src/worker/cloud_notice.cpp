#include "worker/cloud_notice.hpp"

#include <time.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"

namespace spell::worker {

namespace {

using nlohmann::json;

constexpr const char* link_local = "http://169.254.169.254:80";
/// By which Azure's machines know themselves among those of others on the same hypervisor.
constexpr std::string_view azure_asset_tag = "7783-7084-3265-9085-8269-3286-77";
constexpr std::chrono::seconds notice_limit{10};
constexpr std::chrono::seconds longest_wait{60};  ///< of one request to gcp
constexpr std::int64_t notice_size = 1 << 20;
constexpr std::int64_t gcp_leaves_us = 30'000'000;
constexpr std::chrono::milliseconds after_failure{5000};

std::string dmi_of(const std::string& folder, const char* name) {
  auto text = base::read_file(folder + "/" + name, 4096);
  return text ? std::string(base::trim(*text)) : "";
}

std::int64_t boot_us() { return base::boot_ns() / 1000; }

/// The clock of the machine is that of the cloud, about.
std::int64_t boot_time_of(std::int64_t unix_us) {
  return boot_us() + std::max<std::int64_t>(0, unix_us - base::unix_us());
}

/// "Mon, 19 Sep 2016 18:29:47 GMT".
std::optional<std::int64_t> parse_http_date(const std::string& text) {
  tm fields{};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S", &fields);
  if (!end || std::string_view(end) != " GMT") return std::nullopt;
  return static_cast<std::int64_t>(::timegm(&fields)) * 1'000'000;
}

std::string text_in(const json& object, const char* key) {
  auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Error not_understood(const char* cloud, const std::string& what) {
  return base::error("bad_answer", std::string(cloud) + "'s metadata service answers " + what);
}

}  // namespace

Result<Cloud> find_cloud(const std::string& name, const std::string& dmi) {
  if (name == "none") return Cloud::none;
  if (name == "aws") return Cloud::aws;
  if (name == "gcp") return Cloud::gcp;
  if (name == "azure") return Cloud::azure;
  if (name != "auto")
    return base::error("invalid_configuration",
                       "'" + name + "' is no source of notices: aws, gcp, azure, none or auto");
  auto vendor = dmi_of(dmi, "sys_vendor");
  if (vendor == "Amazon EC2") return Cloud::aws;
  if (vendor == "Google") return Cloud::gcp;
  if (vendor == "Microsoft Corporation" && dmi_of(dmi, "chassis_asset_tag") == azure_asset_tag)
    return Cloud::azure;
  return Cloud::none;
}

std::unique_ptr<CloudNotice> CloudNotice::start(CloudNoticeOptions options) {
  if (options.cloud == Cloud::none) return nullptr;
  std::unique_ptr<CloudNotice> out(new CloudNotice(std::move(options)));
  out->thread_ = std::thread([notice = out.get()] { notice->watch(); });
  return out;
}

CloudNotice::CloudNotice(CloudNoticeOptions options)
    : options_(std::move(options)), client_(options_.url.empty() ? link_local : options_.url, 1) {}

CloudNotice::~CloudNotice() {
  stop_.request_stop();
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CloudNotice::ready_to_go() {
  {
    std::lock_guard lock(mutex_);
    ready_ = true;
  }
  changed_.notify_all();
}

/// True, perhaps before that: the machine may go, which is to be said.
bool CloudNotice::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  auto may_go = [&] { return ready_ && !event_.empty() && approved_ != event_; };
  changed_.wait_for(lock, stop_.get_token(), time, may_go);
  return !stop_.stop_requested() && may_go();
}

void CloudNotice::watch() {
  std::string said;
  while (!stop_.stop_requested()) {
    auto answer = ask();
    if (stop_.stop_requested()) return;
    std::string wrong = answer ? "" : answer.error().message();
    if (wrong != said && options_.log)
      options_.log(wrong.empty() ? "the cloud's notices can be asked for again"
                                 : "no notice can be had of the cloud: " + wrong);
    said = wrong;
    if (answer) heed(*answer);
    // gcp has waited itself.
    auto pause = !answer                          ? after_failure
                 : options_.cloud == Cloud::aws   ? std::chrono::milliseconds(5000)
                 : options_.cloud == Cloud::azure ? std::chrono::milliseconds(1000)
                                                  : std::chrono::milliseconds(0);
    if (options_.every && (!answer || pause.count() > 0)) pause = *options_.every;
    if (wait(pause)) approve();
  }
}

void CloudNotice::heed(const std::optional<Notice>& notice) {
  // Its time is of two clocks, so never the same to the last moment.
  constexpr std::int64_t about_us = 1'000'000;
  bool earlier = notice && (!told_ || notice->at_us < told_->at_us - about_us);
  if (earlier || !notice) {
    // Whoever was ready for another notice has to say so anew.
    std::lock_guard lock(mutex_);
    ready_ = false;
  }
  if (earlier) options_.notice(*notice);
  if (told_ && !notice) options_.withdrawn(*told_);
  if (earlier || !notice) told_ = notice;
}

Result<net::ClientResponse> CloudNotice::send(net::ClientRequest request,
                                              std::chrono::seconds limit) {
  return client_.send(request, {limit, stop_.get_token()}, notice_size);
}

Result<std::optional<Notice>> CloudNotice::ask() {
  if (options_.cloud == Cloud::aws) return ask_aws();
  if (options_.cloud == Cloud::gcp) return ask_gcp();
  return ask_azure();
}

Result<std::optional<Notice>> CloudNotice::ask_aws() {
  for (bool fresh = false;; fresh = true) {
    if (token_.empty()) {
      auto made = send({.method = "PUT",
                        .target = "/latest/api/token",
                        .headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}}},
                       notice_limit);
      if (!made) return made.error();
      if (made->status != 200)
        return not_understood("AWS", std::to_string(made->status) + " to the wish for a token");
      token_ = made->body;
      fresh = true;
    }
    auto action = send({.target = "/latest/meta-data/spot/instance-action",
                        .headers = {{"X-aws-ec2-metadata-token", token_}}},
                       notice_limit);
    if (!action) return action.error();
    if (action->status == 404) return std::optional<Notice>();
    if (action->status == 401 && !fresh) {
      token_.clear();
      continue;
    }
    if (action->status != 200) {
      token_.clear();
      return not_understood("AWS", std::to_string(action->status));
    }
    auto said = json::parse(action->body, nullptr, false);
    auto at = base::parse_rfc3339(text_in(said, "time"));
    if (text_in(said, "action").empty() || !at)
      return not_understood("AWS", "what is no notice: " + action->body.substr(0, 200));
    return std::optional(Notice{"aws", "spot interruption, AWS", boot_time_of(*at)});
  }
}

Result<std::optional<Notice>> CloudNotice::ask_gcp() {
  std::string target = "/computeMetadata/v1/instance/preempted";
  if (!etag_.empty())
    target += "?wait_for_change=true&timeout_sec=" + std::to_string(longest_wait.count()) +
              "&last_etag=" + etag_;
  auto answer = send({.target = target, .headers = {{"Metadata-Flavor", "Google"}}},
                     longest_wait + notice_limit);
  if (!answer) return answer.error();
  if (answer->status != 200) return not_understood("Google", std::to_string(answer->status));
  etag_ = net::find_header(answer->headers, "ETag");
  // It becomes part of a target.
  bool plain = !etag_.empty() && std::all_of(etag_.begin(), etag_.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_';
  });
  auto text = base::trim(answer->body);
  if (text == "TRUE")
    return std::optional(Notice{"gcp", "preempted, Google Cloud", boot_us() + gcp_leaves_us});
  if (text != "FALSE" || !plain) {
    etag_.clear();
    return not_understood("Google", "neither TRUE nor FALSE with an ETag");
  }
  return std::optional<Notice>();
}

Result<std::optional<Notice>> CloudNotice::ask_azure() {
  net::Headers headers{{"Metadata", "true"}};
  if (own_name_.empty()) {
    auto name =
        send({.target = "/metadata/instance/compute/name?api-version=2020-06-01&format=text",
              .headers = headers},
             notice_limit);
    if (!name) return name.error();
    if (name->status != 200 || name->body.empty())
      return not_understood("Azure",
                            std::to_string(name->status) + " to what this machine is called");
    own_name_ = name->body;
  }
  auto answer =
      send({.target = "/metadata/scheduledevents?api-version=2020-07-01", .headers = headers},
           notice_limit);
  if (!answer) return answer.error();
  if (answer->status != 200) return not_understood("Azure", std::to_string(answer->status));
  auto said = json::parse(answer->body, nullptr, false);
  auto events = said.is_object() ? said.find("Events") : said.end();
  if (!said.is_object() || events == said.end() || !events->is_array())
    return not_understood("Azure", "what is no list of events");
  event_.clear();
  for (auto& event : *events) {
    auto type = text_in(event, "EventType");
    if (type != "Preempt" && type != "Terminate") continue;
    // Events are told to all machines of a group.
    auto resources = event.find("Resources");
    bool mine = resources != event.end() && resources->is_array() &&
                std::any_of(resources->begin(), resources->end(), [&](auto& name) {
                  return name.is_string() &&
                         base::lower(name.template get<std::string>()) == base::lower(own_name_);
                });
    if (!mine) continue;
    // Begun already: there is none any more.
    auto at = parse_http_date(text_in(event, "NotBefore"));
    event_ = text_in(event, "EventId");
    return std::optional(
        Notice{"azure", (type == "Preempt" ? "preempted" : "terminated") + std::string(", Azure"),
               at ? boot_time_of(*at) : boot_us()});
  }
  return std::optional<Notice>();
}

void CloudNotice::approve() {
  approved_ = event_;
  json body{{"StartRequests", json::array({{{"EventId", event_}}})}};
  auto done = send({.method = "POST",
                    .target = "/metadata/scheduledevents?api-version=2020-07-01",
                    .headers = {{"Metadata", "true"}, {"Content-Type", "application/json"}},
                    .body = body.dump()},
                   notice_limit);
  bool taken = done && done->status / 100 == 2;
  if (!taken && options_.log && !stop_.stop_requested())
    options_.log("Azure was not told that this machine may go: " +
                 (done ? "it answers " + std::to_string(done->status) : done.error().message()));
}

}  // namespace spell::worker
