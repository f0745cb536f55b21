#include <pwd.h>
#include <unistd.h>

#include "command.hpp"
#include "json_text.hpp"
#include "secret_input.hpp"
#include "spell/known_services.hpp"
#include "text.hpp"

namespace spell::cli {

namespace {

std::string spell_dir(const Context& context) { return context.client_options().spell_dir; }

/// "host:8443" of "https://host:8443".
std::string host_of(const std::string& address) { return address.substr(address.find("//") + 2); }

std::string token_name() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  passwd* entry = ::getpwuid(::getuid());
  return "spell login by " +
         std::string(entry ? entry->pw_name : "uid " + std::to_string(::getuid())) + " on " + host;
}

struct LoginOptions {
  Words address{};
  std::optional<std::string> user{}, fingerprint{};
  bool password_stdin = false, system_ca = false;
};

/// Whom the service is to be known by from now on. Somebody new is shown before he is trusted.
Result<std::string> whom_to_trust(Context& context, const LoginOptions& given,
                                  const std::string& address,
                                  const std::optional<KnownService>& known) {
  if (given.system_ca) return std::string("system");
  if (given.fingerprint) return *given.fingerprint;
  if (known && !known->fingerprint.empty()) return known->fingerprint;
  auto shown = find_authority(address);
  if (!shown) return shown.error();
  if (!context.out.terminal().can_ask)
    return Error(
        "untrusted_service",
        "nobody has said yet whom to trust at " + address +
            ": compare this fingerprint of its authority with what `spelld init` has shown, "
            "then add --fingerprint " +
            *shown + ", or --system-ca for the authorities of this computer");
  context.out.write_error(context.out.shown(
      "The service at " + host_of(address) + " shows an authority with the fingerprint\n  " +
      *shown + "\n`spelld init` has shown it to its administrator.\n"));
  if (!context.ask("Is it the same?"))
    return Error("untrusted_service", "the service is not trusted, and nothing was sent to it");
  return *shown;
}

Result<std::string> whose_login(Context& context, const LoginOptions& given,
                                const std::optional<KnownService>& known) {
  if (given.user) return *given.user;
  std::string before = known ? known->user : "";
  if (!context.out.terminal().can_ask) {
    if (!before.empty()) return before;
    return usage_error("who? There is no terminal to ask on: --user NAME says it");
  }
  std::string name = context.ask_line("User" + (before.empty() ? "" : " [" + before + "]"));
  if (name.empty()) name = before;
  if (name.empty()) return usage_error("who? --user NAME says it");
  return name;
}

}  // namespace

Result<int> login_command(Context& context) {
  Options options(
      "login", "[OPTIONS] URL",
      "Logs in to a team's service, which is the one that commands talk to from then on.\n"
      "The first time its authority's fingerprint is shown; it is pinned when you say that it is "
      "right.");
  LoginOptions given;
  options.words(given.address, "the service's URL", 1, 1)
      .value("-u,--user", given.user, "NAME", "as its administrator has named you")
      .flag("--password-stdin", given.password_stdin,
            "the password is the first line of standard input")
      .value("--fingerprint", given.fingerprint, "HEX",
             "trust the authority with this fingerprint, whatever the host's name")
      .flag("--system-ca", given.system_ca,
            "trust the authorities of this computer, and the host's name");
  if (auto done = context.parse(options)) return *done;
  if (given.system_ca && given.fingerprint)
    return usage_error("--system-ca and --fingerprint exclude each other");
  auto address = service_address(given.address[0]);
  if (!address || !address->starts_with("https://"))
    return address
               ? usage_error("only a service at https://HOST:PORT needs a login, not " + *address)
               : address.error();
  auto services = known_services(spell_dir(context));
  if (!services) return services.error();
  auto known = services->find(*address);
  auto fingerprint = whom_to_trust(context, given, *address, known);
  if (!fingerprint) return fingerprint.error();

  ClientOptions client_options = context.client_options();
  client_options.service = *address;
  client_options.fingerprint = *fingerprint;
  client_options.token.clear();
  auto client = Client::make(client_options);
  if (!client) return client.error();
  auto user = whose_login(context, given, known);
  if (!user) return user.error();
  auto password = read_password(context, "Password of " + *user + " at " + host_of(*address),
                                given.password_stdin);
  if (!password) return password.error();
  auto login = client->account().log_in(*user, *password, token_name());
  if (!login) return login.error();
  KnownService service{*address, login->user.name, login->owner, login->secret, *fingerprint};
  if (auto kept = remember_service(service, true, spell_dir(context)); !kept) return kept.error();
  if (known && !known->token.empty()) {
    // The login that this one replaces; if it cannot be ended now it ends by itself.
    client_options.token = known->token;
    if (auto before = Client::make(client_options)) (void)before->account().log_out();
  }
  if (context.out.json())
    return context.out.json_line(json_fields("login", {{"service", *address},
                                                       {"user", login->user.name},
                                                       {"role", login->user.role},
                                                       {"owner", login->owner},
                                                       {"fingerprint", *fingerprint}})),
           0;
  if (context.out.quiet()) return context.out.line(login->user.name), 0;
  context.out.status(Mark::done, "Logged in to " + host_of(*address) + " as " + login->user.name +
                                     " (" + login->user.role + "), for " + login->owner);
  context.out.status(Mark::step,
                     "Commands talk to it from now on; --service local means this computer for "
                     "one call, spell logout for good");
  return 0;
}

