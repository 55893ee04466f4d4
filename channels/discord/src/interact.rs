//! Pressed buttons and slash commands. Discord wants an answer within three seconds.

use crate::ids::Id;
use crate::receive::Receiver;
use crate::send::{Asked, TEXT_MAX};
use crate::wire::{Interaction, User};
use nanoclaw_channel::markdown::printable_line;
use nanoclaw_channel::split::Unit;
use nanoclaw_channel::{
    Answer, AnswerOutcome, ChannelType, ChatKind, Inbound, IngressError, Mention,
    PlatformMessageId, QuestionId, Sender,
};
use serde_json::{Value, json};

const COMMAND: u8 = 2;
const BUTTON: u8 = 3;
/// How Discord is answered: a message, or the message with the button made anew.
const SAY: u8 = 4;
const REPLACE: u8 = 7;
/// Longest choice that is shown beside its question.
const LABEL_MAX: usize = 200;
/// Seen only by who pressed.
const EPHEMERAL: u64 = 64;

/// The commands that Discord offers behind a slash: name, what it does, and what its text is.
const COMMANDS: [(&str, &str, Option<&str>); 5] = [
    ("ask", "Ask the agent something", Some("What to ask")),
    ("clear", "Begin a new conversation", None),
    ("compact", "Shorten what the agent remembers of this conversation", None),
    ("context", "Show how full the agent's memory of this conversation is", None),
    ("cost", "Show what this conversation has cost", None),
];

/// Tells Discord which commands there are.
pub(crate) fn commands() -> Value {
    let all = COMMANDS.iter().map(|(name, what, text)| {
        let options: Vec<Value> = text
            .map(|what| json!({ "type": 3, "name": "text", "description": what, "required": true }))
            .into_iter()
            .collect();
        json!({ "name": name, "type": 1, "description": what, "options": options })
    });
    Value::Array(all.collect())
}

/// Carries out one; an error means that it must come again.
pub(crate) async fn take(
    receiver: &Receiver,
    interaction: Interaction,
) -> Result<(), IngressError> {
    let who = interaction.member.as_ref().and_then(|m| m.user.clone());
    let Some(who) = who.or_else(|| interaction.user.clone()) else {
        return Ok(());
    };
    match interaction.kind {
        BUTTON => pressed(receiver, &interaction, &who).await,
        COMMAND => commanded(receiver, &interaction, &who).await,
        _ => Ok(()),
    }
}

async fn pressed(
    receiver: &Receiver,
    interaction: &Interaction,
    who: &User,
) -> Result<(), IngressError> {
    let id = interaction.data.as_ref().and_then(|d| d.custom_id.as_deref()).unwrap_or_default();
    let parts = id.strip_prefix("ask:").and_then(|rest| rest.split_once(':'));
    let Some((n, id)) = parts.and_then(|(n, id)| Some((n.parse::<usize>().ok()?, id))) else {
        return Ok(());
    };
    let asked = receiver.store.get(&format!("ask:{id}")).await?;
    let asked = asked.and_then(|text| serde_json::from_str::<Asked>(&text).ok());
    let found = asked.and_then(|asked| {
        let value = asked.values.get(n).cloned()?;
        Some((QuestionId::parse(asked.question).ok()?, value, asked.text))
    });
    let (Some((question, value, text)), Ok(channel)) = (found, ChannelType::parse(crate::NAME))
    else {
        respond(receiver, interaction, say("This question is no longer open.")).await;
        return Ok(());
    };
    let answer = Answer { question, value, channel, sender: sender(who) };
    let reply = match receiver.ingress.answer(answer).await? {
        AnswerOutcome::Taken { label } => closed(&text, &label),
        AnswerOutcome::Late => closed(&text, "no longer open"),
        AnswerOutcome::Refused { why } => say(&why),
    };
    respond(receiver, interaction, reply).await;
    Ok(())
}

async fn commanded(
    receiver: &Receiver,
    interaction: &Interaction,
    who: &User,
) -> Result<(), IngressError> {
    let bad = |e: nanoclaw_channel::ids::BadId| IngressError(e.to_string());
    let (Some(data), Some(channel)) = (&interaction.data, interaction.channel_id) else {
        return Ok(());
    };
    let name = data.name.as_deref().unwrap_or_default();
    let words: Vec<&str> = data.options.iter().filter_map(|o| o.value.as_str()).collect();
    let text = match name {
        "ask" => words.join(" "),
        name => format!("/{name} {}", words.join(" ")).trim().to_owned(),
    };
    let place = receiver.place(channel, interaction.guild_id).await?;
    let message = Inbound {
        at: place.address().map_err(bad)?,
        reply: None,
        id: PlatformMessageId::parse(interaction.id.to_string()).map_err(bad)?,
        timestamp: crate::now(),
        sender: sender(who),
        person: None,
        text: text.clone(),
        mention: Mention::Yes,
        chat: if place.guild.is_some() { ChatKind::Group } else { ChatKind::Direct },
        files: Vec::new(),
        reply_to: None,
        only_for: None,
    };
    receiver.ingress.push(message).await?;
    // Others in the channel see what was asked.
    let shown = json!({ "type": SAY, "data": {
        "content": if name == "ask" { format!("> {}", text.replace('\n', "\n> ")) } else { text },
        "allowed_mentions": { "parse": [] },
    } });
    respond(receiver, interaction, shown).await;
    Ok(())
}

fn sender(who: &User) -> Sender {
    Sender { handle: who.id.to_string(), name: Some(who.name().to_owned()) }
}

fn say(text: &str) -> Value {
    json!({ "type": SAY, "data": { "content": text, "flags": EPHEMERAL } })
}

/// The message without its buttons and with what came of it.
fn closed(text: &str, label: &str) -> Value {
    let label: String = printable_line(label).chars().take(LABEL_MAX).collect();
    let note = format!("\n\n**{label}**");
    let mut text = text.to_owned();
    // Only where both do not fit, the copy of the question beside the answer is shorter.
    while Unit::Utf16.len(&text) + Unit::Utf16.len(&note) > TEXT_MAX {
        text.pop();
    }
    json!({ "type": REPLACE, "data": {
        "content": text + &note,
        "components": [],
        "allowed_mentions": { "parse": [] },
    } })
}

/// Answers Discord; when that is too late, the message itself is changed.
async fn respond(receiver: &Receiver, interaction: &Interaction, reply: Value) {
    let path = format!("/interactions/{}/{}/callback", interaction.id, coded(&interaction.token));
    let Err(e) = receiver.rest.post(&path, &reply).await else { return };
    tracing::debug!(error = %e.next, "an interaction was not answered in time");
    let message = interaction.message.as_ref().map(|m| (m.channel_id, m.id));
    let Some((channel, id)): Option<(Id, Id)> = message else { return };
    if reply["type"] == REPLACE {
        let path = format!("/channels/{channel}/messages/{id}");
        if let Err(e) = receiver.rest.patch(&path, &reply["data"]).await {
            tracing::warn!(error = %e.next, "an answered question still has its buttons");
        }
    }
}

/// A token is part of a path: nothing in it may lead elsewhere.
fn coded(token: &str) -> String {
    token.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.~".contains(*c)).collect()
}
