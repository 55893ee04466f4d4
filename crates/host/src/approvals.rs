//! What somebody must allow before it happens.
//!
//! ```text
//! ask ●─▶ cards ─▶ votes ●─▶ effect, begun ● and ended ●─▶ told
//! ```
//!
//! A request is bound to the hash of its action, shown whole ([`card`]), decided by people whose role
//! allows it at that moment ([`Host::decide`]), and carried out once ([`settle`]). Its id is the host's, it
//! is no agent's question, and no agent ever sees it.

pub(crate) mod card;
pub(crate) mod typed;

use crate::access::{UserFacts, may_admin};
use crate::boxes::{Change, McpServer};
use crate::{Host, HostError, blocking, boxes, egress, fault, strangers};
use card::outcome_line;
use nanoclaw_central::{
    Approval, ApprovalStatus, CliScope, NewApproval, Opened, Role, Vote, Voted,
};
use nanoclaw_channel::{Answer, AnswerOutcome, Choice, Question};
use nanoclaw_contract::ids::{self, Address, AgentId, ApprovalId, ChatId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Longest action.
const ACTION_BYTES_MAX: usize = 64 << 10;
/// Most open requests that one agent asks for.
const ASKED_MAX: i64 = 10;
/// Most open requests about people who want to talk to one agent, or about chats.
const STRANGERS_MAX: i64 = 50;
/// How long a request can be decided.
const EXPIRES_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long nobody is asked again for what was rejected; after so many rejections, for anything.
const REJECTED_FOR: Duration = Duration::from_secs(30 * 60);
const REJECTED_MAX: usize = 5;
/// Arguments about more than the agent itself: an image of this machine, and how much of it a box may take.
const OF_THE_MACHINE: [&str; 4] = ["image_tag", "memory_mib", "pids", "cpu_millis"];
/// How long to wait before somebody is let in again where that failed: messages hang on it.
const STRANGERS_AGAIN: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];
/// The safety net, for clocks that jump.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// How many people must approve what an agent asks for, in `settings`; one if it says nothing.
pub(crate) const NEEDED: &str = "approvals_needed";
const PREFIX: &str = "ap";
/// Votes of whoever runs the machine, where there is no owner.
const OPERATOR: &str = "operator";

/// What will happen, to the last argument. Its canonical JSON is what is hashed and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(crate) enum Action {
    /// Packages go into the agent's box.
    InstallPackages { agent: AgentId, apt: Vec<String>, npm: Vec<String>, reason: String },
    /// A tool server starts in the agent's box.
    AddMcpServer {
        agent: AgentId,
        name: String,
        command: String,
        args: Vec<String>,
        env: BTreeMap<String, String>,
        reason: String,
    },
    /// A new agent, made by another one.
    CreateAgent { by: AgentId, name: String, instructions: Option<String> },
    /// A command of the agent's own `ncl`, with canonical arguments.
    Command { agent: AgentId, command: String, args: BTreeMap<String, Value> },
    /// A request leaves the agent's box, or a host is used for the first time.
    Request {
        agent: AgentId,
        id: String,
        title: String,
        lines: Vec<String>,
        until: i64,
        options: Vec<Choice>,
    },
    /// A stranger may talk to the agent.
    LetIn { chat: ChatId, agent: AgentId, user: UserId, name: String, says: String },
    /// An agent listens in a chat where nobody did.
    ConnectChat { chat: ChatId, user: UserId, name: String, says: String },
}

/// A request for approval.
pub(crate) struct Ask {
    pub(crate) action: Action,
    /// Who asks, and is told what became of it.
    pub(crate) session: Option<SessionId>,
    /// The same key again is the same request.
    pub(crate) key: String,
}

/// Who decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Voter<'a> {
    /// Whoever runs the machine: counts as an owner.
    Operator,
    /// A person on a platform.
    Person(&'a UserId),
}

/// What became of a vote; the text is for the voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decided {
    /// It counts.
    Taken(String),
    /// It was decided, or expired, before.
    Late(String),
    /// This person may not, or not this.
    Refused(String),
}

