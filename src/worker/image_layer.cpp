#include "worker/image_layer.hpp"

#include <sys/stat.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "model/run.hpp"
#include "worker/layers.hpp"
#include "worker/programs.hpp"
#include "worker/system_layer.hpp"

namespace spell::worker {

namespace {

constexpr const char* usual_path =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t longest_config = 1 << 20, most_variables = 1000;

bool is_variable(const std::string& text) {
  auto equals = text.find('=');
  return equals != text.npos && equals > 0 && text.find('\0') == text.npos &&
         base::valid_text(text);
}

}  // namespace

std::string lacks_for_images(const exec::Capabilities& capabilities,
                             const std::vector<std::string>& environment) {
  if (capabilities.containment == exec::Containment::best_effort) return capabilities.remedy;
  if (!capabilities.overlays) return capabilities.no_overlays;
  std::string missing, path = path_of(environment);
  for (auto* tool : {"skopeo", "umoci"})
    if (find_program({tool}, path).empty())
      missing += std::string(missing.empty() ? "" : " ") + tool;
  return missing.empty() ? "" : "it is without " + missing + ": apt install " + missing;
}

std::string image_script(const model::Image& image, const std::string& digest,
                         const std::string& tmp) {
  std::string from;
  if (image.in_registry()) {
    from = "docker://" + (digest.empty() ? image.name : model::pinned_image(image, digest));
  } else {
    from = image.transport + ":" + std::string(model::image_source);
    if (!image.tag.empty()) from += ":" + image.tag;
  }
  std::string layout = tmp + "/image:image";
  // A name is resolved first, and fetched by what it stood for then. What a machine's owner asks of
  // images in his policy.json holds; where there is none, none is asked for.
  std::string script = R"(policy=
if [ ! -e /etc/containers/policy.json ] && [ ! -e "$HOME/.config/containers/policy.json" ]; then
  policy=--insecure-policy
fi
from=)" + base::shell_quote(from) +
                       R"(
skopeo $policy inspect --raw "$from" > )" +
                       tmp + R"(/manifest || exit
digest=sha256:$(sha256sum < )" +
                       tmp + R"(/manifest | cut -c 1-64)
)";
  if (image.in_registry() && digest.empty())
    script += "from=docker://" + base::shell_quote(model::pinned_image(image, "")) + "$digest\n";
  if (!digest.empty())
    script += "if [ \"$digest\" != " + digest +
              " ]; then echo \"error: $from is $digest by now\"; exit 1; fi\n";
  std::string shown = image.in_registry()
                          ? base::shell_quote(model::pinned_image(image, ""))
                          : base::shell_quote(image.transport + ":" + image.name + "@");
  return script + "skopeo $policy copy \"$from\" oci:" + layout + R"( || exit
echo "Unpacking the image"
umoci raw unpack --rootless --image )" +
         layout + " " + image_root + R"( || exit
skopeo inspect --config oci:)" +
         layout + " > " + image_config + " || exit\nchmod -R u+rwX " + image_root + "\necho " +
         shown + "\"$digest\" > " + tmp + "/" + packages_file;
}

Result<exec::RootSpec> make_image_root(const std::string& tree, const std::string& system,
                                       const std::string& place) {
  SPELL_TRY(base::remove_tree(place));
  SPELL_TRY(base::make_folders(place, 0700));
  exec::RootSpec out;
  out.upper = place + "/upper";
  out.work = place + "/work";
  SPELL_TRY(base::make_folders(out.upper, 0755));
  SPELL_TRY(base::make_folders(out.work, 0700));
  // What is mounted is what this folder is, for its user.
  if (::chmod(out.upper.c_str(), 0755) != 0)
    return base::errno_error("set the mode of " + out.upper);
  if (!system.empty()) out.lower.push_back(system + "/" + system_root);
  out.lower.push_back(tree + "/" + image_root);
  return out;
}

std::vector<std::string> image_environment(const std::string& tree,
                                           const std::vector<std::string>& base,
                                           const std::string& home, const std::string& user) {
  std::vector<std::string> out{usual_path,        "HOME=" + home,  "USER=" + user,
                               "LOGNAME=" + user, "SHELL=/bin/sh", "LANG=C.UTF-8"};
  for (auto& variable : base)
    if (variable.starts_with("TZ=")) out.push_back(variable);
  auto text = base::read_file(tree + "/" + image_config, longest_config);
  auto config = text ? model::json::parse(*text, nullptr, false) : model::json();
  if (!config.is_object() || !config.contains("config") || !config["config"].is_object())
    return out;
  auto variables = config["config"].find("Env");
  if (variables == config["config"].end() || !variables->is_array()) return out;
  for (auto& variable : *variables) {
    if (out.size() >= most_variables) break;
    if (variable.is_string() && is_variable(variable.get<std::string>()))
      out.push_back(variable.get<std::string>());
  }
  return out;
}

}  // namespace spell::worker
