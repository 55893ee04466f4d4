//! One request of a box: judged, rewritten, sent, and its answer brought back as it comes.
//!
//! ```text
//! authority ─▶ target ─▶ placeholders ─▶ policy ─▶ (person) ─▶ limits ─▶ credential ─▶ upstream
//! box ◀─ recorded ◀─ scrubbed ◀─ flow ◀─ headers cleaned ◀─ answer ◀─────────────────────┘
//! ```
//!
//! Nothing that the box sent as a credential leaves, and nothing is held back that may go. What a step does not
//! understand it refuses. Read next: `inject` for the credential, `upstream` for the wire.

pub(crate) mod headers;

use crate::approvals::{self, Asked};
use crate::audit::{Entry, Record, masked};
use crate::flow::{Flow, Limits, Noted, Stopped};
use crate::guard::Judgement;
use crate::head::{self, BODY_MAX};
use crate::inject::{self, Uses};
use crate::live::Revoked;
use crate::meter::OverBudget;
use crate::refusal::{DRAIN_TIMEOUT, Refusal};
use crate::scan::{Cut, Guarded, Leak, Scrub, scannable};
use crate::serve::{Session, Vault};
use crate::upstream::{SendError, To, Whole};
use crate::{Answer, Body, BoxError, full, identity, model};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use nanoclaw_policy::{
    Asking, Authority, BadTarget, Bound, Decision, METHOD_HEADERS, Policy, Target, Verdict, address,
};
use nanoclaw_secrets::Value;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// A model may think for minutes before the first byte of an answer that is not streamed.
const MODEL_TIMEOUT: Duration = Duration::from_secs(600);
const SEND_IDLE: Duration = Duration::from_secs(60);
const BODY_IDLE: Duration = Duration::from_secs(120);
/// Events may be far apart.
const STREAM_IDLE: Duration = Duration::from_secs(600);
const DRAIN_MAX: usize = 64 << 20;

/// Which way a request takes.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) to: To,
    /// Stands before every path.
    pub(crate) prefix: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somewhere on the Internet, under the policy.
    Web,
    /// The model's API at the address that the owner set.
    Model,
    /// A service that the owner declared, at this address.
    Service(SocketAddr),
}

impl Route {
    pub(crate) fn web(to: To) -> Self {
        Self { to, prefix: String::new(), kind: Kind::Web }
    }
}

/// Ends the wait for the next request's first bytes when its answer has left.
struct Busy(Option<Arc<Judgement>>);

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(told) = &self.0 {
            told.answered();
        }
    }
}

/// One exchange, and what is noted of it.
pub(crate) struct Course<'a> {
    pub(crate) vault: &'a Arc<Vault>,
    pub(crate) session: &'a Arc<Session>,
    pub(crate) route: &'a Route,
    pub(crate) policy: Arc<Policy>,
    pub(crate) record: Record,
    /// What was put in, in the order of the uses.
    given: Vec<Arc<Value>>,
    /// Bytes that the box sent.
    sent: Arc<AtomicU64>,
    /// What was wrong with its body: an HTTP library tells no more than that something was.
    broke: Arc<OnceLock<Refusal>>,
    /// Its place among the session's requests, until all of it is over.
    slot: Option<Arc<OwnedSemaphorePermit>>,
}

/// Serves one request; whatever goes wrong is an answer too.
pub(crate) async fn serve(
    vault: &Arc<Vault>,
    session: &Arc<Session>,
    route: &Route,
    mut request: Request<Incoming>,
    told: Option<&Arc<Judgement>>,
) -> Answer {
    let busy = Busy(told.map(Arc::clone));
    vault.requests.fetch_add(1, Ordering::Relaxed);
    let Ok(waiting) = session.waiting.try_acquire() else {
        let text = "too many requests of this session wait already; try again when some have ended";
        let much = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text);
        note_refused(vault, session, Some(&route.to.place), &much);
        return much.answer(&vault.next_id());
    };
    // Closed only when the session is, and then nobody listens.
    let slot = Arc::clone(&session.slots).acquire_owned().await.ok().map(Arc::new);
    drop(waiting);
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let id = vault.next_id();
    let record = match vault.audit.begin(entry(session, route, &parts)).await {
        Ok(record) => record,
        Err(e) => return Refusal::unavailable("audit_unavailable", e.to_string()).answer(&id),
    };
    let (policy, sent, broke) = (vault.policy(), Arc::default(), Arc::default());
    let given = Vec::new();
    let mut course = Course { vault, session, route, policy, record, given, sent, broke, slot };
    let mut body = Some(body);
    match course.run(parts, &mut body, (upgrade, told)).await {
        Ok((answer, scrub)) => {
            let noted = Noted { sent: course.sent, record: course.record, scrub };
            let slot = course.slot;
            answer.map(|flow| flow.keeps(slot).keeps(busy).noted(noted).into_body())
        }
        Err(refusal) => {
            if let Some(body) = body {
                drop(timeout(DRAIN_TIMEOUT, Limited::new(body, DRAIN_MAX).collect()).await);
            }
            let refusal = course.broke.get().cloned().unwrap_or(refusal);
            identity::slow_down(session).await;
            course.refuse(refusal, &id)
        }
    }
}

