//! What people are told when the agent could not answer. Never the provider's own words: those hold
//! addresses, paths and JSON, and go to the log.

use crate::provider::ErrorKind;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The words for a failure.
pub(crate) fn words(kind: &ErrorKind, zone: &TimeZone) -> String {
    match kind {
        ErrorKind::Auth => {
            "I cannot reach my AI model: the key or login is missing, wrong or expired. \
             The owner of this installation can fix that by running `nanoclaw setup`. \
             Please send your message again after that."
        }
        ErrorKind::RateLimited { resets_at: Some(at) } if Timestamp::from_second(*at).is_ok() => {
            let at = Timestamp::from_second(*at).unwrap_or_default();
            return format!(
                "My AI model's usage limit is reached until {}. Please send your message again after that.",
                crate::prompt::local_time(at, zone)
            );
        }
        ErrorKind::RateLimited { .. } => {
            "My AI model's usage limit is reached. Please send your message again later."
        }
        ErrorKind::Overloaded => {
            "My AI model has too much to do right now. Please send your message again in a few minutes."
        }
        ErrorKind::BadRequest => {
            "My AI model refused this request. Please try it in other words; \
             if every message fails, send /clear to start a new conversation."
        }
        ErrorKind::Billing => {
            "My AI model's account has run out of credit or is not active. \
             The owner of this installation has to settle that with the provider. \
             Please send your message again after that."
        }
        ErrorKind::Unreachable => {
            "I could not reach my AI model over the network. Please send your message again in a few minutes."
        }
        ErrorKind::Setup => {
            "My AI model's program could not be started. \
             The owner of this installation can find out why with `nanoclaw doctor`."
        }
        ErrorKind::Interrupted => "I was stopped before I finished.",
        ErrorKind::LostConversation | ErrorKind::Other => {
            "Something went wrong and I could not answer. Please send your message again; \
             if it keeps failing, send /clear to start a new conversation."
        }
    }
    .to_owned()
}

/// Whether the same try again soon is pointless.
pub(crate) fn is_final(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::Auth | ErrorKind::Billing | ErrorKind::Setup | ErrorKind::BadRequest => true,
        ErrorKind::RateLimited { .. }
        | ErrorKind::Overloaded
        | ErrorKind::Unreachable
        | ErrorKind::LostConversation
        | ErrorKind::Interrupted
        | ErrorKind::Other => false,
    }
}
