#!/usr/bin/python3
"""A host that touches a session's files as NanoClaw v2's own host does, statement by statement.

  v2_host.py SESSION create                 makes the folder, flat, with v2's two databases
  v2_host.py SESSION push ID TEXT           writes a message: the next even number, pending
  v2_host.py SESSION deliver                one pass: prints what it would send, records it, syncs what was finished
  v2_host.py SESSION stuck                  prints v2's verdict on a running container
"""

import json
import os
import sqlite3
import sys
import time
from datetime import datetime, timezone

IN = """
CREATE TABLE IF NOT EXISTS messages_in (
  id TEXT PRIMARY KEY, seq INTEGER UNIQUE, kind TEXT NOT NULL, timestamp TEXT NOT NULL,
  status TEXT DEFAULT 'pending', process_after TEXT, recurrence TEXT, series_id TEXT, tries INTEGER DEFAULT 0,
  trigger INTEGER NOT NULL DEFAULT 1, platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL,
  source_session_id TEXT, on_wake INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS idx_messages_in_series ON messages_in(series_id);
CREATE TABLE IF NOT EXISTS delivered (message_out_id TEXT PRIMARY KEY, platform_message_id TEXT,
  status TEXT NOT NULL DEFAULT 'delivered', delivered_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS destinations (name TEXT PRIMARY KEY, display_name TEXT, type TEXT NOT NULL,
  channel_type TEXT, platform_id TEXT, agent_group_id TEXT);
CREATE TABLE IF NOT EXISTS session_routing (id INTEGER PRIMARY KEY CHECK (id = 1), channel_type TEXT,
  platform_id TEXT, thread_id TEXT);
"""
OUT = """
CREATE TABLE IF NOT EXISTS messages_out (
  id TEXT PRIMARY KEY, seq INTEGER UNIQUE, in_reply_to TEXT, timestamp TEXT NOT NULL, deliver_after TEXT,
  recurrence TEXT, kind TEXT NOT NULL, platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS processing_ack (message_id TEXT PRIMARY KEY, status TEXT NOT NULL,
  status_changed TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS session_state (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS container_state (id INTEGER PRIMARY KEY CHECK (id = 1), current_tool TEXT,
  tool_declared_timeout_ms INTEGER, tool_started_at TEXT, updated_at TEXT NOT NULL);
"""
session = sys.argv[1]


def writable(name):
    """Opened, written, closed: per operation."""
    db = sqlite3.connect(f"{session}/{name}", isolation_level=None)
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA busy_timeout = 5000")
    return db


def outbound():
    db = sqlite3.connect(f"file:{session}/outbound.db?mode=ro", uri=True, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 5000")
    return db


def create():
    for folder in ["", "inbox", "outbox", "agent"]:
        os.makedirs(os.path.join(session, folder), exist_ok=True)
    for name, schema in [("inbound.db", IN), ("outbound.db", OUT)]:
        db = writable(name)
        db.executescript(schema)
        db.close()
    db = writable("inbound.db")
    db.execute("INSERT OR REPLACE INTO destinations VALUES ('home', 'Home', 'channel', 'room', 'r1', NULL)")
    db.execute("INSERT OR REPLACE INTO session_routing VALUES (1, 'room', 'r1', NULL)")
    db.close()
    with open(f"{session}/agent/container.json", "w") as file:
        json.dump({"provider": "demo", "groupName": "Andy", "assistantName": "Andy", "agentGroupId": "ag-1"}, file)


def push(message, text):
    db = writable("inbound.db")
    high = db.execute("SELECT COALESCE(MAX(seq), 0) FROM messages_in").fetchone()[0]
    seq = 2 if high < 2 else high + 2 - high % 2
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    content = json.dumps({"text": text, "sender": "Ann", "senderId": "room:ann"})
    db.execute(
        """INSERT INTO messages_in (id, seq, kind, timestamp, status, series_id, trigger, platform_id, channel_type,
           thread_id, content, on_wake) VALUES (?, ?, 'chat', ?, 'pending', ?, 1, 'r1', 'room', NULL, ?, 0)""",
        (message, seq, now, message, content),
    )
    db.close()
    print(seq)


def deliver():
    try:
        out = outbound()
        rows = out.execute(
            """SELECT id, seq, in_reply_to, kind, channel_type, platform_id, content FROM messages_out
               WHERE deliver_after IS NULL OR deliver_after <= datetime('now') ORDER BY timestamp"""
        ).fetchall()
        # For the sweep: whatever the runner finished, or called failed, is completed.
        sql = "SELECT message_id FROM processing_ack WHERE status IN ('completed', 'failed')"
        finished = [row[0] for row in out.execute(sql)]
        out.close()
    except sqlite3.OperationalError:
        # A runner killed inside a commit: nobody reads the file until the next runner has repaired it. v2 skips it.
        print(json.dumps({"sent": [], "waiting": 1}))
        return
    db, sent = writable("inbound.db"), []
    known = {row[0] for row in db.execute("SELECT message_out_id FROM delivered")}
    for row in rows:
        if row[0] in known:
            continue
        content = json.loads(row[6])
        files = {}
        for name in content.get("files", []):
            with open(f"{session}/outbox/{row[0]}/{name}") as file:
                files[name] = file.read()
        sent.append({"id": row[0], "seq": row[1], "reply": row[2], "kind": row[3],
                     "to": f"{row[4]}/{row[5]}", "content": content, "files": files})
        db.execute(
            """INSERT OR IGNORE INTO delivered (message_out_id, platform_message_id, status, delivered_at)
               VALUES (?, ?, 'delivered', datetime('now'))""",
            (row[0], f"platform-{row[1]}"),
        )
    db.execute("BEGIN")
    for message in finished:
        db.execute("UPDATE messages_in SET status = 'completed' WHERE id = ? AND status <> 'completed'", (message,))
    db.execute("COMMIT")
    waiting = db.execute("SELECT COUNT(*) FROM messages_in WHERE status = 'pending'").fetchone()[0]
    db.close()
    print(json.dumps({"sent": sent, "waiting": waiting}))


def stuck():
    out, now = outbound(), time.time()
    tool = out.execute("SELECT current_tool, tool_declared_timeout_ms FROM container_state WHERE id = 1").fetchone()
    declared = tool[1] / 1000 if tool and tool[0] == "Bash" and isinstance(tool[1], int) else 0
    try:
        beat = os.stat(f"{session}/.heartbeat").st_mtime
    except FileNotFoundError:
        beat = 0
    verdict = "ok"
    if beat and now - beat > max(1800, declared):
        verdict = "absolute-ceiling"
    claims = out.execute("SELECT message_id, status_changed FROM processing_ack WHERE status = 'processing'").fetchall()
    for message, at in claims:
        since = datetime.strptime(at, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
        if now - since > max(60, declared) and beat <= since:
            verdict = f"claim-stuck {message}"
    print(json.dumps({"verdict": verdict, "claims": len(claims), "beat": beat > 0, "tool": tool[0] if tool else None}))


{"create": create, "push": push, "deliver": deliver, "stuck": stuck}[sys.argv[2]](*sys.argv[3:])
