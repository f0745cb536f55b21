// Secrets: values that a user's runs may be given, and nobody is shown.
#include "service/secrets.hpp"

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/seal.hpp"
#include "base/text.hpp"
#include "service/api.hpp"

namespace spell::service {

namespace {

/// A value that is moved to another owner, user or name cannot be read any more.
std::string context_of(const std::string& owner, const std::string& user, const std::string& name) {
  return owner + '\0' + user + '\0' + name;
}

json secret_json(const store::SecretRecord& secret) {
  return {{"name", secret.name}, {"created_at", base::rfc3339(secret.created_us)}};
}

Result<std::string> secret_name(const Call& call) {
  auto& name = call->path.at("name");
  if (base::valid_name(name)) return name;
  return base::error("invalid_request",
                     "a secret's name is 1 to 64 letters, digits, '.', '_' and '-', not beginning "
                     "with '.' or '-'");
}

Result<std::string> secret_value(const Call& call) {
  auto body = body_object(call);
  if (!body) return body.error();
  if (body->size() != 1 || !body->contains("value") || !(*body)["value"].is_string())
    return base::error("invalid_request", "the body must be {\"value\": text}");
  std::string value = (*body)["value"];
  if (!base::valid_text(value))
    return base::error("invalid_request", "'value' must be UTF-8 text without NUL");
  if (value.size() < secret_least || value.size() > secret_most)
    return base::error("invalid_request", "'value' must have " + std::to_string(secret_least) +
                                              " to " + std::to_string(secret_most) +
                                              " bytes; a shorter one could not be hidden in logs");
  return value;
}

}  // namespace

Result<std::string> SecretBox::key(bool make) {
  std::lock_guard lock(mutex_);
  if (!key_.empty()) return key_;
  auto read = base::read_file(key_file_, 4096);
  if (!read && read.error().code() == "not_found" && make) {
    std::string made = base::random_bytes(base::seal_key_size);
    SPELL_TRY(base::make_folders(key_file_.substr(0, key_file_.rfind('/'))));
    SPELL_TRY(base::write_file(key_file_, base::hex(made) + "\n"));
    return key_ = std::move(made);
  }
  if (!read) return read.error();
  std::string key(base::seal_key_size, '\0');
  if (!base::unhex(base::trim(*read), reinterpret_cast<std::uint8_t*>(key.data()), key.size()))
    return base::error("damaged", key_file_ + " is no key");
  return key_ = std::move(key);
}

Result<std::string> SecretBox::seal(const std::string& owner, const std::string& user,
                                    const std::string& name, const std::string& value) {
  auto key = this->key(true);
  if (!key) return key.error();
  return base::seal(*key, context_of(owner, user, name), value);
}

Result<std::string> SecretBox::open(const std::string& owner, const std::string& user,
                                    const store::SecretRecord& secret) {
  auto key = this->key(false);
  auto value = key ? base::open_sealed(*key, context_of(owner, user, secret.name), secret.value)
                   : Result<std::string>(key.error());
  if (value) return value;
  return base::error("damaged", "secret '" + secret.name + "' of " + user + " cannot be read (" +
                                    value.error().message() + "); set it again");
}

std::map<std::string, std::string> SecretBox::values_for(const store::RunRecord& run,
                                                         store::Reader& reader) {
  std::map<std::string, std::string> values;
  for (auto& [variable, name] : run.request.secrets) {
    auto secret = reader.find_secret(run.owner, run.creator, name);
    if (!secret || !*secret) continue;
    if (auto value = open(run.owner, run.creator, **secret)) values[variable] = std::move(*value);
  }
  return values;
}

void list_secrets(Context& context, Call call) {
  auto secrets = context.readers.with(
      [&](store::Reader& reader) { return reader.secrets(call->owner(), call->caller.name); });
  if (!secrets) return refuse(call, secrets.error());
  json list = json::array();
  for (auto& secret : *secrets) list.push_back(secret_json(secret));
  answer(call, {{"secrets", std::move(list)}});
}

void put_secret(Context& context, Call call) {
  auto name = secret_name(call);
  if (!name) return refuse(call, name.error());
  auto value = secret_value(call);
  if (!value) return refuse(call, value.error());
  auto sealed = context.secrets.seal(call->owner(), call->caller.name, *name, *value);
  if (!sealed) return refuse(call, sealed.error());
  context.reactor.post([call = std::move(call), name = *name, sealed = *sealed](
                           State& state, std::int64_t now) -> Reactor::Answer {
    store::SecretRecord secret{name, sealed, now};
    auto put = state.writer().put_secret(call->owner(), call->caller.name, secret);
    if (put) put = audit(state, now, call, "secret.set", name);
    return [call, secret, put](const Result<>& committed) {
      if (!put) return refuse(call, put.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, {{"secret", secret_json(secret)}});
    };
  });
}

void delete_secret(Context& context, Call call) {
  auto name = secret_name(call);
  if (!name) return refuse(call, name.error());
  context.reactor.post(
      [call = std::move(call), name = *name](State& state, std::int64_t now) -> Reactor::Answer {
        auto& user = call->caller.name;
        auto found = state.writer().find_secret(call->owner(), user, name);
        Result<> done = found ? ok() : Result<>(found.error());
        if (found && !*found) done = no_such_secret(user, name);
        if (done) done = state.writer().delete_secret(call->owner(), user, name);
        if (done) done = audit(state, now, call, "secret.rm", name);
        return [call, found, done](const Result<>& committed) {
          if (!done) return refuse(call, done.error());
          if (!committed) return refuse(call, committed.error());
          answer(call, {{"secret", secret_json(**found)}});
        };
      });
}

}  // namespace spell::service
