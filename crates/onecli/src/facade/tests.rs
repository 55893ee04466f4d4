use super::*;

#[test]
fn what_is_for_the_gateway_is_told_by_its_head() {
    for head in
        ["CONNECT a.test:443 HTTP/1.1\r\n\r\n", "GET http://a.test/ HTTP/1.1\r\n\r\n", "x\r\n\r\n"]
    {
        assert!(gateway::is_for(head.as_bytes()), "{head:?}");
    }
    for head in ["GET /api/health HTTP/1.1\r\n\r\n", "POST /v1/agents HTTP/1.1\r\n\r\n"] {
        assert!(!gateway::is_for(head.as_bytes()), "{head:?}");
    }
}

#[test]
fn parameters_are_read_as_they_were_meant() {
    let call = Call {
        method: "GET",
        path: vec![],
        query: "exclude=a%2Cb&agent=x%20y%zz%",
        body: &[],
        second: false,
    };
    assert_eq!(call.parameter("exclude").as_deref(), Some("a,b"));
    assert_eq!(call.parameter("agent").as_deref(), Some("x y%zz%"));
    assert_eq!(call.parameter("none"), None);
}
