//! What a request to a model may not ask for, and that ordinary ones pass.

use super::*;

fn found(body: &str) -> Option<String> {
    outside(&Bytes::from(body.to_owned())).unwrap()
}

#[test]
fn tools_of_the_models_side_are_found_however_they_are_written() {
    for (expected, body) in [
        ("web_search_20250305", r#"{"tools":[{"name":"x"},{"type":"web_search_20250305"}]}"#),
        ("web_fetch_20250910", r#"{"tools":[{"type":"web\u005ffetch_20250910"}]}"#),
        ("mcp_servers", r#"{"mcp_servers":[{"url":"https://evil.test"}]}"#),
        ("mcp", r#"{"tools":[{"type":"mcp","server_url":"https://evil.test"}]}"#),
        ("web_search_options", r#"{"web_search_options":{}}"#),
        (
            "source.url",
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"url","url":"https://evil.test/?x"}}]}]}"#,
        ),
        (
            "source.url",
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"source":{"url":"u"}}]}]}]}"#,
        ),
    ] {
        assert_eq!(found(body).as_deref(), Some(expected), "{body}");
    }
}

#[test]
fn ordinary_requests_pass_and_what_is_written_twice_does_not() {
    for body in [
        r#"{"model":"m","messages":[{"role":"user","content":"web_search_20250305"}],"tools":[{"name":"Bash","input_schema":{"type":"object"}}]}"#,
        r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"AA"}}]}],"mcp_servers":[]}"#,
        r#"{"messages":[{"content":[{"type":"tool_use","input":{"source":{"url":"u"}}}]}]}"#,
        r#"{"messages":[{"content":[{"type":"tool_result","content":"text"},{"type":"tool_result"}]}],"system":"s"}"#,
    ] {
        assert_eq!(found(body), None, "{body}");
    }
    for body in [r#"{"tools":[],"tools":[{"type":"mcp"}]}"#, "[]", "x", r#"{"tools":{}}"#] {
        assert!(outside(&Bytes::from_static(body.as_bytes())).is_err(), "{body}");
    }
}

#[test]
fn what_belongs_to_the_account_is_not_open() {
    for path in ["/v1/messages/batches", "/v1/files", "/v1/responses/x", "/v1/models/../files"] {
        assert!(!open(&Method::POST, path) && !open(&Method::GET, path), "{path}");
    }
    assert!(open(&Method::POST, "/v1/messages") && open(&Method::GET, "/v1/models/claude-x"));
}
