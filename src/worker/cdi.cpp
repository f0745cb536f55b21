#include "worker/cdi.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "model/error_code.hpp"
#include "model/run.hpp"

namespace spell::worker {

namespace {

namespace fs = std::filesystem;
using model::json;

constexpr std::size_t longest_specification = 4 << 20;

Error wrong(const std::string& file, const std::string& what) {
  return base::error("mount_failed", "the machine's device specification " + file + " " + what);
}

std::string text_at(const json& object, const char* name) {
  auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() && found->is_string()
             ? found->get<std::string>()
             : "";
}

/// The member's elements; none: it is no list.
std::vector<json> list_at(const json& object, const char* name) {
  auto found = object.is_object() ? object.find(name) : object.end();
  if (!object.is_object() || found == object.end() || !found->is_array()) return {};
  return found->get<std::vector<json>>();
}

bool is_absolute(const std::string& path) {
  return path.starts_with('/') && fs::path(path).lexically_normal() == fs::path(path);
}

/// Links beside a library of the machine that lead to it: programs look for it by their names.
void add_names(const std::string& host, const std::string& inside, DeviceEdits& out) {
  fs::path library(host);
  if (library.filename().string().find(".so") == std::string::npos) return;
  std::error_code failed;
  for (auto& entry : fs::directory_iterator(library.parent_path(), failed)) {
    std::error_code none;
    if (!entry.is_symlink(none) || fs::read_symlink(entry.path(), none) != library.filename())
      continue;
    auto at = fs::path(inside).parent_path() / entry.path().filename();
    out.links.emplace_back(fs::path(inside).filename().string(), at.string());
  }
}

class Reader {
 public:
  Reader(const std::string& file, DeviceEdits& out) : file_(file), out_(out) {}

  Result<> take(const json& edits) {
    for (auto& mount : list_at(edits, "mounts")) {
      auto from = text_at(mount, "hostPath"), to = text_at(mount, "containerPath");
      if (!is_absolute(from) || !is_absolute(to)) return wrong(file_, "has a mount without paths");
      if (!base::exists(from)) return wrong(file_, "names " + from + ", which is not there");
      bool there = std::any_of(out_.binds.begin(), out_.binds.end(),
                               [&](auto& bind) { return bind.to == to; });
      if (there) continue;
      out_.binds.push_back({from, to, true});
      add_names(from, to, out_);
    }
    for (auto& variable : list_at(edits, "env"))
      if (variable.is_string() && variable.get<std::string>().find('=') != std::string::npos)
        out_.env.push_back(variable.get<std::string>());
    for (auto& hook : list_at(edits, "hooks")) take_hook(hook);
    return ok();
  }

 private:
  /// Programs of the machine that would change the image's files: what the known ones do is done
  /// here.
  void take_hook(const json& hook) {
    std::vector<std::string> words;
    for (auto& word : list_at(hook, "args"))
      if (word.is_string()) words.push_back(word.get<std::string>());
    auto said = [&](const char* name) {
      return std::find(words.begin(), words.end(), name) != words.end();
    };
    if (said("create-symlinks")) {
      for (auto& link : values(words, "--link")) {
        auto cut = link.find("::");
        auto at = cut == link.npos ? "" : link.substr(cut + 2);
        if (is_absolute(at)) out_.links.emplace_back(link.substr(0, cut), at);
      }
    } else if (said("update-ldcache")) {
      for (auto& folder : values(words, "--folder"))
        if (is_absolute(folder)) out_.libraries.push_back(folder);
    } else if (!said("chmod")) {
      out_.notices.push_back("not done for the image, of " + file_ + ": " +
                             model::one_line(base::join(words, " "), 200));
    }
  }

  static std::vector<std::string> values(const std::vector<std::string>& words,
                                         const std::string& option) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i].starts_with(option + "=")) out.push_back(words[i].substr(option.size() + 1));
      if (words[i] == option && i + 1 < words.size()) out.push_back(words[i + 1]);
    }
    return out;
  }

  const std::string& file_;
  DeviceEdits& out_;
};

}  // namespace

std::vector<std::string> cdi_folders() { return {"/etc/cdi", "/var/run/cdi"}; }

Result<DeviceEdits> gpu_edits(const std::vector<std::string>& folders,
                              const std::vector<std::string>& gpus) {
  DeviceEdits out;
  std::map<std::string, std::pair<std::string, json>> kinds;  // kind -> its file, what it says
  std::vector<std::string> unread;
  for (auto& folder : folders) {
    std::error_code failed;
    std::vector<std::string> files;
    for (auto& entry : fs::directory_iterator(folder, failed)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (auto& file : files) {
      if (file.ends_with(".yaml")) unread.push_back(file);
      if (!file.ends_with(".json")) continue;
      auto text = base::read_file(file, longest_specification);
      if (!text) return wrong(file, "cannot be read: " + text.error().message());
      auto said = json::parse(*text, nullptr, false);
      if (!said.is_object()) return wrong(file, "is no JSON object");
      auto kind = text_at(said, "kind");
      if (kind.ends_with("/gpu")) kinds[kind] = {file, std::move(said)};
    }
  }
  for (auto& [kind, found] : kinds) {
    auto& [file, said] = found;
    Reader reader(file, out);
    if (said.contains("containerEdits")) SPELL_TRY(reader.take(said["containerEdits"]));
    auto devices = list_at(said, "devices");
    for (auto& gpu : gpus) {
      auto named = [&](const std::string& name) {
        return std::find_if(devices.begin(), devices.end(),
                            [&](auto& device) { return text_at(device, "name") == name; });
      };
      auto device = named(gpu);
      if (device == devices.end()) device = named("all");
      if (device != devices.end() && device->is_object() && device->contains("containerEdits"))
        SPELL_TRY(reader.take((*device)["containerEdits"]));
    }
  }
  if (kinds.empty())
    for (auto& file : unread)
      out.notices.push_back(
          file +
          " is YAML and counts for nothing: nvidia-ctk cdi generate --format json "
          "--output /etc/cdi/nvidia.json writes what is read");
  if (kinds.empty() && unread.empty())
    out.notices.push_back(
        "this machine does not say which files of its GPUs' driver an image needs (no "
        "specification in /etc/cdi): the run has the image's own; nvidia-ctk cdi generate --format "
        "json --output /etc/cdi/nvidia.json writes one");
  return out;
}

}  // namespace spell::worker
