#include "client/program.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "base/error.hpp"
#include "base/library.hpp"
#include "base/text.hpp"

// The layout of ELF files: System V ABI, chapters 4 and 5; versions: Linux Standard Base, "Symbol
// Versioning".

namespace spell::detail {

namespace {

constexpr std::uint32_t type_load = 1, type_dynamic = 2, type_interpreter = 3;
constexpr std::uint64_t tag_needed = 1, tag_strings = 5, tag_versions = 0x6ffffffe,
                        tag_version_count = 0x6fffffff;
constexpr std::size_t most_entries = 100'000;

/// A little-endian file of 64 bits; what lies outside of it reads as nothing.
class Image {
 public:
  explicit Image(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  T at(std::uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) return 0;
    T value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;)
      value = static_cast<T>(value << 8 | static_cast<unsigned char>(bytes_[offset + i]));
    return value;
  }

  std::string text(std::uint64_t offset) const {
    if (offset >= bytes_.size()) return {};
    auto rest = bytes_.substr(offset);
    return std::string(rest.substr(0, std::min<std::size_t>(rest.find('\0'), 4096)));
  }

  struct Segment {
    std::uint32_t type = 0;
    std::uint64_t offset = 0, address = 0, size = 0;
  };
  std::vector<Segment> segments() const {
    std::vector<Segment> out;
    std::uint64_t table = at<std::uint64_t>(32);
    std::uint16_t size = at<std::uint16_t>(54), count = at<std::uint16_t>(56);
    if (size < 56) return out;
    for (std::uint16_t i = 0; i < count; ++i) {
      std::uint64_t row = table + std::uint64_t{i} * size;
      out.push_back({at<std::uint32_t>(row), at<std::uint64_t>(row + 8),
                     at<std::uint64_t>(row + 16), at<std::uint64_t>(row + 32)});
    }
    return out;
  }

 private:
  std::string_view bytes_;
};

/// Where in the file an address of memory comes from.
std::optional<std::uint64_t> offset_of(const std::vector<Image::Segment>& segments,
                                       std::uint64_t address) {
  for (auto& segment : segments)
    if (segment.type == type_load && address >= segment.address &&
        address - segment.address < segment.size)
      return segment.offset + (address - segment.address);
  return std::nullopt;
}

std::string architecture_of(std::uint16_t machine) {
  constexpr std::pair<std::uint16_t, const char*> names[] = {
      {62, "x86_64"}, {183, "aarch64"}, {243, "riscv64"}, {21, "ppc64le"}};
  for (auto& [number, name] : names)
    if (number == machine) return name;
  return "machine number " + std::to_string(machine);
}

std::vector<std::int64_t> numbers_of(std::string_view version) {
  std::vector<std::int64_t> out;
  for (auto& part : base::split(version, '.')) out.push_back(base::parse_int(part).value_or(0));
  return out;
}

bool is_newer_glibc(std::string_view a, std::string_view b) {
  return numbers_of(a) > numbers_of(b);
}

Error no_program(const std::string& why) { return base::error("invalid_program", why); }

void read_versions(const Image& image, std::uint64_t table, std::uint64_t count,
                   std::uint64_t strings, ProgramNeeds& out) {
  for (std::uint64_t at = table, i = 0; i < std::min<std::uint64_t>(count, most_entries); ++i) {
    std::string library = image.text(strings + image.at<std::uint32_t>(at + 4));
    std::uint64_t name = at + image.at<std::uint32_t>(at + 8);
    for (std::uint16_t k = 0, names = image.at<std::uint16_t>(at + 2); k < names; ++k) {
      std::string version = image.text(strings + image.at<std::uint32_t>(name + 8));
      constexpr std::string_view prefix = "GLIBC_";
      if (version.starts_with(prefix) && is_newer_glibc(version.substr(prefix.size()), out.glibc)) {
        out.glibc = version.substr(prefix.size());
        out.glibc_symbol = library;
      }
      auto next = image.at<std::uint32_t>(name + 12);
      if (next == 0) break;
      name += next;
    }
    auto next = image.at<std::uint32_t>(at + 12);
    if (next == 0) break;
    at += next;
  }
}

/// What comes with the C library itself.
bool of_glibc(std::string_view library) {
  constexpr std::array names{"libc.so.6",    "libm.so.6",   "libpthread.so.0",
                             "libdl.so.2",   "librt.so.1",  "libresolv.so.2",
                             "libutil.so.1", "libanl.so.1", "libmvec.so.1"};
  return library.starts_with("ld-linux") ||
         std::find(names.begin(), names.end(), library) != names.end();
}

std::string of(const std::map<std::string, std::string>& capabilities, const char* name) {
  auto found = capabilities.find(name);
  return found == capabilities.end() ? std::string() : found->second;
}

}  // namespace

