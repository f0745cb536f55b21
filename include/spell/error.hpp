// What goes wrong, as one value: a stable code to act on and one line for people.
#pragma once
#include <exception>
#include <iosfwd>
#include <string>

namespace spell {

/// An error of this library or of the service. Copyable; thrown by Result<T>::value().
///
/// `code` is stable and meant for programs ("run_not_found", "key_conflict",
/// "unknown_machine_type"); `message` is one line for people: it names the thing and the way out.
/// The codes are listed in docs/errors.md.
class Error : public std::exception {
 public:
  Error() = default;
  Error(std::string code, std::string message)
      : code_(std::move(code)), message_(std::move(message)) {}

  const std::string& code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

  /// HTTP status of the answer that carried the error; 0: it did not come from the service.
  int http_status() const noexcept { return http_status_; }
  /// The service's id of the failed request, to find it in `spell service logs`; may be empty.
  const std::string& request_id() const noexcept { return request_id_; }

  Error& with_http_status(int status) {
    http_status_ = status;
    return *this;
  }
  Error& with_request_id(std::string id) {
    request_id_ = std::move(id);
    return *this;
  }

 private:
  std::string code_ = "unknown_error";
  std::string message_ = "unknown error";
  std::string request_id_;
  int http_status_ = 0;
};

/// Writes the message.
std::ostream& operator<<(std::ostream&, const Error&);

}  // namespace spell
