"""People on a Matrix homeserver, each with an encrypting client (matrix-nio).

Reads one JSON command per line, answers each with one line; `{"ring": true}` lines come in between whenever
somebody saw something new. Started by the tests of the Matrix channel.
"""

import asyncio
import hashlib
import hmac
import html.parser
import json
import sys
import tempfile
import traceback

import aiohttp
import nio
from nio.crypto import decrypt_attachment

SERVER, SECRET = "localhost", "for tests only"


class Words(html.parser.HTMLParser):
    """What people read of HTML."""

    BLOCKS = {"p", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "ul", "ol", "table", "hr"}

    def __init__(self):
        super().__init__()
        self.out = []

    def handle_starttag(self, tag, attrs):
        if tag in self.BLOCKS:
            self.out.append("\n")
        if tag in ("td", "th"):
            self.out.append(" ")

    def handle_endtag(self, tag):
        if tag in self.BLOCKS:
            self.out.append("\n")

    def handle_data(self, data):
        self.out.append(data)


def words(content):
    if content.get("format") == "org.matrix.custom.html":
        reader = Words()
        reader.feed(content["formatted_body"])
        reader.close()
        return "".join(reader.out)
    return content.get("body", "")


class World:
    def __init__(self, base, run):
        self.base, self.run = base, run
        self.clients, self.rooms, self.roots, self.last = {}, {}, {}, {}
        self.seen, self.order, self.reactions, self.types, self.sent = {}, [], {}, 0, {}
        self.came = asyncio.Event()
        self.folder = tempfile.mkdtemp(prefix="nanoclaw-people-")

    def user(self, who):
        return f"@{who}{self.run}:{SERVER}"

    async def register(self, who):
        url = f"{self.base}/_synapse/admin/v1/register"
        async with aiohttp.ClientSession() as http:
            async with http.get(url) as response:
                nonce = (await response.json())["nonce"]
            name, password = f"{who}{self.run}", f"secret-of-{who}"
            mac = hmac.new(SECRET.encode(), digestmod=hashlib.sha1)
            mac.update(b"\0".join(part.encode() for part in (nonce, name, password, "notadmin")))
            body = {"nonce": nonce, "username": name, "password": password, "admin": False,
                    "displayname": who.capitalize(), "mac": mac.hexdigest()}
            async with http.post(url, json=body) as response:
                answer = await response.json()
                assert response.status == 200, answer
                return answer

    async def join(self, who):
        login = await self.register(who)
        config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False)
        client = nio.AsyncClient(self.base, self.user(who), store_path=self.folder, config=config)
        client.restore_login(login["user_id"], login["device_id"], login["access_token"])
        self.clients[who] = client
        client.add_event_callback(lambda room, event: self.event(room, event), nio.Event)
        client.add_ephemeral_callback(self.typing, nio.TypingNoticeEvent)
        client.add_event_callback(lambda room, event: self.invited(client, room), nio.InviteMemberEvent)
        await client.sync(timeout=0, full_state=True)
        if client.should_upload_keys:
            await client.keys_upload()
        asyncio.create_task(self.follow(client))

    async def follow(self, client):
        while True:
            try:
                await client.sync_forever(timeout=30000)
            except Exception:
                traceback.print_exc()
                await asyncio.sleep(0.2)

    async def invited(self, client, room):
        if room.room_id not in client.rooms:
            await client.join(room.room_id)

    async def open(self):
        await self.register("agent")
        await asyncio.gather(*(self.join(who) for who in ("ann", "bob", "cleo")))
        self.rooms["group"] = await self.room("ann", "The group", [self.user("bob"), self.user("agent")], False)
        return {"agent": self.user("agent"), "password": "secret-of-agent"}

    async def room(self, who, name, invite, direct):
        state = [nio.EnableEncryptionBuilder().as_dict()]
        made = await self.clients[who].room_create(name=name, invite=invite, is_direct=direct, initial_state=state)
        assert isinstance(made, nio.RoomCreateResponse), made
        return made.room_id

    async def room_of(self, who, place):
        client = self.clients[who]
        if place == "direct":
            room = self.rooms.get(("dm", who))
            if room is None:
                agent = self.user("agent")
                theirs = [r for r, room in client.rooms.items() if agent in room.users and len(room.users) == 2]
                room = theirs[0] if theirs else await self.room(who, None, [agent], True)
                self.rooms[("dm", who)] = room
        else:
            room = self.rooms["group"]
        there = {self.user("agent"), self.user("bob")} if place != "direct" else {self.user("agent")}
        while room not in client.rooms or not client.rooms[room].encrypted or \
                not there <= {u for u in client.rooms[room].users if u not in client.rooms[room].invited_users}:
            await self.change()
        if client.should_query_keys:
            try:
                await client.keys_query()
            except nio.LocalProtocolError:
                pass
        return room

    async def change(self):
        self.came.clear()
        try:
            await asyncio.wait_for(self.came.wait(), 0.1)
        except asyncio.TimeoutError:
            pass

    async def put(self, who, room, kind, content):
        client = self.clients[who]
        for _ in range(5):
            sent = await client.room_send(room, kind, content, ignore_unverified_devices=True)
            if isinstance(sent, nio.RoomSendResponse):
                self.sent[sent.event_id] = (who, room)
                return sent.event_id
        raise RuntimeError(f"not sent: {sent}")

    async def raw(self, who, room, kind, content, txn):
        client = self.clients[who]
        url = f"{self.base}/_matrix/client/v3/rooms/{room}/send/{kind}/{txn}"
        async with aiohttp.ClientSession() as http:
            headers = {"Authorization": f"Bearer {client.access_token}"}
            async with http.put(url, json=content, headers=headers) as response:
                return (await response.json()).get("event_id")

    async def relation(self, place, room, reply_to):
        if place.startswith("thread"):
            if place not in self.roots:
                self.roots[place] = await self.raw("ann", room, "org.example.card", {"body": place}, place)
            root = self.roots[place]
            last = reply_to or self.last.get(place, root)
            return {"rel_type": "m.thread", "event_id": root, "is_falling_back": reply_to is None,
                    "m.in_reply_to": {"event_id": last}}
        return {"m.in_reply_to": {"event_id": reply_to}} if reply_to else None

    async def say(self, who, place, text, files, mention, reply_to):
        room = await self.room_of(who, place)
        agent, ids = self.user("agent"), []
        mentions = {"user_ids": [agent]} if mention else {}
        contents = [] if files else [{"msgtype": "m.text", "body": f"Agent: {text}" if mention else text}]
        for n, file in enumerate(files):
            contents.append(await self.file(who, file, text if n == 0 else ""))
        for content in contents:
            content["m.mentions"] = mentions
            relation = await self.relation(place, room, reply_to)
            if relation:
                content["m.relates_to"] = relation
            ids.append(await self.put(who, room, "m.room.message", content))
            self.last[place] = ids[-1]
        return ids[0]

    async def file(self, who, file, caption):
        data = bytes.fromhex(file["hex"])
        mime = file["mime"] or "application/octet-stream"

        async def provide(_again, _timeouts):
            yield data

        upload, keys = await self.clients[who].upload(
            lambda a, b: provide(a, b), content_type="application/octet-stream", encrypt=True, filesize=len(data))
        assert isinstance(upload, nio.UploadResponse), upload
        kind = {"image": "m.image", "audio": "m.audio", "video": "m.video"}.get(mime.split("/")[0], "m.file")
        content = {"msgtype": kind, "body": caption or file["name"], "filename": file["name"],
                   "info": {"mimetype": mime, "size": file["size"] or len(data)},
                   "file": {**keys, "url": upload.content_uri, "mimetype": mime}}
        return content

    def event(self, room, event):
        self.came.set()
        if event.sender != self.user("agent") or event.event_id in self.seen:
            return
        source = event.source
        content, kind = source.get("content", {}), source.get("type")
        relation = content.get("m.relates_to") or {}
        if kind == "m.reaction":
            self.reactions[event.event_id] = [relation.get("event_id"), relation.get("key")]
        elif kind == "m.room.redaction":
            gone = source.get("redacts") or content.get("redacts")
            if gone in self.seen:
                self.seen[gone]["gone"] = True
            self.reactions.pop(gone, None)
        elif kind == "m.room.message" and relation.get("rel_type") == "m.replace":
            first = self.seen.get(relation.get("event_id"))
            if first:
                first["content"], first["edited"] = content["m.new_content"], True
            self.seen[event.event_id] = {"gone": True}
        elif kind in ("m.room.message", "m.room.encrypted"):
            thread = relation.get("event_id") if relation.get("rel_type") == "m.thread" else None
            real = thread is None or not relation.get("is_falling_back")
            reply = (relation.get("m.in_reply_to") or {}).get("event_id") if real else None
            content = content if kind == "m.room.message" else {"body": "(no key for this message)"}
            self.seen[event.event_id] = {"room": room.room_id, "content": content, "thread": thread,
                                         "reply_to": reply, "edited": False, "gone": False}
            self.order.append(event.event_id)
        else:
            return
        print(json.dumps({"ring": True}), flush=True)

    def typing(self, room, event):
        if self.user("agent") in event.users:
            self.types += 1
            print(json.dumps({"ring": True}), flush=True)

    async def shown(self):
        out, direct = [], {room: key[1] for key, room in self.rooms.items() if isinstance(key, tuple)}
        for who in ("ann", "bob", "cleo"):
            for room in self.clients[who].rooms.values():
                if room.room_id != self.rooms["group"]:
                    direct.setdefault(room.room_id, who)
        for event in self.order:
            seen = self.seen[event]
            if seen["gone"]:
                continue
            content, files = seen["content"], []
            if "filename" in content or content.get("msgtype") in ("m.file", "m.image", "m.audio", "m.video"):
                if "bytes" not in seen:
                    seen["bytes"] = (await self.download(content)).hex()
                files = [{"name": content.get("filename") or content["body"], "hex": seen["bytes"]}]
            who = direct.get(seen["room"])
            text = "" if files and content.get("filename") in (None, content["body"]) else words(content)
            out.append({"id": event, "room": seen["room"], "person": self.user(who) if who else None,
                        "thread": seen["thread"], "text": text, "files": files, "reply_to": seen["reply_to"],
                        "edited": seen["edited"]})
        return out

    async def download(self, content):
        secret = content.get("file")
        url = secret["url"] if secret else content["url"]
        got = await self.clients["ann"].download(url)
        assert isinstance(got, nio.DownloadResponse) or hasattr(got, "body"), got
        if not secret:
            return got.body
        return decrypt_attachment(got.body, secret["key"]["k"], secret["hashes"]["sha256"], secret["iv"])

    async def nonsense(self):
        room = await self.room_of("ann", "direct")
        odd = [("org.example.unknown", {"a": 1}), ("m.room.message", {}), ("m.room.message", {"msgtype": 5}),
               ("m.room.message", {"msgtype": "m.file", "body": "x"}), ("m.reaction", {"m.relates_to": {}}),
               ("m.room.message", {"msgtype": "m.text", "body": "* x", "m.relates_to": {
                   "rel_type": "m.replace", "event_id": "nothing"}}),
               ("m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2"})]
        for n, (kind, content) in enumerate(odd):
            await self.raw("ann", room, kind, content, f"odd{n}")
        return True

    async def do(self, command):
        do, get = command["do"], command.get
        if do == "open":
            return await self.open()
        if do == "say":
            return await self.say(get("who"), get("place"), get("text"), get("files"), get("mention"), get("reply_to"))
        if do == "shown":
            return await self.shown()
        if do == "reacted":
            return list(self.reactions.values())
        if do == "typing":
            return self.types
        if do == "nonsense":
            return await self.nonsense()
        if do == "notice":
            room = await self.room_of("ann", "direct")
            return await self.put("ann", room, "m.room.message", {"msgtype": "m.notice", "body": "beep"})
        who, room = self.sent.get(get("id"), ("ann", None))
        if do == "edit":
            new = {"msgtype": "m.text", "body": get("text")}
            return await self.put(who, room, "m.room.message", {**new, "body": "* " + get("text"), "m.new_content": new,
                "m.relates_to": {"rel_type": "m.replace", "event_id": get("id")}})
        if do == "delete":
            return str(await self.clients[who].room_redact(room, get("id")))
        if do == "react":
            # Nobody reacts to what they do not see yet.
            async with asyncio.timeout(20):
                while get("id") not in self.seen:
                    self.came.clear()
                    await self.came.wait()
            room = self.seen[get("id")]["room"]
            content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": get("id"), "key": get("emoji")}}
            if not get("removed"):
                self.reaction = await self.put("ann", room, "m.reaction", content)
                return self.reaction
            return str(await self.clients["ann"].room_redact(room, self.reaction))
        raise RuntimeError(f"unknown: {do}")


async def main():
    world = World(sys.argv[1], sys.argv[2])
    lines = asyncio.StreamReader(limit=64 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        try:
            answer = {"ok": await world.do(json.loads(line))}
        except Exception as e:
            answer = {"error": f"{e!r}\n{traceback.format_exc()}"}
        print(json.dumps(answer), flush=True)
    # Nobody is there any more.
    import os
    os._exit(0)


asyncio.run(main())