/// What is noted of a request before it is judged.
fn entry(session: &Session, route: &Route, parts: &Parts) -> Entry {
    Entry {
        method: parts.method.to_string(),
        host: route.to.place.host.to_string(),
        port: route.to.place.port,
        target: masked(parts.uri.path_and_query().map_or("/", |p| p.as_str())),
        ..session.entry("exchange")
    }
}

/// Notes a request that could not be read, or had nowhere to go.
pub(crate) fn note_refused(
    vault: &Vault,
    session: &Session,
    to: Option<&Authority>,
    why: &Refusal,
) {
    log(session, "?", "?", why.status);
    vault.note(Entry {
        host: to.map(|to| to.host.to_string()).unwrap_or_default(),
        port: to.map_or(0, |to| to.port),
        status: why.status.as_u16(),
        decision: why.code.to_owned(),
        error: Some(why.message.clone()),
        ..session.entry("exchange")
    });
}

/// The question whether an agent may use a host at all.
pub(crate) fn may_use(session: &Session, place: &Authority) -> Asked {
    let (session, agent) = (session.id.clone(), session.agent.id.clone());
    Asked { session, agent, rule: None, place: place.to_string(), request: None }
}

/// One line per request: who, what, outcome. Never a query, a header or a body. The audit log has it for good.
pub(crate) fn log(session: &Session, method: &str, path: &str, status: StatusCode) {
    let status = status.as_u16();
    tracing::debug!(
        session = session.id,
        agent = session.agent.id,
        method,
        path,
        status,
        "request"
    );
}

/// The box's side of what may become a WebSocket.
type Upgrade<'a> = (OnUpgrade, Option<&'a Arc<Judgement>>);

