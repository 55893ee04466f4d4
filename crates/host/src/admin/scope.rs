//! Whether a caller may ask for something: pure, on canonical arguments.

use super::Caller;
use super::given::text;
use nanoclaw_admin::args::Args;
use nanoclaw_admin::table::{Access, Own, Reach, Verb};
use nanoclaw_admin::wire::{Code, Failure};
use nanoclaw_central::CliScope;
use nanoclaw_contract::ids::AgentId;
use serde_json::Value;

/// Lets an agent's request pass, with its own id filled in, or says why not. `owner` tells whose session an id
/// names.
pub(crate) fn permit(
    verb: &Verb,
    args: &mut Args,
    (agent, scope): (&AgentId, CliScope),
    owner: impl FnOnce(&str) -> Option<AgentId>,
) -> Result<(), Failure> {
    let no = |text: String| Err(Failure::new(Code::Forbidden, text));
    let what = format!("`ncl {}`", verb.words());
    let own = match (scope, verb.reach) {
        (CliScope::Disabled, _) => {
            return no(format!(
                "ncl is disabled for this agent; the operator can change that with \
                 `ncl groups config update {agent} --cli-scope group`"
            ));
        }
        (_, Reach::Operator) => return no(format!("{what} is for people, not for agents")),
        // Whoever may approve this could make themselves an owner by it.
        (CliScope::Global, _)
            if verb.access == Access::Write
                && verb.resource == "roles"
                && text(args, "role") == Some("owner") =>
        {
            return no("owners are made and unmade by the operator only".into());
        }
        (CliScope::Global, Reach::Global | Reach::Group(_)) => return Ok(()),
        (CliScope::Group, Reach::Global) => {
            return no(format!(
                "{what} is outside this agent's scope: {} is not only its own",
                verb.resource
            ));
        }
        (CliScope::Group, Reach::Group(own)) => own,
    };
    if args.contains_key("cli_scope") {
        return no("an agent cannot change how far its own ncl reaches (cli_scope)".into());
    }
    match own {
        Own::Nothing => {}
        Own::Flag(name) => match args.get(name) {
            None => {
                args.insert(name.into(), agent.as_str().into());
            }
            Some(Value::String(id)) if id == agent.as_str() => {}
            Some(_) => {
                return no(format!(
                    "{what} is scoped to this agent: --{} may only be {agent}, the other belongs to a \
                     different agent group",
                    name.replace('_', "-")
                ));
            }
        },
        Own::Session => {
            let id = text(args, "id").unwrap_or_default();
            if owner(id).as_ref() != Some(agent) {
                // Whether it exists elsewhere is nobody's business.
                let text = format!("session not found: {id}");
                return Err(Failure::new(Code::NotFound, text));
            }
        }
    }
    Ok(())
}

/// What this caller can ask for.
pub(crate) fn help(caller: &Caller, args: &Args) -> Value {
    let scope = match caller {
        Caller::Operator => None,
        Caller::Agent(scope, ..) => Some(*scope),
    };
    let may = |verb: &Verb| {
        matches!(
            (scope, verb.reach),
            (None, _)
                | (Some(CliScope::Global), Reach::Global | Reach::Group(_))
                | (Some(CliScope::Group), Reach::Group(_))
        )
    };
    let mut help = nanoclaw_admin::help::help(text(args, "resource"), may);
    if scope == Some(CliScope::Group) {
        help.push_str("You see and change only what is your own; your id is filled in.\n");
    }
    if scope.is_some() {
        help.push_str(
            "What is marked * is asked of a person first; you are told what became of it.\n",
        );
    }
    help.into()
}

#[cfg(test)]
mod tests;