impl Action {
    /// Which agent it is about.
    pub(crate) fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::InstallPackages { agent, .. }
            | Self::AddMcpServer { agent, .. }
            | Self::CreateAgent { by: agent, .. }
            | Self::Command { agent, .. }
            | Self::Request { agent, .. }
            | Self::LetIn { agent, .. } => Some(agent),
            Self::ConnectChat { .. } => None,
        }
    }

    /// Whether doing it twice is doing it once.
    fn is_repeatable(&self) -> bool {
        matches!(self, Self::LetIn { .. } | Self::ConnectChat { .. })
    }

    /// Whether it is taken up again where a host left it.
    fn is_resumable(&self) -> bool {
        self.is_repeatable()
            || match self {
                Self::Command { command, args, .. } => crate::admin::changes_box(command, args),
                Self::CreateAgent { .. } => false,
                _ => true,
            }
    }

    fn to_json(&self) -> Result<String, HostError> {
        let mut value =
            serde_json::to_value(self).map_err(|e| HostError::Unknown(format!("action: {e}")))?;
        value.sort_all_objects();
        Ok(value.to_string())
    }
}

fn hash(payload: &str) -> String {
    Sha256::digest(payload).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The action of a request, if it is still the one that was asked for.
fn intact(a: &Approval) -> Result<Action, String> {
    if a.hash.as_deref() != Some(&hash(&a.payload)) {
        return Err("the request was changed after it was asked".into());
    }
    serde_json::from_str(&a.payload).map_err(|e| format!("the request cannot be read: {e}"))
}

/// Whether a question is a card of this module.
pub(crate) fn is_card(q: &Question) -> bool {
    is_ours(q.question_id.as_str())
}

fn is_ours(id: &str) -> bool {
    id.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('-'))
}

/// Direct chats with whom each belongs to, and how many people must approve.
struct Audience(BTreeMap<Address, UserId>, u32);

impl Host {
    /// ● Asks everybody who may decide. Blocks. Inner error: why nobody can, for who asks.
    pub(crate) fn ask_approval(
        self: &Arc<Self>,
        ask: Ask,
    ) -> Result<Result<ApprovalId, String>, HostError> {
        let Ask { action, session, key } = ask;
        let payload = action.to_json()?;
        if payload.len() > ACTION_BYTES_MAX {
            return Ok(Err(format!(
                "a request of more than {ACTION_BYTES_MAX} bytes is not shown to anybody"
            )));
        }
        // Ids of rows are the box's own: they name nothing beyond their session.
        let key = session.as_ref().map_or_else(|| key.clone(), |s| format!("{s}/{key}"));
        let hash = hash(&payload);
        match self.central.approval_with_key(&key)? {
            Some((id, known)) if known.as_ref() == Some(&hash) => return Ok(Ok(id)),
            Some(_) => return Ok(Err("the same id asked for something else before".into())),
            None => {}
        }
        let max = if session.is_some() { ASKED_MAX } else { STRANGERS_MAX };
        if self.central.count_open_approvals(action.agent(), session.is_some())? >= max {
            return Ok(Err(format!("{max} requests wait for a decision already")));
        }
        if let Err(why) = self.asked_enough(&action, session.is_some(), &payload)? {
            return Ok(Err(why));
        }
        let Audience(places, needed) = match self.audience(&action)? {
            Ok(audience) => audience,
            Err(why) => return Ok(Err(why)),
        };
        let id = ApprovalId::parse(ids::unguessable(PREFIX))?;
        let now = self.clock.now();
        let expires_at = match &action {
            Action::Request { until, .. } => egress::until(*until),
            _ => now + EXPIRES_AFTER,
        };
        let shown = card::describe(self, &action, session.as_ref())?;
        let new = NewApproval {
            id: id.clone(),
            key,
            session: session.clone(),
            action: word(&action),
            payload,
            hash,
            agent: action.agent().cloned(),
            title: shown.title.clone(),
            options: shown.options.clone(),
            needed,
            expires_at,
        };
        let cards = places
            .into_iter()
            .map(|(at, user)| shown.card(&new, user, &at))
            .collect::<Result<Vec<_>, _>>()?;
        let id = match self.central.open_approval(&new, &cards, now) {
            Ok(Opened::New) => id,
            Ok(Opened::Same(id)) => return Ok(Ok(id)),
            Ok(Opened::Taken) => {
                return Ok(Err("the same id asked for something else before".into()));
            }
            Err(nanoclaw_central::Error::Refused(why)) => return Ok(Err(why)),
            Err(e) => return Err(e.into()),
        };
        fault::point("host.approval.asked");
        self.post.changed.notify_one();
        self.approvals_changed.notify_one();
        self.trace(
            "asked for approval",
            None,
            session.as_ref(),
            None,
            &format!("{id}: {}", shown.title),
        );
        Ok(Ok(id))
    }