Result<int> logout_command(Context& context) {
  Options options("logout", "[OPTIONS]",
                  "Ends the login at the service that commands talk to; they talk to this computer "
                  "again. Its fingerprint is kept.");
  if (auto done = context.parse(options)) return *done;
  std::string address = context.service_address();
  auto services = known_services(spell_dir(context));
  if (!services) return services.error();
  auto known = address.empty() ? std::nullopt : services->find(address);
  if (!known || known->token.empty())
    return Error("not_logged_in", address.empty() ? "there is no login: commands talk to this "
                                                    "computer already"
                                                  : "there is no login at " + address);
  ClientOptions client_options = context.client_options();
  client_options.service = known->address;
  client_options.token = known->token;
  auto client = Client::make(client_options);
  if (!client) return client.error();
  auto ended = client->account().log_out();
  // A token that is not valid any more needs no end.
  if (!ended && ended.error().code() != "unauthorized") {
    context.out.warn("the service could not be told (" + ended.error().message() +
                     "): there the login ends by itself; spell access-tokens revoke ends it "
                     "earlier");
  }
  known->token.clear();
  if (auto kept = remember_service(*known, false, spell_dir(context)); !kept) return kept.error();
  if (context.out.json())
    return context.out.json_line(json_fields("logout", {{"service", known->address}})), 0;
  context.out.status(Mark::done, "Logged out of " + host_of(known->address) +
                                     "; commands talk to this computer again");
  return 0;
}

Result<int> whoami_command(Context& context) {
  Options options("whoami", "[OPTIONS]", "Shows who you are to the service, and which that is.");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto identity = client->account().who();
  if (!identity) return identity.error();
  if (context.out.json()) return context.out.json_line(json_text("identity", *identity)), 0;
  if (context.out.quiet()) return context.out.line(identity->user.name), 0;
  std::string address = context.service_address();
  Table table;
  table.rows = {
      {{"User", Colour::dim}, {identity->user.name}},
      {{"Role", Colour::dim}, {identity->user.role}},
      {{"Runs of", Colour::dim}, {client->owner().empty() ? identity->owner : client->owner()}},
      {{"Service", Colour::dim}, {address.empty() ? "this computer" : address}}};
  context.out.table(table);
  return 0;
}

Result<int> passwd_command(Context& context) {
  Options options("passwd", "[OPTIONS]",
                  "Changes your password. Your other logins end, your access tokens stay.");
  bool from_stdin = false;
  options.flag("--password-stdin", from_stdin,
               "the old and the new password are the first two lines of standard input");
  if (auto done = context.parse(options)) return *done;
  auto client = context.client();
  if (!client) return client.error();
  auto before = read_password(context, "Old password", from_stdin);
  if (!before) return before.error();
  auto after = read_new_password(context, from_stdin);
  if (!after) return after.error();
  if (auto changed = client->account().change_password(*before, *after); !changed)
    return changed.error();
  if (context.out.json()) return context.out.json_line("{}"), 0;
  context.out.status(Mark::done, "The password was changed; your other logins have ended");
  return 0;
}

}  // namespace spell::cli
