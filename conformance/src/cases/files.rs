//! Files, both ways.

use super::sending::all_text;
use super::{Case, case};
use crate::peer::{PeerFile, Say, Seen};
use crate::rig::Rig;
use anyhow::{Context as _, Result, ensure};
use nanoclaw_channel::ids::is_safe_name;
use nanoclaw_channel::{InFile, OutFile};

pub(super) const CASES: &[Case] = &[
    case!("Files", "file in", "a file from a person, with its name and bytes", [files_in], one_in),
    case!(
        "Files",
        "captioned file in",
        "a file and words in one message",
        [files_in, captions_in],
        caption_in
    ),
    case!("Files", "files in", "several files at once", [files_in], many_in),
    case!("Files", "empty file in", "a file of zero bytes", [files_in], empty_in),
    case!("Files", "too large in", "a file over the limit is told, not lost", [files_in], large_in),
    case!(
        "Files",
        "hostile names in",
        "names that are paths, tricks or nothing",
        [files_in],
        names_in
    ),
    case!("Files", "file out", "a file from the agent, with words", [files_out], one_out),
    case!("Files", "files out", "several files of several kinds", [files_out], many_out),
    case!("Files", "file without words", "a file and nothing else", [files_out], bare_out),
    case!(
        "Files",
        "long words with a file",
        "more words than fit beside a file",
        [files_out],
        long_out
    ),
    case!(
        "Files",
        "empty file out",
        "a file of zero bytes is shown or told",
        [files_out],
        empty_out
    ),
    case!(
        "Files",
        "too large out",
        "a file over the limit is told in the chat",
        [files_out],
        large_out
    ),
    case!(
        "Files",
        "hostile names out",
        "names that break headers and forms",
        [files_out],
        names_out
    ),
];

/// A picture of one dot.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xff\xff\xff\x7f\0\t\xfb\x03\xfd\x05CE\xca\0\0\0\0IEND\xaeB`\x82";

fn document(name: &str, bytes: &[u8]) -> PeerFile {
    PeerFile {
        name: name.into(),
        mime: Some("application/pdf".into()),
        bytes: bytes.into(),
        size: None,
    }
}

fn out(name: &str, bytes: &[u8]) -> OutFile {
    OutFile { name: name.into(), bytes: bytes.into() }
}

/// Says it and waits for the files, which may come as one message or as several.
async fn files_of(rig: &mut Rig, say: Say) -> Result<(String, Vec<InFile>)> {
    let count = say.files.len();
    let before = rig.host.heard().messages.len();
    rig.peer.say(say).await?;
    rig.hears("the files", |heard| {
        let new = heard.messages.get(before..)?;
        let files: Vec<InFile> = new.iter().flat_map(|m| m.files.clone()).collect();
        let text: Vec<&str> = new.iter().map(|m| m.text.as_str()).collect();
        (files.len() >= count).then(|| (text.join("\n"), files))
    })
    .await
}

async fn one_in(rig: &mut Rig) -> Result<()> {
    let say = Say::new("ann", rig.place(), "").file(document("plan.pdf", b"%PDF the plan"));
    let (_, files) = files_of(rig, say).await?;
    let [file] = files.as_slice() else { anyhow::bail!("{files:?}") };
    ensure!(file.missing.is_none(), "missing: {:?}", file.missing);
    ensure!(file.bytes == b"%PDF the plan", "the bytes are {:?}", file.bytes);
    ensure!(file.name == "plan.pdf", "the name is {:?}", file.name);
    ensure!(file.mime.as_deref() == Some("application/pdf"), "it is {:?}", file.mime);
    ensure!(file.kind == "file", "a document came as {:?}", file.kind);
    Ok(())
}

