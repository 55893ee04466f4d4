// WhatsApp as Baileys writes and reads it, for ../baileys.rs:
//   node baileys.mjs make           prints theirs.json: what Baileys writes, the same every time
//   node baileys.mjs read <in.json  prints what Baileys reads in what the adapter wrote
// Runs where Baileys is installed (../tools.sh). Its codecs are used, its connection is not: what only that needs
// is left out of the installation, and nothing stands in its place here.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { createRequire, register, syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';

const here = createRequire(path.join(process.cwd(), 'x.js'));
globalThis.nothing = new Proxy(function () {}, {
  get: (it, name) => (name in it ? it[name] : globalThis.nothing),
  apply: () => globalThis.nothing,
});
// What Baileys downloads: the file that is at hand.
let file = Buffer.alloc(0);
globalThis.axios = { get: async () => ({ data: Readable.from([file]) }) };
const names = ['calculateMAC', 'calculateSignature', 'verifySignature', 'decrypt', 'encrypt', 'deriveSecrets', 'generateKeyPair'];
const none = 'export default nothing;' + names.map((name) => `export const ${name} = nothing;`).join('');
const module = (source) => 'data:text/javascript,' + encodeURIComponent(source);
register(module(`export async function resolve(name, context, next) {
  if (name === 'axios') return { url: '${module('export default axios;')}', shortCircuit: true };
  if (/^(libsignal|pino|ws$|@cacheable)/.test(name)) return { url: '${module(none)}', shortCircuit: true };
  return next(name, context);
}`));
// The same every time: no clock, no dice.
let dice = 0;
crypto.randomBytes = (n) => Buffer.from(Array.from({ length: n }, () => (dice = (dice * 5 + 7) % 256)));
const now = 1790000000000;
Date.now = () => now;
globalThis.Date = class extends Date {
  constructor(...at) { super(...(at.length ? at : [now])); }
};
syncBuiltinESMExports();

const B = path.join(process.cwd(), 'node_modules/@whiskeysockets/baileys/');
const load = (name) => import(pathToFileURL(B + name));
const messages = await load('lib/Utils/messages.js');
const media = await load('lib/Utils/messages-media.js');
const binary = await load('lib/WABinary/index.js');
const { proto } = await load('WAProto/index.js');

const AGENT = '4915550000@s.whatsapp.net';
const AGENT_LID = '994915550000@lid';
const GROUP = '120363000000000001@g.us';
const hex = (bytes) => Buffer.from(bytes).toString('hex');