Result<ProgramNeeds> read_program(std::string_view bytes) {
  constexpr std::uint16_t executable = 2, shared = 3;
  if (bytes.starts_with("#!"))
    return no_program("is a script: give it as the command, with the repository that it is in");
  if (!bytes.starts_with("\x7f"
                         "ELF") ||
      bytes.size() < 64)
    return no_program("is no ELF executable");
  Image image(bytes);
  if (bytes[4] != 2 || bytes[5] != 1)
    return no_program("is an ELF file, but not of 64 bits, little-endian");
  if (auto system = static_cast<unsigned char>(bytes[7]); system != 0 && system != 3)
    return no_program("is an executable for another system than Linux");
  ProgramNeeds out;
  out.architecture = architecture_of(image.at<std::uint16_t>(18));
  auto segments = image.segments();
  for (auto& segment : segments) out.dynamic = out.dynamic || segment.type == type_interpreter;
  auto type = image.at<std::uint16_t>(16);
  if (type == shared && image.at<std::uint64_t>(24) == 0)
    return no_program("is a shared library, no executable");
  if (type != executable && type != shared) return no_program("is an ELF file, but no executable");
  for (auto& segment : segments) {
    if (segment.type != type_dynamic) continue;
    std::uint64_t strings = 0, versions = 0, count = 0;
    std::vector<std::uint64_t> needed;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(segment.size / 16, most_entries); ++i) {
      auto tag = image.at<std::uint64_t>(segment.offset + i * 16),
           value = image.at<std::uint64_t>(segment.offset + i * 16 + 8);
      if (tag == 0) break;
      if (tag == tag_needed) needed.push_back(value);
      if (tag == tag_strings) strings = value;
      if (tag == tag_versions) versions = value;
      if (tag == tag_version_count) count = value;
    }
    auto text = offset_of(segments, strings);
    if (!text) continue;
    for (auto name : needed) out.libraries.push_back(image.text(*text + name));
    if (auto table = offset_of(segments, versions)) read_versions(image, *table, count, *text, out);
    if (type == shared && !out.dynamic && !needed.empty())
      return no_program("is a shared library, no executable");
  }
  return out;
}

Result<> check_program(const std::string& path, const ProgramNeeds& needs,
                       const MachineInfo& machine, bool here) {
  std::string architecture = of(machine.capabilities, "architecture"),
              glibc = of(machine.capabilities, "glibc"),
              libraries = " " + of(machine.capabilities, "libraries") + " ";
  auto refused = [&](const std::string& why) { return no_program(path + " " + why); };
  if (!architecture.empty() && architecture != needs.architecture)
    return refused("is for " + needs.architecture + ", but machine " + machine.name + " is " +
                   architecture);
  if (!needs.dynamic || glibc.empty()) return ok();
  if (is_newer_glibc(needs.glibc, glibc))
    return refused("needs GLIBC_" + needs.glibc + " of " + needs.glibc_symbol + ", but machine " +
                   machine.name + " has " + glibc +
                   ": build it on an older system, or link it with -static");
  std::vector<std::string> missing;
  for (auto& library : needs.libraries)
    if (!of_glibc(library) && libraries.find(" " + library + " ") == libraries.npos &&
        !(here && base::has_library(library)))
      missing.push_back(library);
  if (missing.empty()) return ok();
  return refused("needs " + base::join(missing, ", ") + ", which machine " + machine.name +
                 " does not have: link " + (missing.size() == 1 ? "it" : "them") + " statically");
}

}  // namespace spell::detail