async fn caption_in(rig: &mut Rig) -> Result<()> {
    let picture = PeerFile {
        name: "dot.png".into(),
        mime: Some("image/png".into()),
        bytes: PNG.into(),
        size: None,
    };
    let (text, files) =
        files_of(rig, Say::new("ann", rig.place(), "look at this").file(picture)).await?;
    ensure!(text.contains("look at this"), "the words are {text:?}");
    let [file] = files.as_slice() else { anyhow::bail!("{files:?}") };
    ensure!(file.bytes == PNG, "the bytes are others: {:?}", file.missing);
    ensure!(file.kind == "image", "a picture came as {:?}", file.kind);
    Ok(())
}

async fn many_in(rig: &mut Rig) -> Result<()> {
    let mut say = Say::new("ann", rig.place(), "three papers");
    for n in 0..3_u8 {
        say = say.file(document(&format!("paper-{n}.pdf"), &[b'0' + n; 100]));
    }
    let (_, files) = files_of(rig, say).await?;
    ensure!(files.len() == 3, "{} files came", files.len());
    for n in 0..3_u8 {
        let name = format!("paper-{n}.pdf");
        let file = files.iter().find(|f| f.name == name).with_context(|| format!("no {name}"))?;
        ensure!(file.bytes == [b'0' + n; 100], "{name} has other bytes: {:?}", file.missing);
    }
    Ok(())
}

async fn empty_in(rig: &mut Rig) -> Result<()> {
    let say = Say::new("ann", rig.place(), "").file(document("empty.pdf", b""));
    let (_, files) = files_of(rig, say).await?;
    ensure!(files.len() == 1 && files[0].bytes.is_empty(), "{files:?}");
    Ok(())
}

async fn large_in(rig: &mut Rig) -> Result<()> {
    let limit = rig.channel()?.capabilities().file_in_max;
    ensure!(limit > 0, "the limit for files that come in is not stated");
    let mut file = document("film.pdf", b"the beginning");
    file.size = Some(limit + 1);
    let (_, files) = files_of(rig, Say::new("ann", rig.place(), "see the film").file(file)).await?;
    let [file] = files.as_slice() else { anyhow::bail!("{files:?}") };
    ensure!(file.bytes.is_empty(), "bytes came along");
    let why = file.missing.as_deref().context("it was not said that the file is missing")?;
    ensure!(!why.trim().is_empty() && file.name == "film.pdf", "{file:?}");
    Ok(())
}

async fn names_in(rig: &mut Rig) -> Result<()> {
    let long = format!("{}.pdf", "n".repeat(300));
    let place = rig.place();
    for name in [
        "../../etc/passwd",
        "/etc/shadow",
        "C:\\con.pdf",
        "..",
        "\u{202e}fdp.exe",
        "a\nb\".pdf",
        "-rf.pdf",
        &long,
        " ",
    ] {
        let say = Say::new("ann", place, "").file(document(name, b"bytes"));
        let (_, files) = files_of(rig, say).await?;
        let [file] = files.as_slice() else { anyhow::bail!("{name:?} came as {files:?}") };
        ensure!(is_safe_name(&file.name), "{name:?} came as {:?}", file.name);
        ensure!(!file.name.contains('\u{202e}'), "{name:?} came as {:?}", file.name);
        ensure!(file.bytes == b"bytes", "{name:?} has other bytes: {:?}", file.missing);
    }
    Ok(())
}

/// Waits for files with these bytes, each seen once.
async fn sees_files(rig: &mut Rig, want: &[OutFile]) -> Result<Vec<Seen>> {
    let shown = rig
        .sees("the files", |shown| {
            let there = |file: &OutFile| {
                shown.iter().any(|s| s.files.iter().any(|f| f.bytes == file.bytes))
            };
            want.iter().all(there).then(|| shown.to_vec())
        })
        .await?;
    let count: usize = shown.iter().map(|s| s.files.len()).sum();
    ensure!(count == want.len(), "{count} files are shown instead of {}", want.len());
    Ok(shown)
}

