"""A stand-in for a language model: an OpenAI-compatible endpoint on a free port, whose replies a function writes."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def message(text="", *calls, refusal=None, finish="stop", tokens=(100, 7)):
    """The body of a reply; `calls` are (name, arguments)."""
    tools = [
        {"id": f"call{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    said = {
        "role": "assistant",
        "content": text or None,
        "refusal": refusal,
        **({"tool_calls": tools} if tools else {}),
    }
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return {"choices": [{"index": 0, "message": said, "finish_reason": finish}], "usage": usage}


@contextmanager
def endpoint(reply):
    """Serves until the block ends; `reply(request, headers)` gives a body, (status, bytes), or None to hang up late.

    Yields the address, with the requests that came.
    """
    stop, requests = threading.Event(), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, body))
            found = reply(body, self.headers)
            if found is None:
                stop.wait()
                return
            status, content = found if isinstance(found, tuple) else (200, json.dumps(found).encode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