    /// Nobody is asked for the same again right after a no, whatever the reason given, nor for ever new things.
    fn asked_enough(
        &self,
        action: &Action,
        by_agent: bool,
        payload: &str,
    ) -> Result<Result<(), String>, HostError> {
        if !by_agent {
            return Ok(Ok(()));
        }
        let since = self.clock.now() - REJECTED_FOR;
        let rejected = self.central.rejected_since(action.agent(), since)?;
        let what = |payload: &str| {
            let mut what: Map<String, Value> = serde_json::from_str(payload).unwrap_or_default();
            what.retain(|key, _| !["reason", "id", "until"].contains(&key.as_str()));
            what
        };
        let wanted = what(payload);
        if rejected.len() < REJECTED_MAX && rejected.iter().all(|p| what(p) != wanted) {
            return Ok(Ok(()));
        }
        Ok(Err(format!(
            "this was rejected within the last {} minutes; talk to the people in the chat before you \
             ask again",
            REJECTED_FOR.as_secs() / 60
        )))
    }

    /// Where everybody is reached who may decide, and how many of them must approve.
    fn audience(self: &Arc<Self>, action: &Action) -> Result<Result<Audience, String>, HostError> {
        let deciders = self.deciders(self.scope(action)?)?;
        if deciders.is_empty() {
            return Ok(Err("there is no owner or admin who could decide".into()));
        }
        let mut places = Audience(BTreeMap::new(), 1);
        for user in deciders {
            if let Some(at) = self.dm(&user)? {
                places.0.entry(at).or_insert(user);
            }
        }
        let people = places
            .0
            .values()
            .map(|u| self.central.person_of(u))
            .collect::<Result<BTreeSet<_>, _>>()?;
        if !action.is_repeatable() {
            places.1 =
                self.central.setting(NEEDED)?.and_then(|n| n.parse().ok()).unwrap_or(1).max(1);
        }
        Ok(match people.len() {
            0 => {
                Err("no owner or admin can be reached: none of their channels is connected".into())
            }
            n if n < places.1 as usize => {
                Err(format!("{} people must approve, but only {n} can be reached", places.1))
            }
            _ => Ok(places),
        })
    }