impl Course<'_> {
    fn refuse(mut self, refusal: Refusal, id: &str) -> Answer {
        let model = self.route.kind == Kind::Model;
        let refusal = if model { refusal.for_model() } else { refusal };
        self.record.entry.decision = refusal.code.to_owned();
        self.record.answered(refusal.status.as_u16());
        let path = self.record.entry.target.split('?').next().unwrap_or_default();
        log(self.session, &self.record.entry.method, path, refusal.status);
        refusal.answer(id)
    }

    fn place(&self) -> &Authority {
        &self.route.to.place
    }

    /// Every step in its order; `body` is taken out when it goes on.
    async fn run(
        &mut self,
        mut parts: Parts,
        body: &mut Option<Incoming>,
        (upgrade, told): Upgrade<'_>,
    ) -> Result<(Response<Flow>, Option<Scrub>), Refusal> {
        let target = self.head(&parts)?;
        if self.route.kind == Kind::Web && parts.method == Method::POST {
            let (agent, place) = (&self.session.agent, self.place());
            if let Some(token) = self.vault.wallet.played(agent, place, target.path()).await? {
                return Ok((self.played(&token), None));
            }
        }
        let socket = headers::websocket(&parts)?;
        let bound = match self.route.kind {
            Kind::Service(_) | Kind::Model => Arc::default(),
            Kind::Web => self.vault.wallet.bound(&self.session.agent, self.place()).await?,
        };
        let bound = self.in_clear(bound, &parts, &target)?;
        headers::clean_request(&mut parts.headers, socket);
        let uses = inject::take(&bound, &mut parts, &target)?;
        self.tripwire(&parts, &target, &uses)?;
        let decision = self
            .decide(&parts, &target, inject::fit(&bound, parts.method.as_str(), &target))
            .await?;
        // With a secret or without: a model's API is open for asking, not for keeping things there.
        if bound.iter().any(inject::is_model) && !model::open(&parts.method, target.path()) {
            let why =
                format!("{} {} is not open to a box at a model's API", parts.method, target.path());
            return Err(blocked("blocked_by_policy", None, &why));
        }
        if matches!(decision.verdict, Verdict::Ask { first_use: true, .. }) {
            self.vault.hold(may_use(self.session, self.place())).await?;
        }
        let at = self.addresses().await?;
        if !self.route.to.tls
            && uses.any()
            && at.iter().any(|at| address::class(at.ip()) == address::Class::Public)
        {
            let text = "a secret goes to a public address with TLS only; ask for https://";
            return Err(Refusal::blocked("plaintext_refused", text));
        }
        if self.policy.scans(&self.session.agent, self.place()) && !scannable(&parts.headers) {
            let text = "a packed body cannot be searched for placeholders; send it as it is";
            return Err(Refusal::blocked("encoding_not_scannable", text));
        }
        let whole = Whole::default();
        let mut out = self.outgoing(body, &parts, &whole)?;
        let to_model = self.route.kind == Kind::Model || bound.iter().any(inject::is_model);
        if to_model {
            out = model::judge(&self.policy, &self.session.agent, &parts.headers, out).await?;
        }
        if let Verdict::Ask { rule, first_use } = decision.verdict
            && (rule.is_some() || !first_use)
        {
            out = self.ask(&parts, &target, (&uses, rule), out).await?;
        }
        if to_model {
            self.budget(&target).await?;
        }
        self.vault.take(&decision.limits, self.session).await?;
        let again = uses.bound().any(|bound| bound.kind.is_dynamic())
            && parts.method.is_safe()
            && out.is_end_stream();
        let again = again.then(|| parts.clone());
        let mut scrub = self.credential(&uses, &mut parts, &target).await?;
        let cut = self.vault.watch(self.session, self.place(), &uses);
        let mut answer = self.send(Request::from_parts(parts, out), &at, &whole).await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && self.vault.wallet.renewed(&uses, &self.given, again.is_some()).await
            && let Some(mut parts) = again
        {
            // Once: what is refused with a new token is refused.
            scrub = self.credential(&uses, &mut parts, &target).await?;
            answer = self.send(Request::from_parts(parts, crate::empty()), &at, &whole).await?;
        }
        let metered = to_model.then(|| target.path().to_owned());
        self.bring_back(answer, (uses, scrub, cut, metered), (socket, upgrade, told))
    }

    /// A token server's answer, with placeholders in it.
    fn played(&mut self, token: &serde_json::Value) -> Response<Flow> {
        self.record.entry.decision = "answered_by_vault".to_owned();
        self.record.answered(StatusCode::OK.as_u16());
        let body = full(token.to_string().into());
        let mut answer = Response::new(Flow::new(body, Limits::NONE, Arc::default()));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }

    /// Steps 8 and 9: the request is for this place, in a method and a target that have one reading.
    fn head(&self, parts: &Parts) -> Result<Target, Refusal> {
        let mismatch = || {
            let text =
                format!("this connection is for {}, the request names another host", self.place());
            Refusal::new(StatusCode::MISDIRECTED_REQUEST, "authority_mismatch", text)
        };
        let port = Some(self.default_port());
        let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
        let host = host.map(|host| std::str::from_utf8(host).unwrap_or_default());
        let uri = parts.uri.authority().map(hyper::http::uri::Authority::as_str);
        if self.route.kind == Kind::Web {
            for said in [host, uri].into_iter().flatten() {
                let said = Authority::parse(said, port)
                    .map_err(|_| head::bad("no such host can be named"))?;
                if said != *self.place() {
                    return Err(mismatch());
                }
            }
            if host.or(uri).is_none() {
                return Err(mismatch());
            }
        }
        if parts.method == Method::CONNECT || parts.method == Method::TRACE {
            return Err(Refusal::blocked(
                "blocked_by_policy",
                "TRACE and CONNECT are not for here",
            ));
        }
        if parts.headers.len() > head::FIELDS_MAX {
            return Err(head::too_large());
        }
        let raw = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        Target::parse(raw).map_err(|e| {
            let long = matches!(e, BadTarget::TooLong);
            let status = if long { StatusCode::URI_TOO_LONG } else { StatusCode::BAD_REQUEST };
            Refusal::new(status, "bad_request", format!("the request target: {e}"))
        })
    }

    /// Without TLS only the secrets that the owner lets go so, and to private addresses only.
    fn in_clear(
        &self,
        bound: Arc<Vec<nanoclaw_secrets::Bound>>,
        parts: &Parts,
        target: &Target,
    ) -> Result<Arc<Vec<nanoclaw_secrets::Bound>>, Refusal> {
        if self.route.to.tls || bound.is_empty() {
            return Ok(bound);
        }
        let (clear, sealed): (Vec<_>, Vec<_>) =
            bound.iter().cloned().partition(|bound| bound.binding.allow_plaintext);
        if sealed.iter().any(|bound| inject::carried(bound, &parts.headers, target).is_some()) {
            let text = "this secret goes nowhere without TLS; ask for https://";
            return Err(Refusal::blocked("plaintext_refused", text));
        }
        Ok(Arc::new(clear))
    }

    fn default_port(&self) -> u16 {
        if self.route.to.tls { 443 } else { 80 }
    }

    /// Step 10: no placeholder stands where it has no business.
    fn tripwire(&mut self, parts: &Parts, target: &Target, uses: &Uses) -> Result<(), Refusal> {
        let tripwire = self.vault.wallet.tripwire();
        let target = uses.without(target.wire());
        tripwire
            .head(&target, &parts.headers)
            .map_err(|leak| leaked(self.vault, self.session, self.place(), &leak))
    }

    /// Step 11.
    async fn decide(
        &mut self,
        parts: &Parts,
        target: &Target,
        bound: Bound,
    ) -> Result<Decision, Refusal> {
        let given = METHOD_HEADERS.iter().flat_map(|name| parts.headers.get_all(*name));
        let others: Vec<&str> = given.map(|value| value.to_str().unwrap_or("?")).collect();
        let agent = &self.session.agent;
        let asking = Asking {
            agent,
            authority: self.place(),
            tls: self.route.to.tls,
            method: Some(parts.method.as_str()),
            other_methods: &others,
            target: Some(target),
            bound,
            remembered: self.vault.remembered(agent, self.place()),
        };
        let mut decision = self.policy.decide(&asking);
        if let Verdict::Block { code, rule, why } = &decision.verdict {
            // The owner set the model's address; only a rule that says so takes it away.
            if self.route.kind != Kind::Model || rule.is_some() {
                self.record.entry.rule.clone_from(rule);
                if let (None, Bound::No) = (rule, bound)
                    && let Some(missing) = self.vault.wallet.missing(self.place()).await
                {
                    return Err(missing);
                }
                return Err(blocked(code, rule.as_deref(), why));
            }
            decision.verdict = Verdict::Allow;
        }
        if let Verdict::Ask { rule, first_use } = &decision.verdict {
            self.record.entry.rule.clone_from(rule);
            if self.route.kind == Kind::Model && *first_use {
                decision.verdict = Verdict::Allow;
            }
        }
        Ok(decision)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Refusal> {
        match self.route.kind {
            Kind::Web => self.vault.resolver.checked(self.place(), &self.policy).await,
            Kind::Model => self.vault.resolver.trusted(self.place()).await,
            Kind::Service(at) => Ok(vec![at]),
        }
    }

    /// The body on its way out: counted, timed, searched for placeholders.
    fn outgoing(
        &self,
        body: &mut Option<Incoming>,
        parts: &Parts,
        whole: &Whole,
    ) -> Result<Body, Refusal> {
        let most = if self.route.kind == Kind::Model { model::BODY_MAX } else { BODY_MAX };
        let body =
            body.take().map_or_else(crate::empty, |b| b.map_err(BoxError::from).boxed_unsync());
        if body.size_hint().lower() > most {
            return Err(Refusal::body_too_large(most));
        }
        let limits =
            Limits { bytes: most, idle: SEND_IDLE, steady: parts.version < Version::HTTP_2 };
        let flow = Flow::new(body, limits, Arc::clone(&self.sent)).tells(Arc::clone(whole));
        if self.route.kind == Kind::Model {
            return Ok(flow.into_body());
        }
        let (vault, session) = (Arc::clone(self.vault), Arc::clone(self.session));
        let (place, broke) = (self.place().clone(), Arc::clone(&self.broke));
        let guarded = Guarded::new(flow, vault.wallet.tripwire()).map_err(move |cut| {
            let why = match &cut {
                Cut::Leak(leak) => leaked(&vault, &session, &place, leak),
                cut => broken_body(cut),
            };
            broke.set(why).ok();
            BoxError::from(cut)
        });
        Ok(guarded.boxed_unsync())
    }

    /// Step 12: a person sees exactly what is sent.
    async fn ask(
        &self,
        parts: &Parts,
        target: &Target,
        (uses, rule): (&Uses, Option<String>),
        body: Body,
    ) -> Result<Body, Refusal> {
        let (vault, agent) = (self.vault, &self.session.agent.id);
        let collected = vault.approvals.collect(agent, body).await.map_err(|why| why.refusal())?;
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let request = approvals::Request {
            epoch: vault.epoch(),
            secrets: uses.bound().map(|bound| (bound.name.clone(), bound.epoch)).collect(),
            method: parts.method.to_string(),
            scheme: if self.route.to.tls { "https" } else { "http" }.to_owned(),
            path: target.path().to_owned(),
            query: target.query().map(str::to_owned),
            content_type: kind.map(str::to_owned),
            body: collected.bytes.clone(),
        };
        let asked = may_use(self.session, self.place());
        vault.hold(Asked { rule, request: Some(request), ..asked }).await?;
        let flow = Flow::new(full(collected.bytes.clone()), Limits::NONE, Arc::default());
        Ok(flow.keeps(collected).into_body())
    }

    async fn budget(&self, target: &Target) -> Result<(), Refusal> {
        let (agent, vault) = (&self.session.agent, self.vault);
        let allowed = |key: &str| vault.approvals.remembered(&agent.id, key).unwrap_or_default();
        let checked =
            vault.meter.check(&agent.id, target.path(), self.policy.budgets(agent), allowed);
        let over = match checked {
            Ok(notices) => {
                notices.iter().for_each(|notice| vault.owner(&notice.key, &notice.text));
                return Ok(());
            }
            Err(over) => over,
        };
        let OverBudget { text, notice, can_go_on } = over;
        if !can_go_on {
            vault.owner(&notice.key, &notice.text);
        } else if vault.approvals.remembered(&agent.id, &notice.key).is_none() {
            let asked = may_use(self.session, self.place());
            let asked = Asked { place: notice.key, rule: Some(notice.text), ..asked };
            if vault.hold(asked).await.is_ok() {
                return Ok(());
            }
        }
        Err(Refusal::blocked("over_budget", text))
    }

    /// Step 13: what was decided gets its secret, and the answer will not show it.
    async fn credential(
        &mut self,
        uses: &Uses,
        parts: &mut Parts,
        target: &Target,
    ) -> Result<Option<Scrub>, Refusal> {
        if uses.any() {
            let noted = self.vault.audit.writable();
            noted.map_err(|e| Refusal::unavailable("audit_unavailable", e.to_string()))?;
        }
        if self.route.kind == Kind::Model {
            let credential = self.vault.credential.get().ok().flatten();
            inject::model(&mut parts.headers, &*credential.ok_or_else(inject::no_credential)?)?;
        }
        let (path, given) = inject::all(self.vault, uses, &mut parts.headers, target).await?;
        let sent: Vec<_> = { uses.bound() }
            .zip(&given)
            .filter(|(bound, _)| !bound.binding.no_echo)
            .map(|(bound, value)| (Arc::clone(value), bound.dummy.clone()))
            .collect();
        self.given = given;
        self.record.entry.secrets = uses.names();
        let path = format!("{}{path}", self.route.prefix);
        parts.uri = path.parse().map_err(|_| head::bad("the request target cannot be written"))?;
        let host = self.place().header(self.default_port());
        let host = HeaderValue::from_str(&host).map_err(|_| head::bad("no such host"))?;
        parts.headers.insert(HOST, host);
        parts.version = Version::HTTP_11;
        if sent.is_empty() {
            return Ok(None);
        }
        parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(Some(Scrub::new(self.vault.wallet.needles(sent))))
    }

    /// Step 14.
    async fn send(
        &mut self,
        request: Request<Body>,
        at: &[SocketAddr],
        whole: &Whole,
    ) -> Result<Response<Incoming>, Refusal> {
        let wait = if self.route.kind == Kind::Model { MODEL_TIMEOUT } else { ANSWER_TIMEOUT };
        let (vault, to) = (self.vault, &self.route.to);
        let pool = match self.route.kind {
            Kind::Web => &self.session.pool,
            Kind::Model | Kind::Service(_) => &self.session.near,
        };
        let sent = pool.send(&vault.dialer, (to, at), request, (whole, wait)).await;
        let (answer, peer) = sent.map_err(|e| self.failed(&e))?;
        self.record.entry.ip = Some(peer.ip());
        self.record.entry.decision = "allowed".to_owned();
        self.record.answered(answer.status().as_u16());
        let path = self.record.entry.target.split('?').next().unwrap_or_default();
        log(self.session, &self.record.entry.method, path, answer.status());
        Ok(answer)
    }

    fn failed(&self, e: &SendError) -> Refusal {
        if cause::<Stopped>(e).is_some()
            || cause::<hyper::Error>(e).is_some_and(hyper::Error::is_user)
        {
            return broken_body(e);
        }
        let to = self.place();
        tracing::warn!(%to, "upstream failed: {e}");
        let text = format!("{to} did not answer: {e}");
        Refusal::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", text)
    }

    /// Steps 15 and 17.
    fn bring_back(
        &self,
        mut answer: Response<Incoming>,
        (uses, scrub, cut, metered): (Uses, Option<Scrub>, Option<Revoked>, Option<String>),
        (socket, upgrade, told): (bool, OnUpgrade, Option<&Arc<Judgement>>),
    ) -> Result<(Response<Flow>, Option<Scrub>), Refusal> {
        let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if answer.status().is_informational() && !(switched && socket) {
            return Err(bad_upstream("it answered with a protocol that nobody asked for"));
        }
        let back = switched.then(|| hyper::upgrade::on(&mut answer));
        let upgrade_header = answer.headers().get(UPGRADE).cloned();
        let hide = self.route.kind == Kind::Model || uses.hides_answer_headers();
        headers::clean_answer(answer.headers_mut(), hide);
        let idle = if headers::streams(answer.headers()) { STREAM_IDLE } else { BODY_IDLE };
        let limits = Limits { bytes: u64::MAX, idle, steady: false };
        let (mut head, body) = match &scrub {
            Some(scrub) => {
                let answer = scrub.answer(answer).map_err(|e| bad_upstream(&e.to_string()))?;
                let (head, body) = answer.into_parts();
                (head, body.map_err(BoxError::from).boxed_unsync())
            }
            None => {
                let (head, body) = answer.into_parts();
                (head, body.map_err(BoxError::from).boxed_unsync())
            }
        };
        let metered = metered.and_then(|path| {
            let who = (self.session.agent.id.clone(), self.session.id.clone());
            self.vault.meter.watch(who, &path, self.sent.load(Ordering::Relaxed))
        });
        // A reason in the upstream's own words among them.
        head.extensions.clear();
        let mut cut = cut;
        if let Some(back) = back {
            if let Some(told) = told {
                told.upgraded();
            }
            head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers
                .insert(UPGRADE, upgrade_header.unwrap_or(HeaderValue::from_static("websocket")));
            crate::tunnel::join(
                self.vault,
                self.session,
                self.place(),
                (upgrade, back),
                scrub.clone(),
                (cut.take(), self.slot.clone()),
            );
        }
        let flow = Flow::new(body, limits, Arc::default()).cut_by(cut).metered(metered);
        Ok((Response::from_parts(head, flow), scrub))
    }
}

