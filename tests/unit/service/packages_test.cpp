// What a machine is told to install, and by which line.
#include <catch.hpp>

#include "net/certificate.hpp"
#include "service/packages.hpp"

using namespace spell;
using service::PackageFile;

namespace {
const std::vector<PackageFile> packages{
    {"spell-cli_0.2.0_amd64.deb", "spell-cli", "amd64", "11", 1},
    {"spell-worker-service_0.1.0_amd64.deb", "spell-worker-service", "amd64", "22", 1},
    {"spell-worker-service_0.1.0_arm64.deb", "spell-worker-service", "arm64", "33", 1}};
}

TEST_CASE("the script names the address, and the worker's packages with their hashes") {
  auto script =
      service::worker_script("@FETCH@ @URL@/x\n@PACKAGES@", "https://host:8443", packages);
  REQUIRE(script);
  CHECK(*script ==
        "curl -fsSk https://host:8443/x\n"
        "amd64 spell-worker-service_0.1.0_amd64.deb 22\n"
        "arm64 spell-worker-service_0.1.0_arm64.deb 33\n");
}

TEST_CASE("a service on a socket is reached by it, whatever its path") {
  auto script = service::worker_script("@FETCH@ @URL@", "unix:/tmp/it's/s.sock", packages);
  REQUIRE(script);
  CHECK(*script == "curl -fsS --unix-socket '/tmp/it'\\''s/s.sock' http://spell");
}

TEST_CASE("without a package for workers there is no script, and it says what to do") {
  auto script = service::worker_script("@PACKAGES@", "https://host", {packages[0]});
  REQUIRE(!script);
  CHECK(script.error().code() == "not_found");
  CHECK(script.error().message().find("--packages") != std::string::npos);
}

TEST_CASE("the line to paste believes the service's own key and no other") {
  auto authority = net::make_authority("team");
  REQUIRE(authority);
  net::CertificateRequest request;
  request.name = "service";
  request.hosts = {"host"};
  auto own = net::issue(*authority, request);
  REQUIRE(own);
  auto line = service::install_line("https://host:8443", own->certificate);
  REQUIRE(line);
  std::string before = "curl -fsSk --pinnedpubkey 'sha256//",
              after = "=' https://host:8443/install/worker.sh | sh";
  REQUIRE(line->size() == before.size() + 43 + after.size());
  CHECK(line->starts_with(before));
  CHECK(line->ends_with(after));
  auto other = net::issue(*authority, request);
  REQUIRE(other);
  CHECK(*line != *service::install_line("https://host:8443", other->certificate));

  CHECK(*service::install_line("https://host", "") ==
        "curl -fsS https://host/install/worker.sh | sh");
  CHECK(*service::install_line("unix:/run/s.sock", "") ==
        "curl -fsS --unix-socket /run/s.sock http://spell/install/worker.sh | sh");
  CHECK(service::install_line("https://host", "none").error().code() == "invalid_certificate");
}
