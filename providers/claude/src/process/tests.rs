//! What Claude Code is started with.

use super::*;
use async_trait::async_trait;
use nanoclaw_runner::tools::{Handler, Tools};
use serde_json::Map;

struct NoTools;

#[async_trait]
impl Handler for NoTools {
    async fn call(&self, _: &str, _: &Map<String, Value>, _: &str) -> Result<String, String> {
        Err("none".to_owned())
    }
}

pub(crate) fn setup() -> Setup {
    Setup {
        cwd: "/".into(),
        workspace: "/".into(),
        extra_dirs: vec!["/extra/one".into()],
        skills: vec![],
        instructions: String::new(),
        continuation: Some("--print".to_owned()),
        model: None,
        effort: Some("high".to_owned()),
        previews: false,
        mcp_servers: [mcp::NAME, "files"]
            .map(|name| (name.to_owned(), json!({ "command": "serve" })))
            .into(),
        env: [(OVERRIDE.to_owned(), "/bin/sh".to_owned())].into(),
        tools: Arc::new(Tools::with(vec![], NoTools)),
        check_reply: Arc::new(|_| None),
    }
}

#[test]
fn no_value_is_read_as_a_flag_and_no_server_takes_our_name() {
    let args = arguments(&setup());
    assert!(args.iter().all(|arg| arg.starts_with("--")), "{args:?}");
    for arg in [
        "--resume=--print",
        "--effort=high",
        "--add-dir=/extra/one",
        r#"--mcp-config={"mcpServers":{"files":{"command":"serve"}}}"#,
    ] {
        assert!(args.iter().any(|a| a == arg), "{arg} is not in {args:?}");
    }
    assert!(!args.iter().any(|a| a.starts_with("--model")));
}

#[tokio::test]
async fn lines_come_whole_and_errors_are_kept() {
    // A shell refuses our flags, but says so; it stands for any binary that will not start.
    let mut cli = Cli::start(&setup()).unwrap();
    let status = cli.child.wait().await.unwrap();
    assert!(!status.success());
    assert!(cli.frames.recv().await.is_none());
    let said = async {
        while cli.tail().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), said).await.expect("its last words");
}
