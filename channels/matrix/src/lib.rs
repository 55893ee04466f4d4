//! Matrix, with end-to-end encryption.
//!
//! ```text
//!  nanoclaw ── CHANNEL ──socket──▶ nanoclaw-matrix (program/) ──▶ homeserver
//!                                    │ events in, contents out: this crate
//!                                    └ encryption, sync: matrix-sdk
//! ```
//!
//! The client library brings an SQLite of its own, and a program may hold one only; so the adapter is a program
//! of its own, in its own workspace. What can be said without the library is here, for both: the settings, the
//! ids ([`ids`]), what an event means ([`events`]) and what is sent ([`compose`]).

pub mod compose;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod ids;

use nanoclaw_channel::{ChannelDef, SettingSpec, Start, StartFuture};
use nanoclaw_kit::remote::{self, Program};

/// The channel type.
pub const NAME: &str = "matrix";

/// The channel, for the list of an install.
pub const CHANNEL: ChannelDef = ChannelDef { name: NAME, settings: SETTINGS, start };

static PROGRAM: Program = Program {
    channel: NAME,
    file: "nanoclaw-matrix",
    path_setting: "MATRIX_PROGRAM",
    how: "bash channels/matrix/build.sh",
    settings: SETTINGS,
};

fn start(start: Start) -> StartFuture {
    Box::pin(remote::start(start, &PROGRAM))
}

const fn setting(name: &'static str, what: &'static str) -> SettingSpec {
    SettingSpec { name, what, required: false, secret: false }
}

/// What can be set.
pub const SETTINGS: &[SettingSpec] = &[
    SettingSpec {
        required: true,
        ..setting("MATRIX_BASE_URL", "the address of the homeserver, such as https://matrix.org")
    },
    setting("MATRIX_USERNAME", "the agent's account, such as agent or @agent:matrix.org"),
    SettingSpec { secret: true, ..setting("MATRIX_PASSWORD", "its password") },
    SettingSpec {
        secret: true,
        ..setting("MATRIX_ACCESS_TOKEN", "an access token, instead of name and password")
    },
    SettingSpec {
        secret: true,
        ..setting("MATRIX_RECOVERY_KEY", "the recovery key of the account, if it has one")
    },
    setting("MATRIX_DEVICE_ID", "the name of the device, when it signs in with a password"),
    setting("MATRIX_INVITE_AUTOJOIN", "`false`: invitations are not accepted"),
    setting("MATRIX_INVITE_AUTOJOIN_ALLOWLIST", "who may invite, as @user:server, with commas"),
    setting("MATRIX_PROGRAM", "where the program nanoclaw-matrix is, if not beside nanoclaw"),
];
