#include "model/image.hpp"

#include "catch.hpp"

using namespace spell;
using namespace spell::model;

namespace {

std::string parts(const std::string& text) {
  auto image = parse_image(text);
  if (!image) CHECK(image.error().code() == "invalid_request");
  return image ? image->transport + " " + image->name + " " + image->tag
               : "refused: " + image.error().message();
}

std::string digest(char c) { return "sha256:" + std::string(64, c); }

}  // namespace

TEST_CASE("an image is a registry's, or what a resource holds") {
  CHECK(parts("debian:12") == "docker debian:12 ");
  CHECK(parts("docker://ghcr.io:443/a/b:1") == "docker ghcr.io:443/a/b:1 ");
  CHECK(parts("x@" + digest('a')) == "docker x@" + digest('a') + " ");
  CHECK(parts("oci:uploads/x") == "oci uploads/x ");
  CHECK(parts("oci:runs/7/image:latest") == "oci runs/7/image latest");
  CHECK(parts("docker-archive:uploads/x.tar:debian:12") ==
        "docker-archive uploads/x.tar debian:12");
  CHECK(image_resource("oci:uploads/x:1") == "uploads/x");
  CHECK(image_resource("debian:12").empty());
  CHECK(image_resource("").empty());
}

TEST_CASE("what is no image, or what one machine has, is refused with what there is") {
  for (auto* text : {"", "-x", "--policy", "a b", "a;b", "$(x)", "a\nb", "../x", "docker://",
                     "oci:", "oci:/etc", "oci:./x", "oci:uploads/x:", "oci:uploads/x:-y", "dir:/x",
                     "docker-daemon:x", "containers-storage:x"}) {
    INFO(text);
    CHECK(parts(text).starts_with("refused: '"));
    CHECK(parts(text).find("oci:uploads/NAME") != std::string::npos);
  }
  CHECK(parts(std::string(501, 'a')).find("longer") != std::string::npos);
}

TEST_CASE("an image by its digest") {
  CHECK(is_digest(digest('0')));
  for (auto& text :
       {digest('g'), digest('A'), std::string("sha256:"), std::string(64, '0'), digest('0') + "0"})
    CHECK_FALSE(is_digest(text));
  auto pinned = [](const char* text) { return pinned_image(*parse_image(text), "sha256:1"); };
  CHECK(pinned("debian") == "debian@sha256:1");
  CHECK(pinned("debian:12") == "debian@sha256:1");
  CHECK(pinned("host:5000/a/b") == "host:5000/a/b@sha256:1");
  CHECK(pinned("docker://host:5000/a/b:tag@sha256:2") == "host:5000/a/b@sha256:1");
}
