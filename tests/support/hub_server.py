"""A stand-in for the Hugging Face Hub: the part of its HTTP API that downloads and commits use.

Repositories are lists of commits (id, {path: bytes}) in memory; large files go through LFS.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

LARGE = (".h5", ".zip")


@dataclass
class Hub:
    """The state of the server.

    Attributes:
        token: the only one that may write, or read private repositories.
        requests: (method, path) of every request.
        tokens: values of the Authorization header.
    """

    token: str = "hf_stand_in"
    commits: dict = field(default_factory=dict)
    private: set = field(default_factory=set)
    blobs: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    tokens: set = field(default_factory=set)
    url: str = ""

    def commit(self, repository, files):
        """Add a commit; its id."""
        history = self.commits.setdefault(repository, [])
        content = {**(history[-1][1] if history else {}), **files}
        digest = hashlib.sha1(f"{repository}{len(history)}".encode()).hexdigest()
        history.append((digest, content))
        return digest

    def at(self, repository, revision):
        """(id, files) of a revision, or None."""
        history = self.commits.get(repository) or []
        if revision == "main" and history:
            return history[-1]
        return next((each for each in history if each[0].startswith(revision)), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self):
        return self.server.hub

    def log_message(self, *arguments):
        pass

    def _send(self, status, content=b"", headers=None, *, body=True):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _refuse(self, code, body=True):
        status = 401 if code == "GatedRepo" else 404
        self._send(status, {"error": code}, {"X-Error-Code": code}, body=body)

    def _begin(self):
        self.hub.requests.append((self.command, unquote(self.path)))
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.tokens.add(sent)
        length = int(self.headers.get("Content-Length") or 0)
        self.content = self.rfile.read(length)
        return unquote(self.path.partition("?")[0]).strip("/").split("/"), sent

    def _readable(self, repository, sent):
        known = repository in self.hub.commits
        return known and (repository not in self.hub.private or sent == self.hub.token)

    def do_GET(self, *, body=True):
        parts, sent = self._begin()
        if parts[:2] == ["api", "agent-harnesses"]:
            return self._send(404, {"error": "not found"}, body=body)
        if parts[:2] == ["api", "models"]:
            repository = "/".join(parts[2:4])
            revision = parts[5] if len(parts) > 5 else "main"
            if not self._readable(repository, sent):
                return self._refuse("RepoNotFound", body)
            found = self.hub.at(repository, revision)
            if found is None:
                return self._refuse("RevisionNotFound", body)
            if parts[4:5] == ["tree"]:
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": found[0]}
                    for name, data in found[1].items()
                ]
                return self._send(200, tree, {"Content-Type": "application/json"}, body=body)
            siblings = [{"rfilename": name} for name in found[1]]
            content = {"id": repository, "sha": found[0], "siblings": siblings, "private": False}
            return self._send(200, content, {"Content-Type": "application/json"}, body=body)
        repository, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if not self._readable(repository, sent):
            return self._refuse("RepoNotFound", body)
        found = self.hub.at(repository, revision)
        if found is None:
            return self._refuse("RevisionNotFound", body)
        if name not in found[1]:
            return self._refuse("EntryNotFound", body)
        data = found[1][name]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": found[0]}
        return self._send(200, data, headers, body=body)

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_PUT(self):
        parts, _ = self._begin()
        self.hub.blobs[parts[-1]] = self.content
        self._send(200)

    def do_POST(self):
        parts, sent = self._begin()
        if sent != self.hub.token:
            return self._send(401, {"error": "Invalid username or password."})
        if parts == ["api", "validate-yaml"]:
            text = json.loads(self.content)["content"]
            missing = [] if text.startswith("---") else [{"message": "empty or missing yaml"}]
            return self._send(200, {"errors": [], "warnings": missing})
        if parts == ["api", "repos", "create"]:
            asked = json.loads(self.content)
            repository = f"{asked['organization']}/{asked['name']}"
            if repository in self.hub.commits:
                return self._send(409, {"error": "exists", "url": f"{self.hub.url}/{repository}"})
            self.hub.commits[repository] = []
            self.hub.commit(repository, {".gitattributes": b""})
            if asked.get("visibility") == "private" or asked.get("private"):
                self.hub.private.add(repository)
            return self._send(200, {"url": f"{self.hub.url}/{repository}"})
        if parts[-3:] == ["lfs", "objects", "batch"]:
            objects = [
                {**item, "actions": {"upload": {"href": f"{self.hub.url}/blob/{item['oid']}"}}}
                for item in json.loads(self.content)["objects"]
            ]
            return self._send(200, {"transfer": "basic", "objects": objects})
        if parts[4] == "preupload":
            files = [
                {
                    "path": item["path"],
                    "uploadMode": "lfs" if item["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for item in json.loads(self.content)["files"]
            ]
            return self._send(200, {"files": files})
        assert parts[4] == "commit", parts
        repository, files = "/".join(parts[2:4]), {}
        for line in map(json.loads, self.content.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        digest = self.hub.commit(repository, files)
        url = f"{self.hub.url}/{repository}/commit/{digest}"
        return self._send(200, {"success": True, "commitOid": digest, "commitUrl": url})


@contextmanager
def hub_server():
    """A running stand-in; yields its state."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
