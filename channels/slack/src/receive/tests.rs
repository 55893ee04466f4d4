//! Signatures.

use super::*;
use nanoclaw_channel::time::Timestamp;

/// Made by the second implementation: `SignatureVerifier(secret).generate_signature(timestamp=…, body=…)` of
/// slack_sdk 3.47.0 (PyPI). The first is also the example on docs.slack.dev.
const SIGNED: [(&str, i64, &str, &str); 4] = [
    (
        "8f742231b10e8888abcd99yyyzzz85a5",
        1_531_420_618,
        "token=xyzz0WbapA4vBCDEFa0b1c2d3e4f5g6h7&team_id=T1DC2JH3J",
        "v0=33d25f4347a598aa1ab02f14e8b76cbe783793a2f00ac71aba8f6130fceaf998",
    ),
    (
        "secret",
        1_700_000_000,
        r#"{"type":"url_verification","challenge":"abc"}"#,
        "v0=463169c52735a4c40f877bacb5f9289b74714345abcca4b3da6e25fe4e645839",
    ),
    (
        "kü\u{df}",
        1,
        "grü\u{df}e 👋\n",
        "v0=7762415bf3bbd78d88ab5f603bbf6a49462fcb7cc9d41514175c20c4b96bc161",
    ),
    (
        "secret",
        1_700_000_000,
        "",
        "v0=de310687eb633ace5ba2c1f28576085a71c1380f166eecf6b078f7a8a9c43b69",
    ),
];

#[test]
fn slack_s_own_signatures_are_good() {
    for (secret, stamp, body, signature) in SIGNED {
        let now = |seconds| Timestamp::from_second(seconds).unwrap();
        let good = |at: &str, body: &str, signature: &str, seconds| {
            is_signed(secret, at, body.as_bytes(), signature, now(seconds))
        };
        let at = stamp.to_string();
        assert!(good(&at, body, signature, stamp), "{body}");
        assert!(good(&at, body, signature, stamp + 300) && good(&at, body, signature, stamp - 300));
        assert!(
            !good(&at, body, signature, stamp + 301) && !good(&at, body, signature, stamp - 301)
        );
        assert!(!good(&at, &format!("{body} "), signature, stamp));
        assert!(!good(&(stamp + 1).to_string(), body, signature, stamp));
        for wrong in ["", "v0=", &signature[3..], &signature[..65], "v1=00", "v0=zz"] {
            assert!(!good(&at, body, wrong, stamp), "{wrong}");
        }
        for stamp in ["", "now", "-", "99999999999999999999"] {
            assert!(!good(stamp, body, signature, 1));
        }
    }
}
