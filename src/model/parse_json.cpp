#include <utility>
#include <vector>

#include "base/error.hpp"
#include "model/fields.hpp"
#include "model/run.hpp"

namespace spell::model {

namespace {

constexpr std::size_t depth_limit = 32;

/// Builds the document while it is read, so that a hostile one is refused before it costs memory.
class Builder : public json::json_sax_t {
 public:
  json document;
  Error failure{"", ""};

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    auto& object = open_.back()->get_ref<json::object_t&>();
    auto [member, is_new] = object.try_emplace(std::move(name));
    if (!is_new) return fail("member " + in_quotes(member->first) + " stands there twice");
    member_ = &member->second;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    return fail("broken at byte " + std::to_string(position));
  }

 private:
  template <class T>
  bool put(T&& value) {
    place() = std::forward<T>(value);
    return true;
  }
  bool open(json container) {
    if (open_.size() == depth_limit)
      return fail("nested deeper than " + std::to_string(depth_limit) + " levels");
    json& at = place();
    at = std::move(container);
    open_.push_back(&at);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  json& place() {
    if (open_.empty()) return document;
    if (open_.back()->is_object()) return *member_;
    return open_.back()->emplace_back();
  }
  bool fail(const std::string& text) {
    failure = base::error("invalid_json", "the body is not valid JSON: " + text);
    return false;
  }

  std::vector<json*> open_;
  json* member_ = nullptr;
};

}  // namespace

Result<json> parse_json(std::string_view body, std::size_t limit) {
  if (body.size() > limit)
    return base::error("too_large", "the body has " + std::to_string(body.size()) +
                                        " bytes of JSON, at most " + std::to_string(limit) +
                                        " are allowed");
  // nlohmann/json takes a NUL for the end of its input and would not look at what follows.
  if (auto nul = body.find('\0'); nul != body.npos)
    return base::error("invalid_json",
                       "the body is not valid JSON: NUL at byte " + std::to_string(nul + 1));
  Builder builder;
  if (!json::sax_parse(body.begin(), body.end(), &builder)) return std::move(builder.failure);
  return std::move(builder.document);
}

}  // namespace spell::model
