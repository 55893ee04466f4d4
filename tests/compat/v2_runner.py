#!/usr/bin/python3
"""A runner that touches the session's files as NanoClaw v2's own runner does, statement by statement.

Its "model" answers `pong <text>`. Some texts make it do what v2's tools do:
  edit me       says something, then changes it        file      sends a file
  react         reacts to the message                  tool N    runs "Bash" that asked for N ms, for ever
  die           exits in the middle of a turn          hang      claims and shows no sign of life
  remind        schedules a task for the host
  slow          works for some seconds                 long      as a follow-up: done at once, then worked on
  newer         keeps a table of its own from now on   skip      gives the row up, as a task whose script failed
"""

import json
import os
import random
import sqlite3
import string
import sys
import time
from datetime import datetime, timedelta, timezone

WORKSPACE = os.environ.get("NANOCLAW_WORKSPACE", "/workspace")
INBOUND, OUTBOUND = f"{WORKSPACE}/inbound.db", f"{WORKSPACE}/outbound.db"
HEARTBEAT = f"{WORKSPACE}/.heartbeat"


def iso(at=None):
    at = at or datetime.now(timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def new_id(prefix):
    tail = "".join(random.choices(string.digits + string.ascii_lowercase, k=6))
    return f"{prefix}-{int(time.time() * 1000)}-{tail}"


def inbound():
    db = sqlite3.connect(f"file:{INBOUND}?mode=ro", uri=True, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA busy_timeout = 5000")
    db.execute("PRAGMA mmap_size = 0")
    return db


def open_outbound():
    db = sqlite3.connect(OUTBOUND, isolation_level=None)
    mode = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    if mode != "delete":
        sys.exit(f"journal mode {mode}")
    db.execute("PRAGMA busy_timeout = 5000")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute(
        """CREATE TABLE IF NOT EXISTS session_state
           (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at TEXT NOT NULL)"""
    )
    db.execute(
        """CREATE TABLE IF NOT EXISTS container_state (id INTEGER PRIMARY KEY CHECK (id = 1), current_tool TEXT,
           tool_declared_timeout_ms INTEGER, tool_started_at TEXT, updated_at TEXT NOT NULL)"""
    )
    columns = [row[1] for row in db.execute("PRAGMA table_info(session_state)")]
    if "updated_at" not in columns:
        db.execute("ALTER TABLE session_state ADD COLUMN updated_at TEXT NOT NULL DEFAULT ''")
    return db


out = open_outbound()
reader = inbound()  # v2 keeps one for destinations and numbers


def heartbeat():
    try:
        os.utime(HEARTBEAT)
    except OSError:
        try:
            open(HEARTBEAT, "w").close()
        except OSError:
            pass


def ack(ids, status):
    out.execute("BEGIN")
    for message in ids:
        out.execute(
            """INSERT OR REPLACE INTO processing_ack (message_id, status, status_changed)
               VALUES (?, ?, datetime('now'))""",
            (message, status),
        )
    out.execute("COMMIT")


def state(key, value):
    out.execute("INSERT OR REPLACE INTO session_state (key, value, updated_at) VALUES (?, ?, ?)", (key, value, iso()))


def pending(first):
    db = inbound()
    has_on_wake = any(row[1] == "on_wake" for row in db.execute("PRAGMA table_info(messages_in)"))
    on_wake = "AND (on_wake = 0 OR ?1 = 1)" if has_on_wake else "AND ?1 IN (0, 1)"
    rows = db.execute(
        f"""SELECT * FROM messages_in WHERE status = 'pending'
            AND (process_after IS NULL OR datetime(process_after) <= datetime('now')) {on_wake}
            ORDER BY seq DESC LIMIT 10""",
        (1 if first else 0,),
    ).fetchall()
    db.close()
    acked = {row[0] for row in out.execute("SELECT message_id FROM processing_ack")}
    return [row for row in reversed(rows) if row["id"] not in acked and row["kind"] != "system"]


def next_seq():
    # Without a transaction, as v2 does it.
    high = out.execute("SELECT COALESCE(MAX(seq), 0) FROM messages_out").fetchone()[0]
    high = max(high, reader.execute("SELECT COALESCE(MAX(seq), 0) FROM messages_in").fetchone()[0])
    return high + 1 if high % 2 == 0 else high + 2


def write(content, to, reply, kind="chat", row_id=None):
    row_id = row_id or new_id("msg")
    seq = next_seq()
    out.execute(
        """INSERT INTO messages_out (id, seq, in_reply_to, timestamp, kind, platform_id, channel_type, thread_id, content)
           VALUES (?, ?, ?, datetime('now'), ?, ?, ?, ?, ?)""",
        (row_id, seq, reply, kind, *to, json.dumps(content)),
    )
    return row_id, seq


def address(row):
    """The named destination of the conversation, with the thread of its newest message."""
    channel, platform = row["channel_type"], row["platform_id"]
    names = reader.execute("SELECT * FROM destinations ORDER BY name").fetchall()
    if not any(d["channel_type"] == channel and d["platform_id"] == platform for d in names):
        return None
    thread = reader.execute(
        "SELECT thread_id FROM messages_in WHERE channel_type = ? AND platform_id = ? ORDER BY seq DESC LIMIT 1",
        (channel, platform),
    ).fetchone()[0]
    return platform, channel, thread


def platform_id_of(seq):
    """What the platform calls the message with this number; v2 looks among its own only after the inbox."""
    own = out.execute("SELECT id FROM messages_out WHERE seq = ?", (seq,)).fetchone()
    db = inbound()
    sent = db.execute("SELECT platform_message_id FROM delivered WHERE message_out_id = ?", own).fetchone()
    db.close()
    return sent[0] if sent and sent[0] else None


def tool(name, timeout):
    out.execute(
        """INSERT INTO container_state (id, current_tool, tool_declared_timeout_ms, tool_started_at, updated_at)
           VALUES (1, ?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET current_tool = excluded.current_tool,
           tool_declared_timeout_ms = excluded.tool_declared_timeout_ms,
           tool_started_at = excluded.tool_started_at, updated_at = excluded.updated_at""",
        (name, timeout, iso() if name else None, iso()),
    )


def newer():
    """What runners after 2.1 do: an account of every turn, beside the tables that the host knows."""
    out.execute(
        """CREATE TABLE IF NOT EXISTS token_usage_log (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL,
           task_series_id TEXT, prompt_preview TEXT NOT NULL, prompt_chars INTEGER NOT NULL, cost_usd REAL)"""
    )
    out.execute("CREATE INDEX IF NOT EXISTS idx_token_usage_log_timestamp ON token_usage_log (timestamp)")
    out.execute("INSERT INTO token_usage_log (timestamp, prompt_preview, prompt_chars) VALUES (?, '', 0)", (iso(),))
    state("token_usage", '{"turns":1}')


def answer(row):
    text = json.loads(row["content"]).get("text") or json.loads(row["content"]).get("prompt", "")
    to, reply = address(row), row["id"]
    if to is None:
        print(f"no destination for {row['id']}", file=sys.stderr)
        return
    heartbeat()
    if text == "die":
        os._exit(3)
    elif text.startswith("tool "):
        tool("Bash", int(text.split()[1]))
        heartbeat()
        while True:
            time.sleep(1)
    elif text == "slow":
        for _ in range(9):
            time.sleep(1)
            heartbeat()
        write({"text": "pong slow"}, to, reply)
    elif text == "long":
        ack([reply], "completed")
        for _ in range(8):
            time.sleep(1)
            heartbeat()
        tool("Bash", 60_000)
        time.sleep(10)
        tool(None, None)
        write({"text": "pong long"}, to, reply)
    elif text == "skip":
        return
    elif text == "newer":
        newer()
        write({"text": "pong newer"}, to, reply)
    elif text == "edit me":
        _, seq = write({"text": "befor"}, to, reply)
        while (known := platform_id_of(seq)) is None:
            time.sleep(0.1)
        write({"operation": "edit", "messageId": known, "text": "before"}, to, reply)
    elif text == "react":
        write({"operation": "reaction", "messageId": row["id"], "emoji": "eyes"}, to, reply)
    elif text == "file":
        row_id = new_id("msg")
        os.makedirs(f"{WORKSPACE}/outbox/{row_id}")
        with open(f"{WORKSPACE}/outbox/{row_id}/report.txt", "w") as file:
            file.write("a report")
        write({"text": "here it is", "files": ["report.txt"]}, to, reply, row_id=row_id)
    elif text == "remind":
        task, route = new_id("task"), reader.execute("SELECT * FROM session_routing WHERE id = 1").fetchone()
        content = {
            "action": "schedule_task", "taskId": task, "prompt": "reminded", "script": None,
            "processAfter": iso(datetime.now(timezone.utc) + timedelta(seconds=1)), "recurrence": None,
            "platformId": route["platform_id"], "channelType": route["channel_type"], "threadId": route["thread_id"],
        }
        write(content, (route["platform_id"], route["channel_type"], route["thread_id"]), None, "system", task)
    else:
        write({"text": f"pong {text}"}, to, reply)


def main():
    legacy = out.execute("SELECT value FROM session_state WHERE key = 'sdk_session_id'").fetchone()
    if legacy:
        out.execute("DELETE FROM session_state WHERE key = 'sdk_session_id'")
    left = out.execute("SELECT COUNT(*) FROM processing_ack WHERE status = 'processing'").fetchone()[0]
    out.execute("DELETE FROM processing_ack WHERE status = 'processing'")
    state("left_claims", str(left))
    starts = out.execute("SELECT value FROM session_state WHERE key = 'starts'").fetchone()
    state("starts", str(int(starts[0] if starts else 0) + 1))
    first = True
    while True:
        rows, first = pending(first), False
        if not any(row["trigger"] == 1 for row in rows):
            time.sleep(1)
            continue
        ids = [row["id"] for row in rows]
        ack(ids, "processing")
        if any(json.loads(row["content"]).get("text") == "hang" for row in rows):
            while True:
                time.sleep(1)
        state("continuation:mock", f"mock-session-{int(time.time() * 1000)}")
        for row in rows:
            answer(row)
        heartbeat()
        skipped = [row["id"] for row in rows if json.loads(row["content"]).get("text") == "skip"]
        ack(skipped, "script-skip:error")
        ack([i for i in ids if i not in skipped], "completed")


main()
