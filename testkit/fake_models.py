#!/usr/bin/env python3
"""Loopback fake of three model APIs, python stdlib only.

  POST /v1/messages               Anthropic Messages (SSE when stream=true, else JSON)
  POST /v1/messages/count_tokens  {"input_tokens": n}
  POST /v1/responses              OpenAI Responses (SSE)          - for `codex`
  POST /v1/chat/completions       OpenAI Chat Completions (SSE)   - for `opencode`
  GET  /v1/models                 small list
  anything else                   404 JSON, but logged (this is how non-essential calls are found)

usage: fake_models.py [--port 0] [--host 127.0.0.1] [--log FILE.jsonl] [--dump DIR]
                         [--tls-cert C --tls-key K] [--delay-ms N] [--ctx N] [--expect-key K]
prints one line "LISTENING <host> <port>" on stdout when ready.

The reply is steered by the newest user text that has directives (anywhere in it, one per line):
  !tool <ToolName> <json>     answer with a tool_use of that tool (several lines = parallel calls)
  !say <text>                 answer with exactly that text
  !sleep <ms>                 wait first
  !error <status> [type] [header=value ...]
                              answer with an HTTP error of that status (type: e.g. overloaded_error)
  !flaky <n> <status> [type]  the first n requests with this line get that HTTP error
  !tokens <n>                 report n input tokens in usage (provokes auto-compaction)
  !slow <ms>                  wait after each delta of a text
  !repeat <n> <word>          a long text of n words (streamed in n deltas)
otherwise the text is echoed:   "echo: <text>".
After a tool_result the reply is "tool said: <result text>".
Directives are understood as people write them and as the runner shows them to a model (&quot; for a quote).
A correction by the runner's Stop hook is obeyed: the same text again, in a block to the first destination.

With --script FILE a model plays a role. The file is a JSON list of rules
  {"as": regex in the system prompt, "on": regex in the newest text, "do": [directives]}
Every place where the "on" of a rule fits adds its directives; {1} in them is what the first group found, on one line. The result of a tool is seen as "RESULT <text>". A role none of whose rules fits is silent.
"""
import argparse, html, json, os, re, ssl, sys, threading, time, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

A = None
LOCK = threading.Lock()
COUNT = {"n": 0}
FLAKY = {}
SCRIPT = []
CORRECTION = re.compile(r'Wrap each delivered message in <message to="name">.*?with one of these names: ([^,.\n]+)', re.S)
DIRECTIVE = re.compile(r"!(tool|say|sleep|error|flaky|tokens|repeat|slow)\s+(.*?)(?:</message>.*)?$", re.M)


def log(rec):
    rec["t"] = round(time.time(), 4)
    line = json.dumps(rec, ensure_ascii=False)
    with LOCK:
        if A.log:
            with open(A.log, "a") as f:
                f.write(line + "\n")
        if A.verbose:
            print(line, file=sys.stderr, flush=True)


def text_of(content):
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    out = []
    for b in content:
        if isinstance(b, str):
            out.append(b)
        elif b.get("type") in ("text", "input_text", "output_text"):
            out.append(b.get("text", ""))
    return "\n".join(out)


def strip_reminders(s):
    return re.sub(r"<system-reminder>.*?</system-reminder>", "", s, flags=re.S).strip()


def filled(do, match):
    """A directive with what was found, escaped as the runner shows what people write: so directives are read."""
    def group(n):
        text = " | ".join((match.group(int(n[1])) or "").strip().split("\n"))
        return json.dumps(text)[1:-1] if do.startswith("!tool") else text
    return html.escape(re.sub(r"\{(\d)\}", group, do))


def played(req, newest):
    """What the role of this request does about the newest text, as directives; None: it plays no role."""
    system = text_of(req.get("system"))
    mine = [rule for rule in SCRIPT if re.search(rule["as"], system)]
    found = [filled(do, m) for rule in mine for m in re.finditer(rule["on"], newest) for do in rule["do"]]
    said = [do.removeprefix("!say ") for do in dict.fromkeys(found) if do.startswith("!say ")]
    done = [do for do in dict.fromkeys(found) if not do.startswith("!say ")]
    if not found and mine:
        said = ["<internal>nothing for me</internal>"]
    return "\n".join(done + ["!say " + " ".join(said)] * bool(said)) if mine else None