    /// The agent whose admins may decide. What an agent may do everywhere is for those of all agents, and so
    /// is what reaches beyond the one: whom it may write to, and what it takes of the machine.
    fn scope<'a>(&self, action: &'a Action) -> Result<Option<&'a AgentId>, HostError> {
        let agent = action.agent();
        if let Action::Command { agent, command, args } = action
            && (command == "destinations-add"
                || OF_THE_MACHINE.iter().any(|name| args.contains_key(*name))
                || self.central.config(agent)?.is_some_and(|c| c.cli_scope == CliScope::Global))
        {
            return Ok(None);
        }
        Ok(agent)
    }

    /// ● Counts a vote: `approve`, `reject`, or the value of another option of the card. The voter's role
    /// counts as it is now, wherever the card lies. Blocks.
    pub(crate) fn decide(
        self: &Arc<Self>,
        approval: &ApprovalId,
        voter: Voter<'_>,
        value: &str,
    ) -> Result<Decided, HostError> {
        let refused = |why: &str| {
            self.trace("vote refused", None, None, None, &format!("{approval}: {why}"));
            Ok(Decided::Refused(why.to_owned()))
        };
        let Some(a) = self.central.approval(approval)? else {
            return Ok(Decided::Late(format!("there is no request {approval}")));
        };
        if a.hash.is_none() {
            return refused("an older version asked this; let the agent ask again");
        }
        let action = match intact(&a) {
            Ok(action) => action,
            Err(why) => return refused(&format!("{why}; it cannot be decided")),
        };
        let agent = self.scope(&action)?;
        if let Voter::Person(user) = voter
            && !self.may_decide(user, agent)?
        {
            return refused("only an owner or an admin may decide this");
        }
        if a.status != ApprovalStatus::Pending {
            return Ok(Decided::Late(outcome_line(&a)));
        }
        let connects = matches!(action, Action::ConnectChat { .. });
        let label = match a.choices().into_iter().find(|c| c.value == value || c.label == value) {
            Some(c) if c.value == strangers::NEW_AGENT => return self.ask_name(&a, voter),
            Some(c) => c.selected_label,
            // Said by name: a new agent, or one that the card had no room for.
            None if connects && strangers::is_agent(self, value)? => "✅ Connected".into(),
            None => return refused("that is not one of the options"),
        };
        let chosen = a.choices().into_iter().find(|c| c.label == value).map(|c| c.value);
        self.withdraw(&a, agent)?;
        let voted = self.vote(&a, voter, chosen.as_deref().unwrap_or(value))?;
        fault::point("host.approval.voted");
        Ok(match voted {
            Voted::Late => {
                Decided::Late("⌛ Expired: nobody decided in time. Nothing was done.".into())
            }
            Voted::Again => Decided::Refused("you have voted already".into()),
            Voted::Counted(more) => Decided::Taken(format!("{label}; {more} more needed")),
            Voted::Decided => {
                settle_soon(self, a.id);
                Decided::Taken(label)
            }
        })
    }

    /// Whoever lost the role has not voted.
    fn withdraw(&self, a: &Approval, agent: Option<&AgentId>) -> Result<(), HostError> {
        for voter in self.central.voters(&a.id)? {
            let may = match UserId::parse(&voter) {
                Ok(user) => voter == OPERATOR || self.may_decide(&user, agent)?,
                Err(_) => voter == OPERATOR,
            };
            if !may {
                self.central.withdraw_vote(&a.id, &voter)?;
                let why = format!("{}: {voter} may not decide any more", a.id);
                self.trace("vote withdrawn", None, a.session.as_ref(), None, &why);
            }
        }
        Ok(())
    }

    fn vote(&self, a: &Approval, voter: Voter<'_>, value: &str) -> Result<Voted, HostError> {
        let owner = self.central.owners()?.into_iter().next();
        // Whoever runs the machine is the first owner, also when it comes to one vote each.
        let (user, name) = match voter {
            Voter::Operator => (owner.as_ref(), "the operator".to_owned()),
            Voter::Person(user) => {
                let name = self.central.user(user)?.and_then(|u| u.name);
                (Some(user), name.map_or_else(|| user.to_string(), |n| card::visible(&n)))
            }
        };
        let person = user.map(|u| self.central.person_of(u)).transpose()?;
        let vote = Vote {
            person: person.as_deref().unwrap_or(OPERATOR),
            user: user.map_or(OPERATOR, UserId::as_str),
            name: &name,
            value,
        };
        let voted = self.central.vote(&a.id, &vote, self.clock.now())?;
        self.trace(
            "vote",
            None,
            a.session.as_ref(),
            None,
            &format!("{}: {value} by {name}: {voted:?}", a.id),
        );
        Ok(voted)
    }

    fn may_decide(&self, user: &UserId, agent: Option<&AgentId>) -> Result<bool, HostError> {
        let roles = self.central.roles_of(user)?;
        Ok(match agent {
            Some(agent) => may_admin(Some(&UserFacts { roles, member: false }), agent),
            None => roles
                .iter()
                .any(|(role, of)| matches!(role, Role::Owner | Role::Admin) && of.is_none()),
        })
    }

    /// The name of a new agent is typed in the direct chat where the card lies.
    fn ask_name(self: &Arc<Self>, a: &Approval, voter: Voter<'_>) -> Result<Decided, HostError> {
        let place = match voter {
            Voter::Operator => None,
            Voter::Person(user) => self.central.card_place(&a.id, user)?.map(|at| (user, at)),
        };
        let Some((user, at)) = place else {
            return Ok(Decided::Refused(format!(
                "say the name at once: `ncl approvals approve {} --option new:NAME`",
                a.id
            )));
        };
        self.central.expect_name(&a.id, Some((user, &at)))?;
        let key = format!("{}:name:{}", a.id, self.clock.now().as_millisecond());
        self.say(&key, &at, "What is the new agent's name? Type it here, or `cancel`.".into())?;
        Ok(Decided::Taken("🆕 Waiting for a name…".into()))
    }
}

/// A click on a card. Blocks.
pub(crate) fn clicked(
    host: &Arc<Host>,
    answer: &Answer,
    user: &UserId,
) -> Result<Option<AnswerOutcome>, HostError> {
    if !is_ours(answer.question.as_str()) {
        return Ok(None);
    }
    let Ok(id) = ApprovalId::parse(answer.question.as_str()) else {
        return Ok(Some(AnswerOutcome::Late));
    };
    Ok(Some(match host.decide(&id, Voter::Person(user), &answer.value)? {
        Decided::Taken(label) => AnswerOutcome::Taken { label },
        Decided::Late(_) => AnswerOutcome::Late,
        Decided::Refused(why) => AnswerOutcome::Refused { why },
    }))
}