/// A placeholder was on its way to where it does not belong.
fn leaked(vault: &Vault, session: &Session, place: &Authority, leak: &Leak) -> Refusal {
    vault.alarm(session, "placeholder_leak", &format!("{leak} (on the way to {place})"));
    Refusal::blocked("placeholder_leak", leak.to_string())
}

/// The first error of this kind behind another.
fn cause<'a, E: Error + 'static>(e: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(e);
    while let Some(inner) = next {
        if let Some(found) = inner.downcast_ref() {
            return Some(found);
        }
        next = inner.source();
    }
    None
}

/// The box did not send the body that it announced.
pub(crate) fn broken_body(e: &(dyn Error + 'static)) -> Refusal {
    match cause(e) {
        Some(Stopped::TooLong(most)) => Refusal::body_too_large(*most),
        Some(stopped) => {
            let text = format!("the request's body: {stopped}");
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", text)
        }
        None => head::bad("the request's body ended before its end"),
    }
}

fn bad_upstream(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, "bad_upstream", format!("the upstream's answer: {why}"))
}

/// In words for the agent.
pub(crate) fn blocked(code: &'static str, rule: Option<&str>, why: &str) -> Refusal {
    let status = nanoclaw_policy::status(code);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let text = format!("{why}. http://vault.internal/v1/explain?url=… tells more");
    let refusal = Refusal::new(status, code, text);
    match rule {
        Some(rule) => refusal.with("rule", rule),
        None => refusal,
    }
}
