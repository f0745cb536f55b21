// Budgets of projects, users and workflows: shown to everybody, set by administrators. They are
// kept where runs are (state_budgets.cpp), and asked for there.
#include "base/error.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"
#include "model/members.hpp"
#include "model/money.hpp"
#include "service/api.hpp"
#include "service/team_data.hpp"
#include "spell/json.hpp"

namespace spell::service {

namespace {

BudgetInfo budget_info(const BudgetUse& use) {
  return {use.record.kind,    use.record.name,           Dollars::nanos(use.record.amount),
          use.record.monthly, model::rounded(use.spent), model::rounded(use.reserved)};
}

/// Of whom. Error `invalid_request`.
Result<store::BudgetRecord> named_in(const Call& call) {
  store::BudgetRecord record;
  record.owner = call->owner();
  record.kind = call->path.at("kind");
  record.name = call->path.at("name");
  if (record.kind != "project" && record.kind != "user" && record.kind != "workflow")
    return base::error(
        "invalid_request",
        "a budget is of a project, a user or a workflow, not of '" + record.kind + "'");
  auto number = base::parse_int(record.name);
  if (record.kind == "workflow" &&
      (!number || *number < 1 || std::to_string(*number) != record.name))
    return base::error("invalid_request",
                       "a workflow is named by its number, not '" + record.name + "'");
  if (record.kind != "workflow" && !base::valid_name(record.name))
    return base::error("invalid_request", "'" + record.name + "' is no name of a " + record.kind);
  return record;
}

/// A mistyped name would keep nobody from anything.
Result<> check_known(Context& context, const Call& call, State& state,
                     const store::BudgetRecord& record) {
  if (record.kind == "workflow") {
    auto known = state.find_workflow(record.owner, *base::parse_int(record.name));
    return known ? ok() : Result<>(known.error());
  }
  if (record.kind == "project") {
    auto known = state.writer().find_project(record.owner, record.name);
    if (!known) return known.error();
    if (*known) return ok();
    return base::error("project_not_found", "there is no project '" + record.name +
                                                "'; `spell project create " + record.name +
                                                "` makes it");
  }
  // The service's own user has no row.
  if (record.name == local_user || record.name == call->caller.name) return ok();
  if (context.options.kind != ServiceOptions::Kind::team) return no_such_user(record.name);
  auto known = state.writer().find_user(record.name);
  if (!known) return known.error();
  return *known ? ok() : Result<>(no_such_user(record.name));
}

std::string text_of_budget(const store::BudgetRecord& record) {
  return "$" + model::dollars_text(Dollars::nanos(record.amount)) +
         (record.monthly ? " a month" : "");
}

/// Changes it as `how` says, on the reactor's thread, and answers with it.
template <class How>
void change_budget(Context& context, Call call, How how) {
  context.reactor.post([call = std::move(call), how = std::move(how)](
                           State& state, std::int64_t now) -> Reactor::Answer {
    Result<BudgetUse> done = how(call, state, now);
    return [call, done](const Result<>& committed) {
      if (!done) return refuse(call, done.error());
      if (!committed) return refuse(call, committed.error());
      answer(call, {{"budget", json(budget_info(*done))}});
    };
  });
}

}  // namespace

void list_budgets(Context& context, Call call) {
  context.reactor.post([call = std::move(call)](State& state, std::int64_t now) -> Reactor::Answer {
    return [call, budgets = state.budgets(call->owner(), now)](const Result<>& committed) {
      if (!committed) return refuse(call, committed.error());
      json list = json::array();
      for (auto& use : budgets) list.push_back(budget_info(use));
      answer(call, {{"budgets", std::move(list)}});
    };
  });
}

void put_budget(Context& context, Call call) {
  auto record = named_in(call);
  if (!record) return refuse(call, record.error());
  auto body = body_object(call);
  if (!body) return refuse(call, body.error());
  Dollars amount;
  bool given = false;
  for (auto& [field, value] : body->items()) {
    model::Problem problem;
    if (field == "amount") {
      given = true;
      problem = model::Codec<Dollars>::read(value, amount);
    } else if (field == "monthly") {
      if (!value.is_boolean())
        return refuse(call, base::error("invalid_request", "'monthly' must be true or false"));
      record->monthly = value.get<bool>();
    } else {
      return refuse(call, base::error("invalid_request", "'" + field + "' is not a known field"));
    }
    if (problem) return refuse(call, base::error("invalid_request", field + " " + problem.text));
  }
  if (!given)
    return refuse(call, base::error("invalid_request", "'amount' says how much it may be"));
  record->amount = amount.nano;
  change_budget(context, std::move(call),
                [&context, record = *record](const Call& of, State& state,
                                             std::int64_t now) -> Result<BudgetUse> {
                  SPELL_TRY(check_known(context, of, state, record));
                  auto dated = record;
                  dated.created_us = now;
                  auto put = state.put_budget(dated, now);
                  if (put)
                    SPELL_TRY(audit(state, now, of, "budget.set", record.kind + " " + record.name,
                                    text_of_budget(record)));
                  return put;
                });
}

void delete_budget(Context& context, Call call) {
  auto record = named_in(call);
  if (!record) return refuse(call, record.error());
  change_budget(
      context, std::move(call),
      [record = *record](const Call& of, State& state, std::int64_t now) -> Result<BudgetUse> {
        BudgetUse before;
        for (auto& use : state.budgets(record.owner, now))
          if (use.record.kind == record.kind && use.record.name == record.name) before = use;
        SPELL_TRY(state.remove_budget(record.owner, record.kind, record.name));
        SPELL_TRY(audit(state, now, of, "budget.rm", record.kind + " " + record.name,
                        text_of_budget(before.record)));
        return before;
      });
}

}  // namespace spell::service
