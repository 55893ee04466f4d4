//! Signing in, once; from then on with what was kept.

use crate::state::State;
use matrix_sdk::authentication::matrix::MatrixSession;
use matrix_sdk::config::RequestConfig;
use matrix_sdk::encryption::{BackupDownloadStrategy, EncryptionSettings};
use matrix_sdk::ruma::api::client::uiaa::{AuthData, Password, UserIdentifier};
use matrix_sdk::{Client, ClientBuildError, Error, SessionMeta, SessionTokens, SqliteStoreConfig};
use nanoclaw_channel::ids::unguessable;
use nanoclaw_channel::{SendError, Start, StartError};
use nanoclaw_channel_matrix::NAME;
use nanoclaw_kit::sign::{hex, hmac_sha256, unhex};
use serde::Deserialize;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

/// How long the homeserver may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How often a request is made again by itself: never, the host does that.
fn requests() -> RequestConfig {
    RequestConfig::new().disable_retry().timeout(ANSWER_MAX)
}

/// A client that is signed in.
pub(crate) async fn open(start: &Start) -> Result<Client, StartError> {
    let get = |name: &str| (start.setting)(name).filter(|value| !value.trim().is_empty());
    let base = get("MATRIX_BASE_URL").ok_or_else(|| {
        StartError::NotConfigured("set MATRIX_BASE_URL: the address of the homeserver".to_owned())
    })?;
    let login = match (get("MATRIX_ACCESS_TOKEN"), get("MATRIX_USERNAME"), get("MATRIX_PASSWORD")) {
        (_, Some(name), Some(password)) => Login::Password { name, password },
        (Some(token), _, _) => Login::Token(token),
        (None, ..) => {
            let what = "set MATRIX_USERNAME and MATRIX_PASSWORD, or MATRIX_ACCESS_TOKEN";
            return Err(StartError::NotConfigured(what.to_owned()));
        }
    };
    let folder = start.data.join("channels").join(NAME);
    let key = tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || key(&folder)
    });
    let key = key.await.map_err(|e| StartError::Unreachable(e.to_string()))?;
    let key = key.map_err(|e| StartError::Broken(format!("{}: {e}", folder.display())))?;
    let built = Client::builder()
        .homeserver_url(base.trim_end_matches('/'))
        .sqlite_store_with_config_and_cache_path(
            SqliteStoreConfig::new(folder.join("store")).key(Some(&key)),
            None::<&Path>,
        )
        .request_config(requests())
        .with_encryption_settings(EncryptionSettings {
            backup_download_strategy: BackupDownloadStrategy::AfterDecryptionFailure,
            ..EncryptionSettings::default()
        })
        .build();
    let client = built.await.map_err(|e| not_built(&e))?;
    sign_in(&client, &login, get("MATRIX_DEVICE_ID")).await?;
    verify(&client, &login, get("MATRIX_RECOVERY_KEY")).await;
    Ok(client)
}

enum Login {
    Password { name: String, password: String },
    Token(String),
}

fn not_built(error: &ClientBuildError) -> StartError {
    match error {
        ClientBuildError::Url(e) => {
            StartError::Broken(format!("MATRIX_BASE_URL is no address: {e}"))
        }
        ClientBuildError::SqliteStore(e) => StartError::Broken(format!(
            "the store of the Matrix account cannot be opened: {e}; if its key was lost, remove \
             data/channels/matrix and start again"
        )),
        other => StartError::Unreachable(format!("the homeserver was not reached: {other}")),
    }
}

/// The key of the store, made when there is none.
fn key(folder: &Path) -> std::io::Result<[u8; 32]> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join("key");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let key = unhex(text.trim()).and_then(|key| key.try_into().ok());
            return key.ok_or_else(|| std::io::Error::other("the file `key` is not a key of ours"));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    // In one move: a half-written key would lock the store for ever.
    let key = hmac_sha256(unguessable("key").as_bytes(), &[unguessable("key").as_bytes()]);
    let draft = folder.join("key.new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(hex(&key).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(draft, path)?;
    Ok(key)
}

