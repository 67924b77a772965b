"""A local HTTP server that speaks chat completions: what stands in for an endpoint elsewhere."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}


def answer(content=None, finish="stop", **message):
    return 200, {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE, "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}]}


def refusal(status, message, code=None):
    return status, {"error": {"message": message, "type": "error", "code": code}}


class Endpoint:
    """Answers with one reply after the other, the last again and again; a reply is (status, body) or (status, body, headers)."""

    def __init__(self, *replies, slow=0.0, owner="t"):
        self.replies, self.slow, self.asked, self.headers, self.busy, self.most = list(replies), slow, [], [], 0, 0
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def reply(_, status, body, headers=()):
                data = json.dumps(body).encode()
                _.send_response(status)
                for k, v in {"Content-Type": "application/json", "Content-Length": str(len(data)), **dict(headers)}.items():
                    _.send_header(k, v)
                _.end_headers()
                _.wfile.write(data)

            def do_GET(_):
                if _.path != "/v1/models":
                    return _.reply(*refusal(404, "not here"))
                _.reply(200, {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": owner}]})

            def do_POST(_):
                body = json.loads(_.rfile.read(int(_.headers["Content-Length"])))
                with lock:
                    self.asked.append(body)
                    self.headers.append({k.lower(): v for k, v in _.headers.items()})
                    self.busy += 1
                    self.most = max(self.most, self.busy)
                    reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
                time.sleep(self.slow)
                with lock:
                    self.busy -= 1
                _.reply(*reply)

            def log_message(_, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
