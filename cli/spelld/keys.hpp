// The keys of a team's service, in DIR/keys (0700, files 0600): its authority, made once, and the
// certificate under it, renewed before it ends.
#pragma once
#include <chrono>
#include <string>

#include "net/certificate.hpp"
#include "settings.hpp"

namespace spell::daemon {

std::string keys_folder(const std::string& data);

/// Whether a certificate can name these. Error `invalid_certificate`.
Result<> check_hosts(const std::vector<std::string>& hosts);
/// A new authority, durable. Returns its fingerprint.
Result<std::string> make_authority(const std::string& data, const std::string& team);
Result<net::Identity> read_authority(const std::string& data);

struct Certificate {
  net::Identity identity{};
  std::chrono::sys_seconds look_again{};  ///< when it will have to be renewed
  bool renewed = false;                   ///< just now
};
/// What the service shows: the files that the settings name, else the certificate under its own
/// authority, made anew where there is none, where it ends within 30 days, or names other hosts.
Result<Certificate> certificate(const std::string& data, const net::Identity& authority,
                                const Settings&, std::chrono::sys_seconds now);

}  // namespace spell::daemon
