use super::*;
use crate::audit::FILE;
use jiff::Timestamp;
use nanoclaw_policy::{AgentNames, Policy};
use tempfile::TempDir;

const OPUS: &str = r#"{"model":"claude-opus-4-5-20251101","content":[{"type":"tool_use","input":{"usage":{"input_tokens":9}}},
    {"type":"text","text":"\"usage\":{\"output_tokens\":99}"}],
    "usage":{"input_tokens":1000,"output_tokens":2000,"cache_read_input_tokens":10000,
             "cache_creation_input_tokens":400,"cache_creation":{"ephemeral_1h_input_tokens":100}}}"#;
const STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-haiku-4-5\",\
    \"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"delta\":{\"text\":\
    \"{\\\"usage\\\":{\\\"output_tokens\\\":7000}}\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\
    \"usage\":{\"output_tokens\":15}}\n\n";
const CHAT: &str = r#"{"model":"gpt-4.1","choices":[{"message":{"content":"x"}}],
    "usage":{"prompt_tokens":100,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":40}}}"#;
const RESPONSES: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"model\":\"gpt-5\",\
    \"usage\":{\"input_tokens\":30,\"input_tokens_details\":{\"cached_tokens\":10},\"output_tokens\":5}}}\n\n";

fn tap(text: &str) -> Tap {
    let mut tap = Tap::default();
    text.bytes().for_each(|byte| tap.push(&[byte]));
    tap
}

#[test]
fn usage_is_read_from_either_vendor_and_never_from_what_the_model_wrote() {
    let known = Usage { known: true, ..Usage::default() };
    let cases = [
        (
            OPUS,
            "claude-opus-4-5-20251101",
            Usage {
                input: 1000,
                output: 2000,
                cache_write: 300,
                cache_write_long: 100,
                cache_read: 10000,
                ..known
            },
        ),
        (STREAM, "claude-haiku-4-5", Usage { input: 25, output: 15, ..known }),
        (CHAT, "gpt-4.1", Usage { input: 60, output: 10, cache_read: 40, ..known }),
        (RESPONSES, "gpt-5", Usage { input: 20, output: 5, cache_read: 10, ..known }),
        ("<html>usage: 7", "unknown", Usage::default()),
        (r#"{"usage":null,"model":"a b"}"#, "unknown", Usage::default()),
        (r#"[{"usage":{"input_tokens":1}}]"#, "unknown", Usage::default()),
    ];
    for (text, model, usage) in cases {
        let tap = tap(text);
        assert_eq!((tap.model(), tap.usage), (model, usage), "{text}");
    }
    let cut = &STREAM[..STREAM.find("event: content").unwrap()];
    assert_eq!(
        tap(cut).usage,
        Usage { input: 25, output: 1, ..known },
        "who hangs up pays for what was read"
    );
}

#[test]
fn a_call_costs_what_the_list_says_and_an_unknown_model_the_most() {
    let prices = Prices::ours();
    let cost = |model: &str, usage: Usage| prices.cost(model, &usage);
    let million = Usage { input: 1_000_000, ..Usage::default() };
    assert_eq!(
        cost("claude-opus-4-5-20251101", tap(OPUS).usage),
        5000 + 1875 + 1000 + 5000 + 50_000
    );
    assert_eq!(cost("anthropic/claude-sonnet-4-5", million), 3_000_000);
    assert_eq!(cost("claude-opus-5", million), 5_000_000);
    assert_eq!(cost("claude-opus-5-7", million), 15_000_000, "not the price of opus 5");
    assert_eq!(cost("gpt-9", Usage { output: 1_000_000, ..Usage::default() }), 120_000_000);
    assert_eq!(
        cost("claude-haiku-5-5", million),
        500_000,
        "a long prompt costs five times as much"
    );
    assert_eq!(cost("gpt-4o-mini", Usage { input: 1, ..Usage::default() }), 1, "rounded up");
}

struct World {
    dir: TempDir,
    meter: Arc<Meter>,
    done: std::sync::mpsc::Receiver<()>,
    allowed: &'static str,
}

fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn world() -> World {
    open(TempDir::new().unwrap())
}

fn open(dir: TempDir) -> World {
    let (sender, done) = std::sync::mpsc::channel();
    let file = dir.path().join(FILE);
    let audit =
        Audit::start(&file, [7; 32], noon, move |_| sender.send(()).unwrap_or_default()).unwrap();
    let meter = Meter::open(&Reader::open(&file).unwrap(), audit, Prices::ours()).unwrap();
    World { dir, meter: Arc::new(meter), done, allowed: "" }
}

impl World {
    fn answers(&self, agent: &str, path: &str, text: &str) -> Option<i64> {
        let who = (agent.to_owned(), "s1".to_owned());
        let mut answer = self.meter.watch(who, path, 4000)?;
        answer.push(text.as_bytes());
        Some(answer.end())
    }

    fn check(&self, agent: &str, path: &str, policy: &Policy) -> Result<Vec<Notice>, OverBudget> {
        let names = AgentNames { id: agent.to_owned(), folder: agent.to_owned() };
        self.meter.check(agent, path, policy.budgets(&names), |key| key == self.allowed)
    }

    /// The same install after a restart.
    fn again(self) -> Self {
        drop(self.meter);
        // The writer ends with the last handle.
        let _notes = self.done.iter().count();
        open(self.dir)
    }
}

fn policy() -> Policy {
    Policy::parse(
        "[[budget]]\nagent = \"a1\"\nsoft_usd = 0.05\nhard_usd = 0.1\nper = \"day\"\n\
         [[budget]]\nagent = \"a1\"\nhard_tokens = 1000000\nper = \"month\"\n",
    )
    .unwrap()
}

#[tokio::test]
async fn a_soft_limit_is_told_a_hard_one_refuses_and_the_owner_can_let_it_go_on() {
    let (world, policy) = (world(), policy());
    assert_eq!(world.check("a1", "/v1/messages", &policy), Ok(vec![]));
    assert_eq!(world.answers("a1", "/v1/messages", OPUS), Some(13_400));
    let notices = world.check("a1", "/v1/messages", &policy).unwrap();
    assert_eq!(notices[0].key, "budget:a1:2026-11-23:soft");
    assert!(notices[0].text.contains("$0.06 (13400 tokens)"), "{}", notices[0].text);
    world.answers("a1", "/v1/messages", OPUS);
    let refused = world.check("a1", "/v1/messages", &policy).unwrap_err();
    assert!(refused.text.contains("The owner of this install can let it go on"), "{refused:?}");
    assert_eq!(world.check("a2", "/v1/messages", &policy), Ok(vec![]), "another agent");
    let mut world = world.again();
    assert_eq!(world.check("a1", "/v1/messages", &policy), Err(refused.clone()), "after a restart");
    assert_eq!(
        (refused.notice.key.as_str(), refused.can_go_on),
        ("budget for 2026-11-23, 1", true)
    );
    world.allowed = "budget for 2026-11-23, 1";
    assert!(world.check("a1", "/v1/messages", &policy).is_ok());
    world.answers("a1", "/v1/messages", OPUS);
    world.answers("a1", "/v1/messages", OPUS);
    assert!(world.check("a1", "/v1/messages", &policy).is_err(), "once more, not for ever");
}

#[tokio::test]
async fn what_cannot_be_metered_is_not_open_to_who_has_a_hard_limit() {
    let (world, policy) = (world(), policy());
    let refused = world.check("a1", "/v1/messages/batches", &policy).unwrap_err();
    assert_eq!(refused.notice.key, "budget:a1:2026-11-23:unmetered");
    assert!(world.check("a1", "/v1/messages/count_tokens", &policy).is_ok());
    assert!(world.check("a2", "/v1/messages/batches", &policy).is_ok());
}

#[tokio::test]
async fn an_answer_that_does_not_say_what_it_took_is_estimated() {
    let world = world();
    world.answers("a1", "/v1/chat/completions", "data: {\"model\":\"gpt-4.1\"}\n\ndata: {}\n\n");
    world.answers("a1", "/v1/messages/count_tokens", "{\"input_tokens\":5}");
    let world = world.again();
    let log = Reader::open(&world.dir.path().join(FILE)).unwrap();
    let spent = log.spent_since("2026-11-01").unwrap();
    let [(day, spent)] = &spent[..] else { panic!("{spent:?}") };
    assert_eq!((day.as_str(), spent.model.as_str(), spent.calls), ("2026-11-23", "gpt-4.1", 1));
    assert_eq!((spent.input, spent.output), (1000, 2));
}

#[test]
fn the_owners_list_takes_the_place_of_ours_or_is_said_to_be_wrong() {
    let dir = TempDir::new().unwrap();
    let million = Usage { input: 1_000_000, ..Usage::default() };
    assert_eq!(Prices::of(dir.path()).unwrap().cost("claude-opus-5", &million), 5_000_000);
    let file = dir.path().join("prices.json");
    let list = r#"{"as_of":"2026-12-01","models":{"mine":{"input":7,"output":8,"cached":1}}}"#;
    std::fs::write(&file, list).unwrap();
    let prices = Prices::of(dir.path()).unwrap();
    assert_eq!((prices.as_of.as_str(), prices.cost("mine", &million)), ("2026-12-01", 7_000_000));
    std::fs::write(&file, "{").unwrap();
    assert!(Prices::of(dir.path()).unwrap_err().to_string().contains("prices.json: EOF"));
}
