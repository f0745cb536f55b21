#include "worker/joined.hpp"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file.hpp"

namespace spell::worker {

namespace {

using nlohmann::json;

std::string joined_path(const std::string& folder) { return folder + "/" + joined_file; }

}  // namespace

net::Trust Joined::trust() const {
  if (fingerprint.empty()) return {};
  return {net::Trust::Kind::authority, fingerprint};
}

Result<std::optional<Joined>> read_joined(const std::string& folder) {
  auto text = base::read_file(joined_path(folder), 1 << 20);
  if (!text && text.error().code() == "not_found") return std::optional<Joined>();
  if (!text) return text.error();
  Joined joined;
  json parsed = json::parse(*text, nullptr, false);
  bool fine = parsed.is_object();
  const std::pair<const char*, std::string*> texts[] = {
      {"url", &joined.url},         {"fingerprint", &joined.fingerprint},
      {"machine", &joined.machine}, {"name", &joined.name},
      {"token", &joined.token},     {"certificate", &joined.identity.certificate},
      {"key", &joined.identity.key}};
  for (auto& [name, into] : texts) {
    fine = fine && parsed.contains(name) && parsed[name].is_string();
    if (fine) *into = parsed[name];
  }
  fine = fine && parsed.contains("joined_us") && parsed["joined_us"].is_number_integer();
  if (fine && parsed.contains("proxy")) {
    auto& proxy = parsed["proxy"];
    const std::pair<const char*, std::string*> parts[] = {
        {"host", &joined.proxy.host},
        {"port", &joined.proxy.port},
        {"credentials", &joined.proxy.credentials},
        {"except", &joined.proxy.except}};
    for (auto& [name, into] : parts) {
      fine = fine && proxy.is_object() && proxy.contains(name) && proxy[name].is_string();
      if (fine) *into = proxy[name];
    }
  }
  if (!fine)
    return base::error("damaged",
                       joined_path(folder) + " is damaged: `spell-worker leave`, then join again");
  joined.joined_us = parsed["joined_us"];
  return std::optional<Joined>(std::move(joined));
}

Result<> write_joined(const std::string& folder, const Joined& joined) {
  json out{{"url", joined.url},          {"fingerprint", joined.fingerprint},
           {"machine", joined.machine},  {"name", joined.name},
           {"token", joined.token},      {"certificate", joined.identity.certificate},
           {"key", joined.identity.key}, {"joined_us", joined.joined_us}};
  if (auto& proxy = joined.proxy; !proxy.host.empty())
    out["proxy"] = {{"host", proxy.host},
                    {"port", proxy.port},
                    {"credentials", proxy.credentials},
                    {"except", proxy.except}};
  return base::write_file(joined_path(folder), out.dump(2) + "\n", 0600);
}

Result<> forget_joined(const std::string& folder) {
  if (::unlink(joined_path(folder).c_str()) == 0) return base::sync_folder(folder);
  return errno == ENOENT ? ok() : Result<>(base::errno_error("remove " + joined_path(folder)));
}

}  // namespace spell::worker
