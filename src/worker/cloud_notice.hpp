// What clouds say of a machine that they are about to take away. Each says it over a metadata
// service that only the machine itself reaches, in clear, at a link-local address:
//
//   aws    GET /latest/meta-data/spot/instance-action with a session token (IMDSv2): 404, or
//          {"action", "time"}; about two minutes before. To be asked every 5 s: "Spot Instance
//          interruption notices" in the EC2 User Guide
//   gcp    GET /computeMetadata/v1/instance/preempted?wait_for_change=true: answers when it becomes
//          TRUE; 30 s before. "Spot VMs" and "Query metadata" in Compute Engine's documentation
//   azure  GET /metadata/scheduledevents?api-version=2020-07-01: events of the machine's kind, each
//          with its NotBefore; 30 s before for spot machines. To be asked every second, and to be
//          approved with a POST of StartRequests by whom has nothing more to do: "Scheduled Events
//          for Linux VMs" in Azure's documentation
//
// A notice may be taken back: the event is gone then, before it has begun. So a cloud is asked on.
// One thread, where there is a cloud; none elsewhere.
#pragma once
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "net/client.hpp"
#include "worker/notice.hpp"

namespace spell::worker {

enum class Cloud { none, aws, gcp, azure };
/// "aws", "gcp", "azure", "none"; "auto": as this computer's firmware says whose it is
/// (`dmi`: where the kernel shows that). Error `invalid_configuration`.
Result<Cloud> find_cloud(const std::string& name, const std::string& dmi = "/sys/class/dmi/id");

struct CloudNoticeOptions {
  Cloud cloud = Cloud::none;
  std::string url{};  ///< "http://HOST:PORT"; "": the cloud's own address
  /// How often it is asked; none: as the cloud wants it.
  std::optional<std::chrono::milliseconds> every{};
  /// Called from its thread; again where it has an earlier time.
  std::function<void(const Notice&)> notice{};
  /// The cloud says nothing any more of the notice that it gave. Called from its thread.
  std::function<void(const Notice&)> withdrawn{};
  std::function<void(const std::string& line)> log{};
};

class CloudNotice {
 public:
  /// Null: there is no cloud to ask.
  static std::unique_ptr<CloudNotice> start(CloudNoticeOptions options);
  ~CloudNotice();
  /// Nothing is left to do here: the machine may go before its time. Any thread.
  void ready_to_go();

 private:
  explicit CloudNotice(CloudNoticeOptions options);
  void watch();
  void heed(const std::optional<Notice>&);
  /// None: nothing is said. Errors: it cannot be asked, or what it says cannot be read.
  Result<std::optional<Notice>> ask();
  Result<std::optional<Notice>> ask_aws();
  Result<std::optional<Notice>> ask_gcp();
  Result<std::optional<Notice>> ask_azure();
  Result<net::ClientResponse> send(net::ClientRequest, std::chrono::seconds limit);
  void approve();
  bool wait(std::chrono::milliseconds);

  CloudNoticeOptions options_;
  net::HttpClient client_;
  std::stop_source stop_;
  std::string token_;             ///< aws
  std::string etag_;              ///< gcp: of the answer that is known
  std::string own_name_;          ///< azure: this machine, as events name it
  std::string event_, approved_;  ///< azure: what is to be approved, and what has been
  std::optional<Notice> told_;    ///< what the cloud has said, as it was handed on
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool ready_ = false;
  std::thread thread_;
};

}  // namespace spell::worker
