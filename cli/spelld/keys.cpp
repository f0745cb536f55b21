#include "keys.hpp"

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"

namespace spell::daemon {

namespace {

constexpr std::chrono::days renewed_before{30}, validity{365};
/// In front of a certificate, where readers of PEM pass over it.
constexpr std::string_view hosts_mark = "hosts: ";

std::string authority_path(const std::string& data) { return keys_folder(data) + "/authority.pem"; }
std::string service_path(const std::string& data) { return keys_folder(data) + "/service.pem"; }

/// Key and certificates are one file: it is replaced as a whole.
Result<net::Identity> read_identity(const std::string& path) {
  auto text = base::read_file(path, 1 << 20);
  if (!text) return text.error();
  return net::Identity{*text, *text};
}

Result<> write_identity(const std::string& path, const net::Identity& identity,
                        const std::string& head = {}) {
  return base::write_file(path, head + identity.certificate + identity.key, 0600);
}

}  // namespace

std::string keys_folder(const std::string& data) { return data + "/keys"; }

Result<> check_hosts(const std::vector<std::string>& hosts) {
  auto authority = net::make_authority("a trial");
  if (!authority) return authority.error();
  auto issued = net::issue(*authority, {hosts.front(), hosts, net::Use::server, validity});
  return issued ? ok() : Result<>(issued.error());
}

Result<std::string> make_authority(const std::string& data, const std::string& team) {
  auto authority = net::make_authority("Spell of " + team);
  if (!authority) return authority.error();
  SPELL_TRY(base::make_folders(keys_folder(data)));
  SPELL_TRY(write_identity(authority_path(data), *authority));
  return net::authority_fingerprint(authority->certificate);
}

Result<net::Identity> read_authority(const std::string& data) {
  return read_identity(authority_path(data));
}

Result<Certificate> certificate(const std::string& data, const net::Identity& authority,
                                const Settings& settings, std::chrono::sys_seconds now) {
  Certificate out;
  if (!settings.certificate.empty()) {
    auto chain = base::read_file(settings.certificate, 1 << 20);
    if (!chain) return chain.error();
    auto key = base::read_file(settings.key, 1 << 20);
    if (!key) return key.error();
    out.identity = {*chain, *key};
    // Somebody else renews it, and sends SIGHUP; who forgets that is helped within a day.
    out.look_again = now + std::chrono::days(1);
    return out;
  }
  std::string head = std::string(hosts_mark) + base::join(settings.hosts, ",") + "\n";
  auto there = read_identity(service_path(data));
  if (!there && there.error().code() != "not_found") return there.error();
  if (there && there->certificate.starts_with(head)) {
    auto end = net::expiry(there->certificate);
    if (end && *end - now > renewed_before) {
      out.identity = *there;
      out.look_again = *end - renewed_before;
      return out;
    }
  }
  auto issued =
      net::issue(authority, {settings.hosts.front(), settings.hosts, net::Use::server, validity});
  if (!issued) return issued.error();
  SPELL_TRY(write_identity(service_path(data), *issued, head));
  out.identity = *issued;
  out.look_again = now + validity - renewed_before;
  out.renewed = true;
  return out;
}

}  // namespace spell::daemon
