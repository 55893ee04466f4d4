//! Names of chats: `<phone>@s.whatsapp.net` and `<id>@g.us`, as WhatsApp itself writes them, or
//! `<id>@lid` for a person whose number WhatsApp keeps to itself.

use nanoclaw_channel::PlatformId;
use whatsapp_rust::{Jid, Server};

#[cfg(test)]
mod tests;

/// The name of a chat; `None` for what no answer can go to: broadcasts, newsletters, WhatsApp's own notices.
pub(crate) fn encode(jid: &Jid) -> Option<PlatformId> {
    let told = matches!(jid.server, Server::Pn | Server::Lid | Server::Group);
    let jid = jid.to_non_ad_string();
    (told && parse(&jid).is_ok()).then(|| PlatformId::parse(&jid).ok())?
}

/// The chat with a name.
pub(crate) fn parse(name: &str) -> Result<Jid, String> {
    let why = || format!("{name:?} is no WhatsApp chat: write <phone>@s.whatsapp.net or <id>@g.us");
    let (user, server) = name.split_once('@').ok_or_else(why)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // An old group is called <phone of who made it>-<time>.
    let group = user.split_once('-').map_or_else(|| digits(user), |(a, b)| digits(a) && digits(b));
    match server {
        "s.whatsapp.net" if digits(user) => Ok(Jid::pn(user)),
        "lid" if digits(user) => Ok(Jid::lid(user)),
        "g.us" if group => Ok(Jid::group(user)),
        _ => Err(why()),
    }
}

/// The direct chat with a person: an address, or a phone number as people write it.
pub(crate) fn person(handle: &str) -> Result<Jid, String> {
    if handle.contains('@') {
        return parse(handle);
    }
    let number: String = handle.chars().filter(|c| !" +-()./".contains(*c)).collect();
    parse(&format!("{number}@s.whatsapp.net"))
}
