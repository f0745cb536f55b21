// What encrypts the values of secrets: a key file of its own, read once, made with the first
// secret. A value leaves the service in the start command of a run that asked for it, and nowhere
// else.
#pragma once
#include <map>
#include <mutex>
#include <string>

#include "spell/result.hpp"
#include "store/store.hpp"

namespace spell::service {

/// Shorter values could not be hidden in a log without hiding half of it.
inline constexpr std::size_t secret_least = 4, secret_most = 64 << 10;

/// Thread-safe.
class SecretBox {
 public:
  /// `key_file`: 0600; need not be there yet.
  explicit SecretBox(std::string key_file) : key_file_(std::move(key_file)) {}

  /// Makes the key file if there is none; durable.
  Result<std::string> seal(const std::string& owner, const std::string& user,
                           const std::string& name, const std::string& value);
  /// Error `damaged`: names the secret, and the way out.
  Result<std::string> open(const std::string& owner, const std::string& user,
                           const store::SecretRecord&);
  /// What a run is given: variable -> value. One that is gone, or cannot be read, is not in it: the
  /// worker then refuses to start the run.
  std::map<std::string, std::string> values_for(const store::RunRecord&, store::Reader&);

 private:
  Result<std::string> key(bool make);
  std::string key_file_;
  std::mutex mutex_;
  std::string key_;
};

}  // namespace spell::service