/// A chat was connected by a code: a request about it ends, and what waits for it goes its way. Blocks.
pub(crate) fn connected_by_code(host: &Arc<Host>, chat: &ChatId) -> Result<(), HostError> {
    let open = host.central.open_approval_like(&format!("connect:{chat}:"))?;
    let Some(a) = open.map(|id| host.central.approval(&id)).transpose()?.flatten() else {
        return Ok(());
    };
    if host.vote(&a, Voter::Operator, strangers::BY_CODE)? == Voted::Decided {
        settle_soon(host, a.id);
    }
    Ok(())
}

/// A card will never arrive. If none of its request's does, nobody can decide. Blocks.
pub(crate) fn card_lost(host: &Arc<Host>, key: &str, why: &str) -> Result<(), HostError> {
    let outcome = format!("the card could not be delivered: {why}");
    for id in host.central.fail_undelivered(key, &outcome)? {
        settle_soon(host, id);
    }
    Ok(())
}

/// Ends what expires, and begins with what the last host left.
pub(crate) async fn run(host: Arc<Host>, left: Vec<Approval>) {
    let h = host.clone();
    if let Err(e) = blocking(move || strangers::sweep(&h)).await {
        tracing::warn!(error = %e, "files that nobody waits for were not looked up");
    }
    for a in left {
        tokio::spawn(settled(host.clone(), a.id, Since::Before));
    }
    while !host.stopping() {
        let h = host.clone();
        let looked = blocking(move || {
            Ok((h.central.expire_approvals(h.clock.now())?, h.central.next_expiry()?))
        });
        let next = match looked.await {
            Ok((expired, next)) => {
                expired.into_iter().for_each(|id| settle_soon(&host, id));
                next
            }
            Err(e) => {
                tracing::error!(error = %e, "requests were not looked up");
                None
            }
        };
        let latest = tokio::time::Instant::now() + AT_LEAST_EVERY;
        let until = next.map_or(latest, |at| host.instant_of(at).min(latest));
        // Either way the next round looks again.
        drop(tokio::time::timeout_at(until, host.approvals_changed.notified()).await);
    }
}

/// Who decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    /// This host, just now.
    Now,
    /// The last one, or an earlier try, that did not come to an end with it.
    Before,
}

fn settle_soon(host: &Arc<Host>, id: ApprovalId) {
    tokio::spawn(settled(host.clone(), id, Since::Now));
}

async fn settled(host: Arc<Host>, id: ApprovalId, mut since: Since) {
    let mut wait = Duration::from_secs(1);
    while let Err(e) = settle(&host, &id, since).await {
        tracing::error!(%id, error = %e, "a decided request is not settled yet");
        tokio::time::sleep(wait).await;
        if host.stopping() {
            return;
        }
        (wait, since) = ((wait * 2).min(AT_LEAST_EVERY), Since::Before);
    }
}

/// Carries out what was decided, and tells everybody.
async fn settle(host: &Arc<Host>, id: &ApprovalId, since: Since) -> Result<(), HostError> {
    let (h, its) = (host.clone(), id.clone());
    let found = blocking(move || {
        let Some(a) = h.central.approval(&its)? else { return Ok(None) };
        let begun = match a.status {
            ApprovalStatus::Approved => h.central.begin_applying(&its)?,
            ApprovalStatus::Applying => since == Since::Before,
            _ => false,
        };
        Ok(Some((a, begun)))
    })
    .await?;
    let Some((a, begun)) = found else { return Ok(()) };
    fault::point("host.approval.begun");
    if !begun
        && let Ok(Action::Request { id, until, .. }) = intact(&a)
        && a.is_over()
    {
        // It is refused at once, and not only when its time is over.
        drop(egress::decided(host, &a, id, until).await?);
    }
    if begun {
        let outcome = match intact(&a) {
            Err(why) => Err(why),
            Ok(action) if a.status == ApprovalStatus::Applying && !action.is_resumable() => Err(
                "the host stopped in the middle of it. It may have happened or not: look, and ask again if not".into(),
            ),
            Ok(Action::Request { id, until, .. }) => egress::decided(host, &a, id, until).await?,
            Ok(action) => {
                say_begun(host, &a, &action).await?;
                let effect = tokio::spawn(apply(host.clone(), a.clone(), action));
                effect.await.unwrap_or_else(|_| Err("the host failed in the middle of it".into()))
            }
        };
        fault::point("host.approval.applied");
        let (h, its) = (host.clone(), id.clone());
        blocking(move || {
            let (status, text) = match outcome {
                Ok(text) => (ApprovalStatus::Done, text),
                Err(why) => (ApprovalStatus::Failed, why),
            };
            Ok(h.central.finish_approval(&its, status, &text)?)
        })
        .await?;
        fault::point("host.approval.finished");
    }
    let (h, its) = (host.clone(), id.clone());
    blocking(move || tell(&h, &its)).await
}