def plan_from_text(s, have_tools):
    """-> dict(sleep, error, tokens, tools=[(name,input)], text)"""
    p = {"sleep": 0, "error": None, "tokens": None, "tools": [], "text": None}
    for line in s.splitlines():
        line = line.strip()
        # directives may be wrapped in markup, e.g. <message ...>!tool X {}</message>
        m = DIRECTIVE.search(line)
        if not m:
            continue
        k, rest = m.group(1), html.unescape(m.group(2)).strip()
        if k == "tool":
            name, _, js = rest.partition(" ")
            try:
                inp = json.loads(js or "{}")
            except ValueError:
                inp = {"_bad_json": js}
            p["tools"].append((name, inp))
        elif k == "say":
            p["text"] = rest
        elif k == "sleep":
            p["sleep"] = int(rest) / 1000
        elif k == "error":
            st, *more = rest.split()
            ty = [w for w in more if "=" not in w]
            p["error"] = (int(st), ty[0] if ty else "api_error")
            p["headers"] = [tuple(w.split("=", 1)) for w in more if "=" in w]
        elif k == "flaky":
            n, st, *ty = rest.split()
            with LOCK:
                FLAKY[rest] = FLAKY.get(rest, 0) + 1
                if FLAKY[rest] <= int(n):
                    p["error"] = (int(st), ty[0] if ty else "api_error")
        elif k == "slow":
            p["slow"] = int(rest) / 1000
        elif k == "tokens":
            p["tokens"] = int(rest)
        elif k == "repeat":
            n, _, w = rest.partition(" ")
            p["text"] = " ".join([w or "lorem"] * int(n))
    if p["text"] is None and not p["tools"]:
        p["text"] = "echo: " + s.strip()[-400:]
    if not have_tools:
        p["tools"] = []
        p["text"] = p["text"] or "ok"
    return p