async fn sign_in(client: &Client, login: &Login, device: Option<String>) -> Result<(), StartError> {
    let state = State(client.clone());
    let kept: Option<MatrixSession> = state.get("session").await;
    let session = match (kept, login) {
        (Some(kept), Login::Password { .. }) => kept,
        (kept, Login::Token(token)) => {
            let meta = whoami(client, token).await?;
            if let Some(kept) = kept.filter(|kept| kept.meta != meta) {
                return Err(StartError::Broken(format!(
                    "the token is of {} on device {}, and data/channels/matrix belongs to {} on \
                     device {}: use a token of that device, or remove that folder",
                    meta.user_id, meta.device_id, kept.meta.user_id, kept.meta.device_id
                )));
            }
            let tokens = SessionTokens { access_token: token.clone(), refresh_token: None };
            MatrixSession { meta, tokens }
        }
        (None, Login::Password { name, password }) => {
            // Chosen and kept before: a second attempt is not a second device.
            let device = match state.get::<String>("device").await {
                Some(device) => device,
                None => device.unwrap_or_else(|| unguessable("NANOCLAW").to_uppercase()),
            };
            state.put("device", &device).await.map_err(StartError::Unreachable)?;
            let auth = client.matrix_auth();
            let response = auth
                .login_username(name, password)
                .device_id(&device)
                .initial_device_display_name("NanoClaw")
                .send()
                .await
                .map_err(|e| refused(&e))?;
            let session = MatrixSession::from(&response);
            return state.put("session", &session).await.map_err(StartError::Unreachable);
        }
    };
    state.put("session", &session).await.map_err(StartError::Unreachable)?;
    whoami(client, &session.tokens.access_token).await?;
    client.restore_session(session).await.map_err(|e| refused(&e))
}

/// What a refused login means.
fn refused(error: &Error) -> StartError {
    let api = error.as_client_api_error();
    match api.map(|e| e.status_code.as_u16()) {
        Some(400..=428 | 430..=499) => StartError::Broken(format!(
            "the homeserver refused the login ({error}): check MATRIX_USERNAME and MATRIX_PASSWORD, \
             or MATRIX_ACCESS_TOKEN"
        )),
        _ => match crate::send::sort(error) {
            SendError::Retry { why, .. }
            | SendError::Reject { why }
            | SendError::Broken { why } => StartError::Unreachable(why),
        },
    }
}

/// What to do when a login is no longer good.
pub(crate) const SIGNED_OUT: &str = "the homeserver no longer knows this login. If you signed it out: \
    set MATRIX_ACCESS_TOKEN or MATRIX_PASSWORD anew, remove data/channels/matrix, and restart; \
    encrypted messages from before can then be read with MATRIX_RECOVERY_KEY only";

/// Whose token it is.
async fn whoami(client: &Client, token: &str) -> Result<SessionMeta, StartError> {
    #[derive(Deserialize)]
    struct Who {
        user_id: String,
        device_id: Option<String>,
    }
    let address = format!("{}_matrix/client/v3/account/whoami", client.homeserver());
    let request = client.http_client().get(address).bearer_auth(token).timeout(ANSWER_MAX);
    let away = |e| match nanoclaw_kit::http::unreachable(e) {
        SendError::Retry { why, .. } | SendError::Reject { why } | SendError::Broken { why } => {
            StartError::Unreachable(why)
        }
    };
    let response = request.send().await.map_err(away)?;
    match response.status().as_u16() {
        401 | 403 => return Err(StartError::Broken(SIGNED_OUT.to_owned())),
        200 => {}
        other => return Err(StartError::Unreachable(format!("the homeserver answers {other}"))),
    }
    let who: Who = response.json().await.map_err(away)?;
    let bad = |what| StartError::Broken(format!("the homeserver states no usable {what}"));
    Ok(SessionMeta {
        user_id: who.user_id.parse().map_err(|_| bad("user id"))?,
        device_id: who.device_id.ok_or_else(|| bad("device id; use a token of a device"))?.into(),
    })
}

/// Makes this device one that other people's apps trust. Best effort: it also works without.
async fn verify(client: &Client, login: &Login, recovery: Option<String>) {
    let encryption = client.encryption();
    if let Some(key) = recovery {
        match encryption.recovery().recover(key.trim()).await {
            Ok(()) => return,
            Err(e) => tracing::warn!("MATRIX_RECOVERY_KEY was not taken: {e}"),
        }
    }
    let Err(error) = encryption.bootstrap_cross_signing_if_needed(None).await else { return };
    let again = match (error.as_uiaa_response(), login) {
        (Some(info), Login::Password { name, password }) => {
            let mut auth = Password::new(
                UserIdentifier::Matrix(
                    matrix_sdk::ruma::api::client::uiaa::MatrixUserIdentifier::new(name.clone()),
                ),
                password.clone(),
            );
            auth.session = info.session.clone();
            encryption.bootstrap_cross_signing(Some(AuthData::Password(auth))).await
        }
        _ => Err(error),
    };
    if let Err(e) = again {
        tracing::warn!("this device is not verified, some apps may show a warning: {e}");
    }
}
