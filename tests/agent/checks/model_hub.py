"""A model hub of one model on a loopback port, with what huggingface_hub asks of one."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextlib.contextmanager
def serve_model(name: str, folder: Path) -> Iterator[str]:
    """Serve the model in `folder` under `name` ("acme/tiny"); yields the address for HF_ENDPOINT."""

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = urlsplit(self.path).path
            file = folder / Path(path).name
            if path in {f"/api/models/{name}", f"/api/models/{name}/revision/main"}:
                body = self._description()
            elif path.startswith(f"/{name}/resolve/") and file.is_file():
                body = file.read_bytes()
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def _description(self) -> bytes:
            siblings = [{"rfilename": file.name} for file in folder.iterdir()]
            return json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}).encode()

        def log_message(self, *_: object) -> None:
            """A test's output is its verdict."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
