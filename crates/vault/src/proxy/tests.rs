//! Rewriting of headers, as tables; the whole way is tested with real sockets in `tests/it`.

use super::*;

fn rewritten(kind: Kind, given: &[(&str, &str)]) -> Result<Vec<String>, u16> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let credential = Credential::parse("real-value-1", Some(kind), None).unwrap();
    rewrite(&mut headers, &credential).map_err(|refusal| refusal.status.as_u16())?;
    let line = |(n, v): (&HeaderName, &HeaderValue)| format!("{n}: {}", v.to_str().unwrap());
    let mut lines: Vec<String> = headers.iter().map(line).collect();
    lines.sort();
    Ok(lines)
}

#[test]
fn the_beta_for_tokens_is_there_exactly_when_it_is_needed() {
    let auth = "authorization: Bearer real-value-1";
    let (key, host) = ("x-api-key: real-value-1", "host: api.anthropic.com");
    let with = |beta: &str| Ok(vec![format!("anthropic-beta: {beta}"), auth.into(), host.into()]);
    assert_eq!(rewritten(Kind::Oauth, &[]), with("oauth-2025-04-20"));
    assert_eq!(
        rewritten(
            Kind::Oauth,
            &[("anthropic-beta", "a,oauth-2025-04-20 , b"), ("anthropic-beta", "c")]
        ),
        with("a,b,c,oauth-2025-04-20")
    );
    let given = [("anthropic-beta", "oauth-2025-04-20")];
    assert_eq!(rewritten(Kind::ApiKey, &given), Ok(vec![host.into(), key.into()]));
}

#[test]
fn nothing_of_the_connection_and_no_other_credential_goes_out() {
    let given = [
        ("x-api-key", "sk-ant-api03-nanoclaw-dummy"),
        ("authorization", "Bearer x"),
        ("authorization", "Bearer y"),
        ("proxy-authorization", "Basic x"),
        ("connection", "close, X-Named, content-type"),
        ("x-named", "1"),
        ("content-type", "text/plain"),
        ("cookie", "a=b"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("x-forwarded-for", "10.0.0.1"),
        ("accept", "*/*"),
    ];
    let expected = ["accept: */*", "host: api.anthropic.com", "x-api-key: real-value-1"];
    assert_eq!(rewritten(Kind::ApiKey, &given), Ok(expected.map(str::to_owned).to_vec()));
}

#[test]
fn a_placeholder_in_another_header_is_refused() {
    let given = [("x-custom", "sk-ant-oat01-nanoclaw-dummy")];
    assert_eq!(rewritten(Kind::ApiKey, &given), Err(403));
}