async function make() {
  const all = [];
  const files = {};
  const upload = async (encrypted, { fileEncSha256B64: wanted }) => {
    const directPath = '/baileys/' + all.length;
    // It is still being written.
    let bytes = '';
    while (crypto.createHash('sha256').update(bytes).digest('base64') !== wanted) {
      await new Promise(setImmediate);
      if (fs.existsSync(encrypted)) bytes = fs.readFileSync(encrypted);
    }
    files[directPath] = hex(bytes);
    return { mediaUrl: 'https://files.test' + directPath, directPath };
  };
  const put = (name, where, message) => {
    all.push({ id: 'B' + all.length, name, group: where === GROUP, hex: hex(proto.Message.encode(message).finish()) });
    return { key: { remoteJid: where, fromMe: true, id: all.at(-1).id }, message };
  };
  const say = async (name, content, { where = AGENT, ...options } = {}) => {
    const made = await messages.generateWAMessageContent(content, { upload });
    const whole = messages.generateWAMessageFromContent(where, made, { userJid: '4915550001@s.whatsapp.net', ...options });
    return put(name, where, whole.message);
  };
  const raw = (name, message, where = AGENT) => put(name, where, proto.Message.fromObject(message));

  const first = await say('a text', { text: 'hello *there* ☕' });
  raw('a text without anything else', { conversation: 'plain' });
  await say('a text in a group', { text: 'not for the agent' }, { where: GROUP });
  await say('a mention', { text: '@' + AGENT_LID.split('@')[0] + ' look', mentions: [AGENT_LID] }, { where: GROUP });
  await say('a mention by number', { text: '@4915550000 look', mentions: [AGENT] }, { where: GROUP });
  await say('a mention of another', { text: '@4915550002 look', mentions: ['4915550002@s.whatsapp.net'] }, { where: GROUP });
  const asked = await say('another text', { text: 'what is it?' });
  await say('an answer', { text: 'a thing' }, { quoted: asked });
  const unknown = { key: { remoteJid: GROUP, id: 'NONE', participant: AGENT_LID }, message: { conversation: 'long ago' } };
  await say('an answer to the agent', { text: 'indeed' }, { where: GROUP, quoted: unknown });
  await say('a forwarded text', { forward: first });
  await say('a text that disappears', { text: 'soon gone' }, { ephemeralExpiration: 86400 });
  const inner = proto.Message.fromObject({ extendedTextMessage: { text: 'inside' } });
  raw('a wrapped text', { ephemeralMessage: { message: inner } });
  await say('an edit', { text: 'hello *again* ☕', edit: first.key });
  await say('a reaction', { react: { text: '🎉', key: asked.key } });
  await say('no reaction any more', { react: { text: '', key: asked.key } });
  await say('a deletion', { delete: asked.key });

  const bytes = (text) => Buffer.from(text);
  const jpegThumbnail = null;
  await say('a picture', { image: bytes('a picture'), caption: 'look', jpegThumbnail });
  await say('a picture to be seen once', { image: bytes('a secret'), viewOnce: true, jpegThumbnail });
  await say('a film', { video: bytes('a film'), caption: 'watch', jpegThumbnail });
  await say('a film in a circle', { video: bytes('a round film'), ptv: true, jpegThumbnail });
  await say('a song', { audio: bytes('a song'), mimetype: 'audio/mp4', seconds: 3 });
  await say('a voice message', { audio: bytes('a voice'), ptt: true, mimetype: 'audio/ogg; codecs=opus', seconds: 2, waveform: null });
  await say('a sticker', { sticker: bytes('a sticker') });
  await say('an empty document', { document: bytes(''), fileName: 'empty.txt', mimetype: 'text/plain' });
  const paper = await say('a document', { document: bytes('x'.repeat(3000)), fileName: 'paper ü.pdf', mimetype: 'application/pdf' });
  const captioned = proto.Message.fromObject(proto.Message.toObject(paper.message));
  captioned.documentMessage.caption = 'read this';
  raw('a document with a caption', { documentWithCaptionMessage: { message: captioned } });

  await say('a place', { location: { degreesLatitude: 52.5, degreesLongitude: 13.25, name: 'Tor', address: 'Platz 1' } });
  raw('a place that moves', { liveLocationMessage: { degreesLatitude: -1.5, degreesLongitude: 0 } });
  const card = (name, number) => ({
    displayName: name,
    vcard: `BEGIN:VCARD\nVERSION:3.0\nFN:${name}\nTEL;type=CELL;type=VOICE;waid=${number}:+${number}\nEND:VCARD`,
  });
  await say('a contact', { contacts: { contacts: [card('Ann', '491')] } });
  await say('contacts', { contacts: { displayName: 'two', contacts: [card('Ann', '491'), card('Bob', '492')] } });
  await say('a poll', { poll: { name: 'When?', values: ['now', 'later'], selectableCount: 1 } });
  await say('a poll with many answers', { poll: { name: 'Who?', values: ['Ann', 'Bob'] } });
  await say('a poll of a community', { poll: { name: 'Where?', values: ['here'], toAnnouncementGroup: true } });

  await say('the chat forgets from now on', { disappearingMessagesInChat: true });
  await say('a pin', { pin: first.key, type: 1 });
  await say('a phone number', { sharePhoneNumber: true });
  raw('a vote', { pollUpdateMessage: { pollCreationMessageKey: first.key, vote: { encPayload: bytes('x'), encIv: bytes('y') } } });
  raw('nothing', {});

  const node = (tag, attrs, content) => ({ tag, attrs, content });
  const nodes = [
    node('iq', { to: '@s.whatsapp.net', type: 'get', id: '1234.5678-9', xmlns: 'w:p' }, [node('ping', {})]),
    node('message', { to: AGENT, id: '3EB0ABCDEF0123456789', type: 'text' }, [node('enc', { v: '2', type: 'msg' }, bytes('\x00\x01ÿ'))]),
    node('receipt', { from: '4915550001:12@s.whatsapp.net', participant: '994915550001:3@lid', t: '1790000000' }),
    node('message', { from: GROUP, participant: AGENT_LID, notify: 'Ann ☕', t: '1' }, bytes('x'.repeat(300))),
    node('odd', { a: 'UPPER', b: '0123456789.-', c: 'F00D', d: '', e: 'x'.repeat(256), f: 'a b c' }, 'words'),
    node('list', {}, Array.from({ length: 300 }, (_, n) => node('item', { value: String(n) }))),
  ];
  const jids = [AGENT, '4915550000:7@s.whatsapp.net', AGENT_LID, '994915550000:7@lid', GROUP, '4915550000-1400000000@g.us',
    '4915550000@c.us', 'status@broadcast', '120363@newsletter'];
  return {
    versions: { baileys: here(B + 'package.json').version, protobufjs: here('protobufjs/package.json').version },
    jids: jids.map((jid) => ({ jid, is: binary.jidNormalizedUser(jid) })),
    nodes: nodes.map((it) => ({ ...plain(it), hex: hex(binary.encodeBinaryNode(it)) })),
    messages: all,
    files,
  };
}

