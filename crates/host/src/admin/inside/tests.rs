use super::*;
use nanoclaw_contract::ids::ApprovalId;

#[test]
fn no_id_of_a_request_reaches_an_agent() {
    let id = ApprovalId::parse("ap-0123456789abcdef0123456789abcdef").unwrap();
    let told =
        format!(r#"{{"detail": "it waits for the request {id}", "id": "approval:{id}:card"}}"#);
    assert_eq!(
        hide(&told),
        r#"{"detail": "it waits for the request ap-…", "id": "approval:ap-…:card"}"#
    );
}
