//! `CONNECT` as programs use it: real curl through the relay's socket to a TLS server, and raw clients.

use crate::web::*;

#[tokio::test]
async fn curl_reaches_what_the_policy_allows_and_nothing_else() {
    let web = Web::start().await;
    let (install, grant) = web.install("allow = [\"good.test:PORT\"]").await;
    let (status, text) = web.curl(&grant, &web.url("good.test", "/hello?a=1")).await;
    assert_eq!((status, text.as_str()), (200, "GET /hello?a=1"));
    let seen = web.upstream.last();
    assert_eq!(seen.header("host"), Some(format!("good.test:{}", web.port).as_str()));
    assert_eq!(seen.header("proxy-authorization"), None);
    let refused = web.curl(&grant, &web.url("evil.test", "/")).await;
    assert_eq!(refused.0, 0, "CONNECT is refused: {refused:?}");
    assert_eq!(web.upstream.seen().len(), 1);
    install.stop().await;
}