async fn one_out(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let files = [out("report.pdf", b"%PDF a report")];
    let message = rig.files(&at, "here is the **report**", files.to_vec());
    let id = rig.send(&message).await?;
    let shown = sees_files(rig, &files).await?;
    ensure!(id.is_some(), "the receipt has no id");
    let text = all_text(&shown);
    ensure!(text.contains("report") && !text.contains("**"), "the words are {text:?}");
    let name = shown.iter().flat_map(|s| &s.files).map(|f| f.name.as_str()).next();
    ensure!(name == Some("report.pdf"), "the name is {name:?}");
    Ok(())
}

async fn many_out(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let _hurry = rig.hurry();
    let files = [
        out("song.mp3", b"ID3 a song"),
        out("dot.png", PNG),
        out("report.pdf", b"%PDF a report"),
        out("notes.txt", b"some notes"),
        out("voice.ogg", b"OggS a voice"),
        out("film.mp4", b"\0\0\0\x18ftypmp42 a film"),
        out("data.csv", b"a,b\n1,2\n"),
    ];
    let message = rig.files(&at, "all of it", files.to_vec());
    rig.send(&message).await?;
    let text = all_text(&sees_files(rig, &files).await?);
    ensure!(text.contains("all of it"), "the words are {text:?}");
    Ok(())
}

async fn bare_out(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let files = [out("dot.png", PNG)];
    let message = rig.files(&at, "", files.to_vec());
    let id = rig.send(&message).await?;
    sees_files(rig, &files).await?;
    ensure!(id.is_some(), "the receipt has no id");
    Ok(())
}

async fn long_out(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let _hurry = rig.hurry();
    let limit = rig.channel()?.capabilities().text_max.map_or(9_000, |(max, _)| max);
    let (text, count) = super::texts::lines(limit * 3 / 2);
    let files = [out("report.pdf", b"%PDF a report")];
    let message = rig.files(&at, &text, files.to_vec());
    rig.send(&message).await?;
    let text = all_text(&sees_files(rig, &files).await?);
    super::texts::lines_in(&text, count).map_err(anyhow::Error::msg)
}

async fn empty_out(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let message = rig.files(&at, "the log", vec![out("empty.log", b"")]);
    rig.send(&message).await?;
    told_or_shown(rig, "empty.log", "the log").await
}

async fn large_out(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let limit = rig.channel()?.capabilities().file_out_max;
    ensure!(limit > 0, "the limit for files that go out is not stated");
    if limit > 256 << 20 {
        return Ok(());
    }
    let big = vec![b'x'; usize::try_from(limit)? + 1];
    let files = vec![out("film.mp4", &big), out("small.txt", b"small")];
    let message = rig.files(&at, "the film", files);
    rig.send(&message).await?;
    told_or_shown(rig, "film.mp4", "the film").await?;
    let small = |shown: &[Seen]| {
        shown.iter().flat_map(|s| &s.files).any(|f| f.bytes == b"small").then_some(())
    };
    rig.sees("the file beside it", small).await
}

async fn told_or_shown(rig: &mut Rig, name: &str, words: &str) -> Result<()> {
    rig.sees(&format!("{name} or a word about it"), |shown| {
        let text = all_text(shown);
        let there =
            text.contains(name) || shown.iter().any(|s| s.files.iter().any(|f| f.name == name));
        (there && text.contains(words)).then_some(())
    })
    .await
}

async fn names_out(rig: &mut Rig) -> Result<()> {
    let at = rig.chat().await?;
    let _hurry = rig.hurry();
    let names = ["a\"b\r\nX-Evil: 1.txt", "../../up.txt", "naïve שלום 😀.txt", "<b>&.txt"];
    for (n, name) in names.into_iter().enumerate() {
        let bytes = format!("file {n}");
        let message = rig.files(&at, "a file", vec![out(name, bytes.as_bytes())]);
        rig.send(&message).await?;
        let find = |shown: &[Seen]| {
            let mut files = shown.iter().flat_map(|s| &s.files);
            files.find(|f| f.bytes == bytes.as_bytes()).cloned()
        };
        let file = rig.sees(&format!("the file {name:?}"), find).await?;
        ensure!(!file.name.contains(['\r', '\n']), "{name:?} is shown as {:?}", file.name);
    }
    Ok(())
}
