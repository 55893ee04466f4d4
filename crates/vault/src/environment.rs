//! What a box is told about its way out: variables for every program that has one, and files.

use crate::ca::{BUNDLE_JKS, BUNDLE_PEM};
use std::collections::BTreeMap;

/// Where the session's folder is in a box.
const DIR: &str = "/run/vault";
/// What programs read that have no variable of their own.
pub(crate) const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Teaches older versions of Node what newer ones do by themselves; all read it before anything else.
pub(crate) const NODE: (&str, &[u8]) = ("node.cjs", include_bytes!("environment/node.cjs"));
const LOCAL: &str = "127.0.0.1,localhost,::1";

const PROXY: [&str; 6] =
    ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"];
const BUNDLE: [&str; 14] = [
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "npm_config_cafile",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];
const PLAIN: [(&str, &str); 8] = [
    ("NO_PROXY", LOCAL),
    ("no_proxy", LOCAL),
    ("NODE_USE_ENV_PROXY", "1"),
    ("NODE_USE_SYSTEM_CA", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_HTTP_PROXY_AUTHMETHOD", "basic"),
    ("ELECTRON_GET_USE_PROXY", "1"),
    ("DENO_TLS_CA_STORE", "system"),
];

/// The variables of a box with this token.
pub(crate) fn proxy(token: &str) -> BTreeMap<String, String> {
    let url = format!("http://box:{token}@127.0.0.1:3128");
    let bundle = format!("{DIR}/{BUNDLE_PEM}");
    let java = format!(
        "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=3128 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=3128 \
         -Dhttp.nonProxyHosts=localhost|127.* -Djdk.http.auth.tunneling.disabledSchemes= \
         -Djavax.net.ssl.trustStore={DIR}/{BUNDLE_JKS}"
    );
    let node = ("NODE_OPTIONS", format!("--require={DIR}/{}", NODE.0));
    let all = PROXY.map(|name| (name, url.clone())).into_iter();
    let all = all.chain(BUNDLE.map(|name| (name, bundle.clone())));
    let all = all.chain(PLAIN.map(|(name, value)| (name, value.to_owned())));
    let all = all.chain([node, ("JAVA_TOOL_OPTIONS", java)]);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}