/// What takes a while says so first.
async fn say_begun(host: &Arc<Host>, a: &Approval, action: &Action) -> Result<(), HostError> {
    if action.is_repeatable() || !action.is_resumable() {
        return Ok(());
    }
    let (h, a) = (host.clone(), a.clone());
    blocking(move || edit_cards(&h, &a, &format!("{} It is being done.", card::decided_line(&a))))
        .await
}

fn edit_cards(host: &Arc<Host>, a: &Approval, line: &str) -> Result<(), HostError> {
    for key in host.central.cards_of(&a.id)? {
        host.mail_edit(&key, &format!("**{}**\n{line}", a.title))?;
    }
    Ok(())
}

/// Tells who asked and who could decide. Every part of it is done once, however often this runs.
fn tell(host: &Arc<Host>, id: &ApprovalId) -> Result<(), HostError> {
    let Some(a) = host.central.approval(id)? else { return Ok(()) };
    if matches!(
        a.status,
        ApprovalStatus::Pending | ApprovalStatus::Approved | ApprovalStatus::Applying
    ) {
        return Ok(());
    }
    let action = intact(&a);
    if let Ok(action) = &action {
        strangers::closed(host, &a, action)?;
    }
    let line = outcome_line(&a);
    edit_cards(host, &a, &line)?;
    // A request that is still held is answered itself, and so is its retry after a no.
    let answered = matches!(action, Ok(Action::Request { .. }))
        && (a.status != ApprovalStatus::Done || a.outcome.as_deref() == Some(""));
    if let Some(session) = a.session.as_ref().filter(|_| a.agent.is_some() && !answered) {
        let text = format!("Your request \"{}\": {line}", a.title);
        // Not the id itself: the box reads its inbox.
        let key = format!("decided-{}", ids::stable(id.as_str()).simple());
        match host.tell_agent(session, &key, &text, true) {
            // The session is gone, and with it who asked.
            Ok(()) | Err(HostError::Unknown(_)) => {}
            Err(e) => return Err(e),
        }
    }
    host.trace("request closed", None, a.session.as_ref(), None, &format!("{id}: {line}"));
    Ok(host.central.approval_told(id)?)
}

async fn apply(host: Arc<Host>, a: Approval, action: Action) -> Result<String, String> {
    let (host, session) = (&host, a.session.as_ref());
    match action {
        Action::InstallPackages { agent, apt, npm, .. } => {
            boxes::carry_out(host, &agent, session, Change::Packages { apt, npm }).await
        }
        Action::AddMcpServer { agent, name, command, args, env, .. } => {
            let change = Change::server(McpServer { name, command, args, env })?;
            boxes::carry_out(host, &agent, session, change).await
        }
        Action::CreateAgent { by, name, instructions } => {
            crate::team::create_agent(host, &by, &name, instructions.as_deref(), session).await
        }
        Action::Command { agent, command, args } => {
            crate::admin::run_approved(host, (&agent, session), &command, &args).await
        }
        // The way out was told before.
        Action::Request { .. } => Ok(String::new()),
        Action::LetIn { .. } | Action::ConnectChat { .. } => {
            let mut waits = STRANGERS_AGAIN.iter();
            loop {
                match (strangers::apply(host, &a, &action).await, waits.next()) {
                    (Ok(text), _) => return Ok(text),
                    (Err(e), None) => return Err(e.to_string()),
                    (Err(e), Some(wait)) => {
                        tracing::warn!(id = %a.id, error = %e, "a stranger is let in later");
                        tokio::time::sleep(*wait).await;
                    }
                }
            }
        }
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::InstallPackages { .. } => "install_packages",
        Action::AddMcpServer { .. } => "add_mcp_server",
        Action::CreateAgent { .. } => "create_agent",
        Action::Command { .. } => "cli_command",
        Action::Request { .. } => "request",
        Action::LetIn { .. } => "let_in",
        Action::ConnectChat { .. } => "connect_chat",
    }
    .into()
}

#[cfg(test)]
pub(crate) mod tests;
