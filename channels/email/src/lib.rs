//! E-mail: a mailbox over IMAP and SMTP, or an address at Resend. Two channels, one idea of a mail.
//!
//! ```text
//!  IMAP (IDLE, by UID) ─┐                              ┌─ SMTP
//!                       ├─▶ mail ─▶ threads ─▶ Ingress │
//!  Resend's webhook ────┘            │                 │
//!                 Channel::send ─▶ compose ────────────┴─ Resend's API
//! ```
//!
//! A chat is the address of a person; a thread is a conversation by `References`. What machines write (bounces,
//! lists, auto-replies, our own mail) never comes in, so that nothing is ever answered in a circle; that a mail of
//! ours did not arrive is told as what became of it. Who writes as somebody without proof is
//! `unverified:<address>`. Read next: [`mail`], [`threads`], [`outgoing`], [`desk`].

mod bounce;
mod desk;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod ids;
mod imap;
mod mail;
mod outgoing;
mod resend;
mod smtp;
mod threads;
mod trust;

use nanoclaw_channel::{Capabilities, ChannelDef, SettingSpec};

/// Largest mail that is read whole, largest file of it that comes in, and most that leaves with one mail, in bytes.
const MAIL_MAX: u64 = 64 << 20;
const FILE_IN_MAX: u64 = 25 << 20;
const FILES_MAX: u64 = 20 << 20;

/// What mail offers.
const CAPABILITIES: Capabilities = Capabilities {
    threads: true,
    files: true,
    file_in_max: FILE_IN_MAX,
    file_out_max: FILES_MAX,
    ..Capabilities::TEXT
};

const fn setting(name: &'static str, what: &'static str, required: bool) -> SettingSpec {
    SettingSpec { name, what, required, secret: false }
}

const fn secret(name: &'static str, what: &'static str, required: bool) -> SettingSpec {
    SettingSpec { name, what, required, secret: true }
}

/// A mailbox.
pub const CHANNEL: ChannelDef = ChannelDef {
    name: "email",
    settings: &[
        setting("EMAIL_ADDRESS", "the agent's own address", true),
        secret(
            "EMAIL_PASSWORD",
            "the password of the mailbox; many providers give one per app",
            true,
        ),
        setting("EMAIL_IMAP_URL", "where mail is read, such as imaps://imap.example.com", true),
        setting("EMAIL_SMTP_URL", "where mail is sent, such as smtps://smtp.example.com", true),
        setting("EMAIL_USER", "the login, if it is not the address", false),
        setting("EMAIL_NAME", "the name that people see", false),
        setting("EMAIL_FOLDER", "the folder that is read; INBOX if not set", false),
        setting(
            "EMAIL_AUTH_SERVER",
            "the first word of the Authentication-Results that your mail server writes; without it every sender is unverified",
            false,
        ),
    ],
    start: |start| Box::pin(imap::start(start)),
};

/// An address at Resend.
pub const RESEND: ChannelDef = ChannelDef {
    name: resend::NAME,
    settings: &[
        secret("RESEND_API_KEY", "an API key of resend.com with full access", true),
        setting("RESEND_FROM_ADDRESS", "the agent's own address, of a verified domain", true),
        setting("RESEND_FROM_NAME", "the name that people see", false),
        secret(
            "RESEND_WEBHOOK_SECRET",
            "the signing secret (whsec_…) of a webhook for email.received, if Resend can reach this machine",
            false,
        ),
        setting(
            "RESEND_TO",
            "the addresses whose mail is the agent's, with commas; without it all mail that Resend receives",
            false,
        ),
        setting(
            "RESEND_AUTH_SERVER",
            "the first word of the Authentication-Results in received mail; without it every sender is unverified",
            false,
        ),
        setting("RESEND_API_URL", "where the API is, if not at https://api.resend.com", false),
    ],
    start: |start| Box::pin(resend::start(start)),
};
