//! The server's end of WhatsApp's wire: WebSocket, Noise, frames, binary nodes.

use anyhow::{Context as _, Result, anyhow};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::framing::{FrameDecoder, encode_frame};
use whatsapp_rust::wacore::handshake::NoiseHandshake;
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PrivateKey};
use whatsapp_rust::wacore::noise::NoiseCipher;
use whatsapp_rust::wacore_binary::consts::{NOISE_PATTERN_XX, WA_CONN_HEADER};
use whatsapp_rust::wacore_binary::marshal::{marshal, unmarshal_ref};
use whatsapp_rust::wacore_binary::{Jid, Node};
use whatsapp_rust::waproto::whatsapp as wa;

/// Ends a connection when it is sent.
pub(crate) const HANG_UP: &str = "hang-up";

pub(crate) fn key_pair() -> KeyPair {
    let bytes: Vec<u8> = (0..32).map(|_| fastrand::u8(..)).collect();
    let private = PrivateKey::deserialize(&bytes).unwrap();
    KeyPair::new(private.public_key().unwrap(), private)
}

fn public(pair: &KeyPair) -> [u8; 32] {
    pair.public_key.public_key_bytes().try_into().unwrap()
}

/// A chain that is over, so that every connection is made in full.
fn certificates(key: &[u8; 32]) -> Vec<u8> {
    let link = |serial, issuer, key: Vec<u8>| {
        let details = wa::cert_chain::noise_certificate::Details {
            serial: Some(serial),
            issuer_serial: Some(issuer),
            key: Some(key),
            not_before: Some(1_600_000_000),
            not_after: Some(1_600_000_001),
        };
        MessageField::some(wa::cert_chain::NoiseCertificate {
            details: Some(details.encode_to_vec()),
            signature: Some(vec![0; 64]),
        })
    };
    wa::CertChain { leaf: link(2, 1, key.to_vec()), intermediate: link(1, 0, vec![0xCC; 32]) }
        .encode_to_vec()
}

/// A device that has connected.
pub(crate) struct Line {
    pub who: Jid,
    pub out: mpsc::UnboundedSender<Node>,
    pub incoming: mpsc::UnboundedReceiver<Node>,
}

/// Shakes hands with a device, then carries nodes.
pub(crate) async fn accept(stream: TcpStream, identity: &KeyPair) -> Result<Line> {
    let mut ws = tokio_tungstenite::accept_async(stream).await?;
    let mut frames = FrameDecoder::new();
    let hello = first(&mut ws, &mut frames).await?;
    let hello = wa::HandshakeMessage::decode_from_slice(&hello)?;
    let theirs: [u8; 32] = hello
        .client_hello
        .into_option()
        .and_then(|hello| hello.ephemeral)
        .and_then(|key| key.try_into().ok())
        .context("no client hello")?;
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_XX, &WA_CONN_HEADER)?;
    noise.authenticate(&theirs);
    let ephemeral = key_pair();
    noise.authenticate(&public(&ephemeral));
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &theirs)?;
    let r#static = noise.encrypt(&public(identity))?;
    noise.mix_shared_secret(identity.private_key.serialize(), &theirs)?;
    let payload = noise.encrypt(&certificates(&public(identity)))?;
    let answer = wa::HandshakeMessage {
        server_hello: MessageField::some(wa::handshake_message::ServerHello {
            ephemeral: Some(public(&ephemeral).to_vec()),
            r#static: Some(r#static),
            payload: Some(payload),
            ..Default::default()
        }),
        ..Default::default()
    };
    ws.send(Message::binary(encode_frame(&answer.encode_to_vec(), None)?)).await?;
    let finish = next(&mut ws, &mut frames).await?;
    let finish = wa::HandshakeMessage::decode_from_slice(&finish)?;
    let finish = finish.client_finish.into_option().context("no client finish")?;
    let client: [u8; 32] = noise
        .decrypt(&finish.r#static.context("no static key")?)?
        .try_into()
        .map_err(|_| anyhow!("a short static key"))?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &client)?;
    let payload = noise.decrypt(&finish.payload.context("no payload")?)?;
    let payload = wa::ClientPayload::decode_from_slice(&payload)?;
    let (read, write) = noise.finish()?;
    let user = payload.username.map(|n| n.to_string()).unwrap_or_default();
    let device = payload.device.unwrap_or_default();
    let who = Jid::pn_device(user, device.try_into()?);
    Ok(carry(who, ws, frames, read, write))
}

fn carry(
    who: Jid,
    ws: WebSocketStream<TcpStream>,
    mut frames: FrameDecoder,
    read: NoiseCipher,
    write: NoiseCipher,
) -> Line {
    let (mut sink, mut stream) = ws.split();
    let (out, mut to_send) = mpsc::unbounded_channel::<Node>();
    let (tell, incoming) = mpsc::unbounded_channel::<Node>();
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(node) = to_send.recv().await {
            if node.tag == HANG_UP {
                break;
            }
            let sealed = write.encrypt_with_counter(count, &marshal(&node)?)?;
            count += 1;
            if sink.send(Message::binary(encode_frame(&sealed, None)?)).await.is_err() {
                break;
            }
        }
        drop(sink.close().await);
        anyhow::Ok(())
    });
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(Ok(message)) = stream.next().await {
            if !message.is_binary() {
                continue;
            }
            frames.feed(&message.into_data());
            while let Some(frame) = frames.decode_frame() {
                let mut plain = frame.to_vec();
                read.decrypt_in_place_with_counter(count, &mut plain)?;
                count += 1;
                drop(tell.send(unmarshal_ref(&plain[1..])?.to_owned()));
            }
        }
        anyhow::Ok(())
    });
    Line { who, out, incoming }
}

async fn first(ws: &mut WebSocketStream<TcpStream>, frames: &mut FrameDecoder) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < WA_CONN_HEADER.len() {
        all.extend(ws.next().await.context("hung up")??.into_data());
    }
    frames.feed(&all[WA_CONN_HEADER.len()..]);
    next(ws, frames).await
}

async fn next(ws: &mut WebSocketStream<TcpStream>, frames: &mut FrameDecoder) -> Result<Vec<u8>> {
    loop {
        if let Some(frame) = frames.decode_frame() {
            return Ok(frame.to_vec());
        }
        frames.feed(&ws.next().await.context("hung up")??.into_data());
    }
}