class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "fake/1"

    def log_message(self, *a):
        pass

    # ---- plumbing
    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            out = b""
            while True:
                n = int(self.rfile.readline().split(b";")[0], 16)
                if n == 0:
                    self.rfile.readline()
                    return out
                out += self.rfile.read(n)
                self.rfile.readline()
        n = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(n) if n else b""

    def send_json(self, status, obj, extra=()):
        b = json.dumps(obj).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(b)))
        self.send_header("request-id", "req_" + uuid.uuid4().hex[:20])
        for k, v in extra:
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b)

    def sse_start(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("request-id", "req_" + uuid.uuid4().hex[:20])
        self.end_headers()

    def chunk(self, s):
        b = s.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(b), b))
        self.wfile.flush()

    def sse(self, event, data):
        self.chunk((f"event: {event}\n" if event else "") + "data: " + json.dumps(data) + "\n\n")
        if A.delay_ms:
            time.sleep(A.delay_ms / 1000)

    def sse_end(self):
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    # ---- dispatch
    def handle_any(self):
        raw = self.body()
        COUNT["n"] += 1
        path = self.path.split("?")[0]
        auth = self.headers.get("x-api-key") or self.headers.get("Authorization") or ""
        rec = {"n": COUNT["n"], "m": self.command, "path": self.path, "host": self.headers.get("Host"),
               "ua": self.headers.get("User-Agent"), "auth": auth[:24], "len": len(raw)}
        js = None
        try:
            js = json.loads(raw) if raw else None
        except ValueError:
            rec["raw"] = raw[:200].decode("latin1")
        if isinstance(js, dict):
            rec["model"] = js.get("model")
            rec["stream"] = js.get("stream")
            rec["nmsg"] = len(js.get("messages") or js.get("input") or [])
            rec["ntools"] = len(js.get("tools") or [])
        if A.dump and raw:
            os.makedirs(A.dump, exist_ok=True)
            with open(os.path.join(A.dump, f"{COUNT['n']:04d}{path.replace('/', '_')}.json"), "wb") as f:
                f.write(raw)
        if A.expect_key and path.startswith("/v1/") and A.expect_key not in auth:
            rec["status"] = 401
            log(rec)
            return self.send_json(401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}})
        log(rec)
        if self.command == "POST" and path.endswith("/v1/messages"):
            return self.anth_messages(js or {})
        if self.command == "POST" and path.endswith("/count_tokens"):
            return self.send_json(200, {"input_tokens": max(1, len(raw) // 4)})
        if self.command == "POST" and path.endswith("/responses"):
            return self.oai_responses(js or {})
        if self.command == "POST" and path.endswith("/chat/completions"):
            return self.oai_chat(js or {})
        if path.endswith("/models"):
            ids = ["claude-fake-1", "gpt-fake-1"]
            return self.send_json(200, {"object": "list", "has_more": False,
                                        "data": [{"id": i, "type": "model", "object": "model", "display_name": i,
                                                  "created_at": "2026-01-01T00:00:00Z"} for i in ids]})
        return self.send_json(404, {"type": "error", "error": {"type": "not_found_error", "message": path}})

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = handle_any

    # ---- Anthropic
    def anth_messages(self, req):
        msgs = req.get("messages") or []
        last, pushed = {}, []
        for m in reversed(msgs):                # a trailing role:"system" message is possible (newer CLIs)
            if m.get("role") == "user":
                last = m
                break
            if "The user sent a new message while you were working" in text_of(m.get("content")):
                pushed.insert(0, {"type": "text", "text": text_of(m.get("content"))})
        content = last.get("content", "")
        if pushed:
            content = (content if isinstance(content, list) else [{"type": "text", "text": content}]) + pushed
        results = [b for b in content if isinstance(b, dict) and b.get("type") == "tool_result"] if isinstance(content, list) else []
        txt = strip_reminders(text_of(content))
        if isinstance(content, list):           # messages that nobody answered come merged: the newest says what to do
            blocks = [strip_reminders(text_of([b])) for b in content]
            told = [b for b in blocks if DIRECTIVE.search(b)]
            txt = told[-1] if told else txt
        seen = [strip_reminders(text_of(content))] + ["RESULT " + (text_of(b.get("content")) or "") for b in results]
        role = played(req, html.unescape("\n".join(seen))) if SCRIPT and req.get("tools") else None
        corrected = CORRECTION.search(txt)
        if role is not None:
            plan = plan_from_text(role, True)
        elif corrected:
            said = next((text_of(m.get("content")) for m in reversed(msgs) if m.get("role") == "assistant"), "")
            plan = {"sleep": 0, "error": None, "tokens": None, "tools": [],
                    "text": f'<message to="{corrected.group(1)}">{said}</message>'}
        elif results and not re.search(r"!(tool|say|error)\s", txt):
            said = " | ".join(text_of(b.get("content")) or json.dumps(b.get("content")) for b in results)
            plan = {"sleep": 0, "error": None, "tokens": None, "tools": [], "text": "tool said: " + said.strip()[:2000]}
        else:
            plan = plan_from_text(txt, bool(req.get("tools")))
        if plan["sleep"]:
            time.sleep(plan["sleep"])
        if plan["error"]:
            st, ty = plan["error"]
            return self.send_json(st, {"type": "error", "error": {"type": ty, "message": "fake " + ty}, "request_id": "req_fake"},
                                  plan.get("headers") or ())
        in_tok = plan["tokens"] or max(1, sum(len(json.dumps(m)) for m in msgs) // 4)
        mid = "msg_" + uuid.uuid4().hex[:24]
        usage = {"input_tokens": in_tok, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        blocks = []
        if plan["text"]:
            blocks.append({"type": "text", "text": plan["text"]})
        for name, inp in plan["tools"]:
            blocks.append({"type": "tool_use", "id": "toolu_" + uuid.uuid4().hex[:24], "name": name, "input": inp})
        stop = "tool_use" if plan["tools"] else "end_turn"
        out_tok = max(1, sum(len(json.dumps(b)) for b in blocks) // 4)
        base = {"id": mid, "type": "message", "role": "assistant", "model": req.get("model", "claude-fake-1")}
        if not req.get("stream"):
            usage["output_tokens"] = out_tok
            return self.send_json(200, {**base, "content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": usage})
        self.sse_start()
        self.sse("message_start", {"type": "message_start", "message": {**base, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}})
        self.sse("ping", {"type": "ping"})
        for i, b in enumerate(blocks):
            if b["type"] == "text":
                self.sse("content_block_start", {"type": "content_block_start", "index": i, "content_block": {"type": "text", "text": ""}})
                words = re.findall(r"\S+\s*|\s+", b["text"]) or [""]
                step = max(1, len(words) // 50)
                for j in range(0, len(words), step):
                    self.sse("content_block_delta", {"type": "content_block_delta", "index": i,
                             "delta": {"type": "text_delta", "text": "".join(words[j:j + step])}})
                    time.sleep(plan.get("slow", 0))
            else:
                self.sse("content_block_start", {"type": "content_block_start", "index": i,
                         "content_block": {"type": "tool_use", "id": b["id"], "name": b["name"], "input": {}}})
                s = json.dumps(b["input"])
                for j in range(0, len(s), 40):
                    self.sse("content_block_delta", {"type": "content_block_delta", "index": i,
                             "delta": {"type": "input_json_delta", "partial_json": s[j:j + 40]}})
            self.sse("content_block_stop", {"type": "content_block_stop", "index": i})
        self.sse("message_delta", {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": out_tok}})
        self.sse("message_stop", {"type": "message_stop"})
        self.sse_end()

    # ---- OpenAI Responses (codex)
    def oai_responses(self, req):
        inp = req.get("input") or []
        if isinstance(inp, str):
            inp = [{"type": "message", "role": "user", "content": inp}]
        last = inp[-1] if inp else {}
        if last.get("type") in ("function_call_output", "custom_tool_call_output"):
            o = last.get("output")
            plan = {"sleep": 0, "error": None, "tools": [], "text": "tool said: " + (o if isinstance(o, str) else text_of(o) or json.dumps(o))[:2000]}
        else:
            users = [m for m in inp if m.get("role") == "user"]
            plan = plan_from_text(text_of((users or [{}])[-1].get("content")), bool(req.get("tools")))
        if plan["sleep"]:
            time.sleep(plan["sleep"])
        if plan["error"]:
            return self.send_json(plan["error"][0], {"error": {"message": "fake", "type": plan["error"][1], "code": plan["error"][1]}})
        rid = "resp_" + uuid.uuid4().hex[:20]
        base = {"id": rid, "object": "response", "created_at": int(time.time()), "model": req.get("model"), "output": []}
        self.sse_start()
        seq = [0]

        def ev(t, **kw):
            seq[0] += 1
            self.sse(t, {"type": t, "sequence_number": seq[0], **kw})
        ev("response.created", response={**base, "status": "in_progress"})
        ev("response.in_progress", response={**base, "status": "in_progress"})
        out = []
        if plan["text"]:
            it = {"id": "msg_" + uuid.uuid4().hex[:16], "type": "message", "role": "assistant", "status": "in_progress", "content": []}
            ev("response.output_item.added", output_index=0, item=it)
            part = {"type": "output_text", "text": "", "annotations": []}
            ev("response.content_part.added", item_id=it["id"], output_index=0, content_index=0, part=part)
            for w in re.findall(r"\S+\s*|\s+", plan["text"]):
                ev("response.output_text.delta", item_id=it["id"], output_index=0, content_index=0, delta=w)
            ev("response.output_text.done", item_id=it["id"], output_index=0, content_index=0, text=plan["text"])
            part = {**part, "text": plan["text"]}
            ev("response.content_part.done", item_id=it["id"], output_index=0, content_index=0, part=part)
            it = {**it, "status": "completed", "content": [part]}
            ev("response.output_item.done", output_index=0, item=it)
            out.append(it)
        for name, i in plan["tools"]:
            ns, _, name = name.rpartition("/")          # "!tool mcp__srv/tool {..}": namespaced tools of codex
            it = {"id": "fc_" + uuid.uuid4().hex[:16], "type": "function_call", "status": "completed",
                  "call_id": "call_" + uuid.uuid4().hex[:16], "name": name, "arguments": json.dumps(i), **({"namespace": ns} if ns else {})}
            ev("response.output_item.added", output_index=len(out), item={**it, "arguments": "", "status": "in_progress"})
            ev("response.function_call_arguments.delta", item_id=it["id"], output_index=len(out), delta=it["arguments"])
            ev("response.function_call_arguments.done", item_id=it["id"], output_index=len(out), arguments=it["arguments"])
            ev("response.output_item.done", output_index=len(out), item=it)
            out.append(it)
        u = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 10,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110}
        ev("response.completed", response={**base, "status": "completed", "output": out, "usage": u})
        self.sse_end()

    # ---- OpenAI chat completions (opencode's openai-compatible provider)
    def oai_chat(self, req):
        msgs = req.get("messages") or [{}]
        last = msgs[-1]
        if last.get("role") == "tool":
            plan = {"sleep": 0, "error": None, "tools": [], "text": "tool said: " + text_of(last.get("content"))[:2000]}
        else:
            plan = plan_from_text(text_of(last.get("content")), bool(req.get("tools")))
        if plan["sleep"]:
            time.sleep(plan["sleep"])
        if plan["error"]:
            return self.send_json(plan["error"][0], {"error": {"message": "fake", "type": plan["error"][1]}})
        base = {"id": "chatcmpl-" + uuid.uuid4().hex[:16], "created": int(time.time()), "model": req.get("model")}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        calls = [{"index": k, "id": "call_" + uuid.uuid4().hex[:12], "type": "function",
                  "function": {"name": n, "arguments": json.dumps(i)}} for k, (n, i) in enumerate(plan["tools"])]
        fin = "tool_calls" if calls else "stop"
        if not req.get("stream"):
            return self.send_json(200, {**base, "object": "chat.completion", "usage": usage, "choices": [
                {"index": 0, "finish_reason": fin, "message": {"role": "assistant", "content": plan["text"], **({"tool_calls": calls} if calls else {})}}]})
        self.sse_start()

        def ch(delta, finish=None):
            self.sse(None, {**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        ch({"role": "assistant", "content": ""})
        for w in re.findall(r"\S+\s*|\s+", plan["text"] or ""):
            ch({"content": w})
        if calls:
            ch({"tool_calls": calls})
        ch({}, fin)
        self.sse(None, {**base, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        self.chunk("data: [DONE]\n\n")
        self.sse_end()


class S(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256


def main():
    global A
    ap = argparse.ArgumentParser()
    ap.add_argument("--host", default="127.0.0.1")
    ap.add_argument("--port", type=int, default=0)
    ap.add_argument("--log")
    ap.add_argument("--dump")
    ap.add_argument("--tls-cert")
    ap.add_argument("--tls-key")
    ap.add_argument("--delay-ms", type=float, default=0)
    ap.add_argument("--expect-key")
    ap.add_argument("--verbose", action="store_true")
    ap.add_argument("--script")
    A = ap.parse_args()
    if A.script:
        with open(A.script) as f:
            SCRIPT.extend(json.load(f))
    srv = S((A.host, A.port), H)
    if A.tls_cert:
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(A.tls_cert, A.tls_key)
        srv.socket = c.wrap_socket(srv.socket, server_side=True)
    print("LISTENING", *srv.server_address[:2], flush=True)
    try:
        srv.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
