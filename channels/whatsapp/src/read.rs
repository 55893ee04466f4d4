//! What a decrypted message means. Pure: no network, no state.

#[cfg(test)]
mod tests;

use whatsapp_rust::prelude::{MessageExt as _, wa};
use whatsapp_rust::wacore::download::Downloadable;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;

/// What somebody did.
pub(crate) enum Event<'a> {
    /// Said something.
    Said(Words<'a>),
    /// Gave a message a new text.
    Edited(&'a wa::MessageKey, String),
    /// Took a message back.
    Deleted(&'a wa::MessageKey),
    /// Reacted to a message; the empty text takes the reaction back.
    Reacted(&'a wa::MessageKey, &'a str),
}

/// What was said.
#[derive(Default)]
pub(crate) struct Words<'a> {
    pub(crate) text: String,
    pub(crate) file: Option<File<'a>>,
    pub(crate) context: Option<&'a wa::ContextInfo>,
}

/// A file on WhatsApp's servers.
pub(crate) struct File<'a> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    pub(crate) mime: Option<&'a str>,
    pub(crate) media: &'a dyn Downloadable,
}

/// Reads a message; `None` when it says nothing that concerns anybody: keys, receipts, polls' votes.
pub(crate) fn read(message: &wa::Message) -> Option<Event<'_>> {
    let message = message.get_base_message();
    if let Some(about) = message.protocol_message.as_option() {
        let key = about.key.as_option()?;
        return match about.r#type {
            Some(Type::REVOKE) => Some(Event::Deleted(key)),
            Some(Type::MESSAGE_EDIT) => {
                let words = words(about.edited_message.as_option()?.get_base_message())?;
                Some(Event::Edited(key, words.text))
            }
            _ => None,
        };
    }
    if let Some(reaction) = message.reaction_message.as_option() {
        return Some(Event::Reacted(
            reaction.key.as_option()?,
            reaction.text.as_deref().unwrap_or(""),
        ));
    }
    words(message).map(Event::Said)
}

/// Reads words and a file.
fn words(m: &wa::Message) -> Option<Words<'_>> {
    if let Some(text) = &m.conversation {
        return Some(Words { text: text.clone(), ..Words::default() });
    }
    if let Some(it) = m.extended_text_message.as_option() {
        return Some(Words {
            text: it.text.clone().unwrap_or_default(),
            file: None,
            context: it.context_info.as_option(),
        });
    }
    media(m).or_else(|| described(m))
}

/// Reads a message that is a file.
fn media(m: &wa::Message) -> Option<Words<'_>> {
    // The kinds have the same fields and no common type.
    macro_rules! file {
        ($field:ident, $kind:literal, |$it:ident| $name:expr, $caption:expr $(,)?) => {
            if let Some($it) = m.$field.as_option() {
                let file =
                    File { kind: $kind, name: $name, mime: $it.mimetype.as_deref(), media: $it };
                let text: Option<&str> = $caption;
                return Some(Words {
                    text: text.unwrap_or_default().to_owned(),
                    file: Some(file),
                    context: $it.context_info.as_option(),
                });
            }
        };
    }
    file!(image_message, "image", |it| "", it.caption.as_deref());
    file!(video_message, "video", |it| "", it.caption.as_deref());
    file!(ptv_message, "video", |it| "", it.caption.as_deref());
    file!(audio_message, "audio", |it| "", None);
    file!(sticker_message, "image", |it| "sticker", None);
    file!(
        document_message,
        "file",
        |it| it.file_name.as_deref().or(it.title.as_deref()).unwrap_or(""),
        it.caption.as_deref()
    );
    None
}

/// Puts into words what is neither words nor a file.
fn described(m: &wa::Message) -> Option<Words<'_>> {
    let (text, context) = if let Some(it) = m.location_message.as_option() {
        let place = format!("{}, {}", it.degrees_latitude?, it.degrees_longitude?);
        let parts = [it.name.as_deref(), it.address.as_deref(), Some(&place)];
        (
            format!("[location: {}]", parts.into_iter().flatten().collect::<Vec<_>>().join(", ")),
            &it.context_info,
        )
    } else if let Some(it) = m.live_location_message.as_option() {
        let place = (it.degrees_latitude?, it.degrees_longitude?);
        (format!("[live location: {}, {}]", place.0, place.1), &it.context_info)
    } else if let Some(it) = m.contact_message.as_option() {
        (contact(it), &it.context_info)
    } else if let Some(it) = m.contacts_array_message.as_option() {
        (it.contacts.iter().map(contact).collect::<Vec<_>>().join("\n"), &it.context_info)
    } else if let Some(it) = poll(m) {
        let options = it.options.iter().filter_map(|o| o.option_name.as_deref());
        let lines: Vec<String> =
            options.enumerate().map(|(n, o)| format!("  {}) {o}", n + 1)).collect();
        (
            format!("[poll: {}]\n{}", it.name.as_deref().unwrap_or(""), lines.join("\n")),
            &it.context_info,
        )
    } else {
        return None;
    };
    Some(Words { text, file: None, context: context.as_option() })
}

fn contact(it: &wa::message::ContactMessage) -> String {
    let card = it.vcard.as_deref().unwrap_or("");
    let numbers =
        card.lines().filter(|line| line.contains("TEL")).filter_map(|l| l.rsplit(':').next());
    let name = it.display_name.as_deref().unwrap_or("");
    format!("[contact: {}]", [name].into_iter().chain(numbers).collect::<Vec<_>>().join(", "))
}

fn poll(m: &wa::Message) -> Option<&wa::message::PollCreationMessage> {
    [&m.poll_creation_message, &m.poll_creation_message_v2, &m.poll_creation_message_v3]
        .into_iter()
        .chain([&m.poll_creation_message_v5, &m.poll_creation_message_v6])
        .find_map(|poll| poll.as_option())
}
