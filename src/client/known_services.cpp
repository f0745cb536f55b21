#include "spell/known_services.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/spell_dir.hpp"
#include "base/text.hpp"
#include "model/run.hpp"
#include "net/client.hpp"

namespace spell {

namespace {

using nlohmann::json;

Result<std::string> services_folder(const std::string& spell_dir) {
  auto dirs = base::resolve_spell_dirs(spell_dir, base::Environment::current());
  if (!dirs) return dirs.error();
  return dirs->config;
}

std::string path_in(const std::string& folder) { return folder + "/services.json"; }

Result<KnownServices> read_services(const std::string& folder) {
  auto text = base::read_file(path_in(folder), 1 << 20);
  if (!text && text.error().code() == "not_found") return KnownServices();
  if (!text) return text.error();
  auto damaged =
      base::error("invalid_configuration", path_in(folder) +
                                               " is not what spell has written: remove it, and log "
                                               "in again");
  auto body = model::parse_json(*text, 1 << 20);
  if (!body || !body->is_object()) return damaged;
  KnownServices out;
  try {
    out.default_address = body->value("default", "");
    for (auto& [address, value] : body->at("services").items())
      out.services.push_back({address, value.value("user", ""), value.value("owner", ""),
                              value.value("token", ""), value.value("fingerprint", "")});
  } catch (const json::exception&) {
    return damaged;
  }
  return out;
}

}  // namespace

std::optional<KnownService> KnownServices::find(const std::string& address) const {
  auto wanted = service_address(address);
  if (!wanted) return std::nullopt;
  for (auto& service : services)
    if (service.address == *wanted) return service;
  return std::nullopt;
}

Result<std::string> service_address(const std::string& text) {
  if (text == "local" || (text.starts_with("unix:") && text.size() > 5)) return text;
  std::string address = text;
  for (auto& c : address)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  while (address.ends_with('/')) address.pop_back();
  if (address.starts_with("http://"))
    return base::error(
        "invalid_configuration",
        "'" + text + "' would not be secret: a service's address is https://HOST:PORT");
  if (address.find("://") == std::string::npos) address = "https://" + address;
  constexpr std::string_view scheme = "https://";
  std::string_view rest = std::string_view(address).substr(scheme.size());
  std::string_view port;
  if (auto colon = rest.rfind(':'); colon != rest.npos && !rest.ends_with(']')) {
    port = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
  }
  auto number = base::parse_int(port);
  bool fine = address.starts_with(scheme) && !rest.empty() &&
              rest.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_[]:") == rest.npos &&
              (rest.find(':') == rest.npos || rest.front() == '[') &&
              (port.empty() || (number && *number > 0 && *number < 65536));
  if (!fine || address.ends_with(':'))
    return base::error("invalid_configuration",
                       "'" + text +
                           "' is no address of a service: it is local, unix:PATH or "
                           "https://HOST:PORT");
  return address;
}

Result<KnownServices> known_services(const std::string& spell_dir) {
  auto folder = services_folder(spell_dir);
  if (!folder) return folder.error();
  return read_services(*folder);
}

Result<> remember_service(const KnownService& service, bool as_default,
                          const std::string& spell_dir) {
  auto address = service_address(service.address);
  if (!address) return address.error();
  auto folder = services_folder(spell_dir);
  if (!folder) return folder.error();
  // Of two that log in at the same time neither forgets the other; the folder itself is the lock.
  auto lock = base::open(*folder, O_RDONLY | O_DIRECTORY);
  if (!lock) return lock.error();
  if (::flock(lock->get(), LOCK_EX) != 0) return base::errno_error("lock " + *folder);
  auto known = read_services(*folder);
  if (!known) return known.error();
  std::erase_if(known->services, [&](auto& other) { return other.address == *address; });
  known->services.push_back(service);
  known->services.back().address = *address;
  if (as_default)
    known->default_address = *address;
  else if (known->default_address == *address)
    known->default_address.clear();
  json services = json::object();
  for (auto& each : known->services)
    services[each.address] = {{"user", each.user},
                              {"owner", each.owner},
                              {"token", each.token},
                              {"fingerprint", each.fingerprint}};
  json body{{"default", known->default_address}, {"services", services}};
  return base::write_file(path_in(*folder), body.dump(2) + "\n", 0600);
}

Result<std::string> find_authority(const std::string& address, CallOptions options) {
  auto endpoint = service_address(address);
  if (!endpoint) return endpoint.error();
  if (!endpoint->starts_with("https://"))
    return base::error("invalid_configuration", *endpoint + " shows no certificate");
  return net::HttpClient::find_authority(*endpoint, options);
}

}  // namespace spell
