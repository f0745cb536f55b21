// How a machine becomes one of this service's: the tokens with which it joins, and its joining.
#include "base/clock.hpp"
#include "base/error.hpp"
#include "net/certificate.hpp"
#include "service/api.hpp"
#include "service/packages.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

using base::hour_us;

/// What the service knows of the caller's key: its fingerprint, and a certificate for it.
struct Credential {
  std::string key, certificate;
};

Result<Credential> credential_for(Context& context, const Call& call,
                                  const std::string& public_key) {
  auto& authority = context.options.authority;
  bool tls = call->request.peer_uid == UINT32_MAX;  // on a Unix socket nobody listens in between
  if (authority.key.empty() || (!tls && public_key.empty())) return Credential{};
  if (public_key.empty())
    return base::error("invalid_request",
                       "'public_key' is missing: a machine that joins over TLS shows one");
  auto key = net::key_fingerprint(public_key);
  if (!key) return base::error("invalid_request", "'public_key': " + key.error().message());
  net::CertificateRequest request;
  request.name = call->caller.name;
  request.use = net::Use::client;
  request.valid_for = std::chrono::days(3650);
  auto certificate = net::issue_for(authority, public_key, request);
  if (!certificate) return certificate.error();
  return Credential{*key, *certificate};
}

}  // namespace

void answer_join_token(Context& context, Call call, const std::string& action,
                       const std::string& thing,
                       std::function<Result<std::string>(State&, std::int64_t)> machine_of) {
  std::string name = action.starts_with("machine.") ? thing : "";
  JoinToken shown;
  shown.url = context.url();
  auto made = make_token("spj_", 0);
  shown.token = made.text;
  shown.machine = name;
  auto& token = made.record;
  token.kind = "join";
  token.user = call->caller.name;
  token.name = name;
  if (auto fingerprint = context.fingerprint(); !fingerprint.empty())
    shown.token += "." + fingerprint;
  if (shown.url.starts_with("https:"))
    shown.install = install_line(shown.url, context.certificate()).value_or("");
  context.reactor.post([call, action, thing, shown, token, machine_of = std::move(machine_of)](
                           State& state, std::int64_t now) mutable -> Reactor::Answer {
    auto machine = machine_of(state, now);
    Result<> stored = machine ? ok() : Result<>(machine.error());
    if (machine) {
      token.machine = *machine;
      token.created_us = now;
      token.expires_us = now + hour_us;
      stored = state.put_join_token(token);
      if (stored) stored = audit(state, now, call, action, thing);
    }
    shown.expires_at = Time(std::chrono::microseconds(token.expires_us));
    return [call, shown, stored](const Result<>& committed) {
      if (!stored) return refuse(call, stored.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, {{"join", json(shown)}}, 201);
    };
  });
}

void join(Context& context, Call call) {
  auto body = model::parse_json(call->request.body);
  if (!body) return refuse(call, body.error());
  if (auto known = check_protocol(*body); !known) return refuse(call, known.error());
  auto request = model::parse_join_request(*body);
  if (!request) return refuse(call, request.error());
  if (auto sane = model::check_hello(request->hello); !sane) return refuse(call, sane.error());
  auto credential = credential_for(context, call, request->public_key);
  if (!credential) return refuse(call, credential.error());
  model::JoinAnswer out;
  auto made = make_token("spm_", 0);
  out.token = made.text;
  out.certificate = credential->certificate;
  out.incarnation = context.machines.incarnation();
  context.reactor.post([&context, call, request = std::move(*request), key = credential->key,
                        hash = made.record.hash,
                        out](State& state, std::int64_t now) mutable -> Reactor::Answer {
    auto joined = state.join(call->caller.token, request, key, hash, now);
    if (joined) {
      Caller machine = call->caller;
      machine.name = joined->name;
      if (auto noted = audit(state, now, machine, "machine.join", joined->name, request.version,
                             call->request.id);
          !noted)
        joined = noted.error();
    }
    if (joined) {
      out.machine = joined->id;
      out.name = joined->name;
      out.lost_after = state.lost_after(*state.machine_by_id(joined->id));
    }
    return [&context, call, out, joined](const Result<>& committed) {
      if (!joined) return refuse(call, joined.error());
      if (!committed) return refuse(call, committed.error());
      // Whoever was this machine before has no credential any more.
      context.machines.end_poll(out.machine);
      answer(call, model::to_json(out), 201);
    };
  });
}

}  // namespace spell::service
