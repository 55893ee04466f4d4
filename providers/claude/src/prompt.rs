//! What Claude Code is sent: prompts and requests, one JSON object each.
//!
//! A prompt carries `client_composed`, so neither `/command` nor `@path` in what people wrote is
//! executed or expanded. Never reads anything but regular files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nanoclaw_runner::provider::{Image, Prompt};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read as _;
use uuid::Uuid;

/// The API refuses pictures of more than 5 MiB of base64, and a conversation that holds one for ever.
const IMAGE_MAX: u64 = 5 * 1024 * 1024 / 4 * 3;
/// Pictures in one prompt.
const IMAGES_MAX: usize = 20;
/// Said when a prompt was in the transcript before it was sent, so that it gets no turn of its own.
const GO_ON: &str = "The session was restarted. Go on with what was asked above and is not answered yet; if all of it is answered, say nothing.";

/// A prompt as a frame.
pub(crate) fn prompt(prompt: &Prompt) -> Value {
    if let Some(command) = &prompt.command {
        return user(prompt.id, json!(command));
    }
    let content = match prompt.images.as_slice() {
        [] => json!(prompt.text),
        images => {
            let pictures = images.iter().take(IMAGES_MAX).map(picture);
            let text = std::iter::once(json!({ "type": "text", "text": prompt.text }));
            text.chain(pictures).collect()
        }
    };
    let mut frame = user(prompt.id, content);
    frame["client_composed"] = json!(true);
    if !prompt.wants_turn {
        frame["shouldQuery"] = json!(false);
    }
    frame
}

/// Asks the model to go on with what it already has.
pub(crate) fn go_on() -> Value {
    let mut frame = user(Uuid::new_v4(), json!(GO_ON));
    frame["client_composed"] = json!(true);
    frame
}

/// A request of ours.
pub(crate) fn request(id: &str, request: Value) -> Value {
    json!({ "type": "control_request", "request_id": id, "request": request })
}

/// The answer to a request of Claude Code's.
pub(crate) fn response(id: &str, answer: Result<Value, &str>) -> Value {
    let response = match answer {
        Ok(answer) => json!({ "subtype": "success", "request_id": id, "response": answer }),
        Err(error) => json!({ "subtype": "error", "request_id": id, "error": error }),
    };
    json!({ "type": "control_response", "response": response })
}

fn user(id: Uuid, content: Value) -> Value {
    json!({
        "type": "user",
        "message": { "role": "user", "content": content },
        "parent_tool_use_id": null,
        "session_id": "",
        "uuid": id,
    })
}

/// A picture as a block, or a text that says why it is not there.
fn picture(image: &Image) -> Value {
    match read(image) {
        Ok(data) => json!({
            "type": "image",
            "source": { "type": "base64", "media_type": image.mime, "data": data },
        }),
        Err(why) => {
            json!({ "type": "text", "text": format!("[The picture {} is not shown: {why}.]", image.path.display()) })
        }
    }
}

fn read(image: &Image) -> Result<String, String> {
    if !matches!(image.mime.as_str(), "image/png" | "image/jpeg" | "image/gif" | "image/webp") {
        return Err(format!("the model cannot see {}", image.mime));
    }
    // The agent can put anything in the picture's place: no links, and no waiting for a pipe's writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&image.path, flags, Mode::empty()).map_err(|e| e.to_string())?;
    let file = File::from(file);
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(IMAGE_MAX + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > IMAGE_MAX {
        return Err(format!("it is larger than {} KiB", IMAGE_MAX / 1024));
    }
    Ok(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests;