// A node without bytes: they are shown in hex.
function plain({ tag, attrs, content }) {
  if (Array.isArray(content)) content = content.map(plain);
  else if (content !== undefined) content = { hex: hex(content) };
  return { tag, attrs, content };
}

// What changes with every run and means nothing to a reader.
const NOISE = /^(messageContextInfo|url|directPath|mediaKey|mediaKeyTimestamp|fileSha256|fileEncSha256|streamingSidecar|timestampMs|senderTimestampMs)$/;

async function read({ nodes, messages: given }) {
  const said = [];
  for (const it of given) {
    const whole = proto.Message.decode(Buffer.from(it.hex, 'hex'));
    const message = messages.normalizeMessageContent(whole);
    const kind = messages.getContentType(message);
    const content = proto.Message.toObject(message, { longs: String, enums: String })[kind];
    const shown = JSON.parse(JSON.stringify(content, (key, value) => (NOISE.test(key) ? undefined : value)));
    const one = { kind, content: shown };
    if (it.file !== undefined) {
      file = Buffer.from(it.file, 'hex');
      const stream = await media.downloadContentFromMessage(message[kind], kind.replace('Message', ''));
      const parts = [];
      for await (const part of stream) parts.push(part);
      one.file = Buffer.concat(parts).toString();
      const sum = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
      one.whole = sum(file) === hex(message[kind].fileEncSha256) && sum(one.file) === hex(message[kind].fileSha256);
    }
    said.push(one);
  }
  return { nodes: await Promise.all(nodes.map(async (it) => plain(await binary.decodeBinaryNode(Buffer.from(it, 'hex'))))), said };
}

// One line for each thing.
function lines(all) {
  const list = (it) => '[\n' + it.map((one) => JSON.stringify(one)).join(',\n') + '\n]';
  const parts = Object.entries(all).map(([name, it]) => `"${name}": ` + (Array.isArray(it) ? list(it) : JSON.stringify(it, null, 1)));
  return '{\n' + parts.join(',\n') + '\n}';
}

const work = process.argv[2] === 'make' ? make() : read(JSON.parse(fs.readFileSync(0, 'utf8')));
work.then(
  (it) => process.stdout.write(lines(it) + '\n'),
  (e) => { console.error(e); process.exitCode = 1; },
);
