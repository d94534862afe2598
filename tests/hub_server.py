"""A small server in this process that speaks as much of the Hub's protocol as uploads and downloads of models need.

    with FakeHub() as hub:
        subprocess.run([sys.executable, "-c", program], env=hub.environment(tmp_path), check=True)
        assert "config.json" in hub.files("me/model")

The endpoint is read when huggingface_hub is imported: use a subprocess with `hub.environment(...)`. Repositories lie
in memory; every commit is kept, so a revision may be `main` or the id of a commit. Files are stored as regular ones,
which avoids LFS and Xet.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

USER = "me"


class FakeHub:
    """
    Hub with no repositories, listening on the loopback while its context is open.

    `endpoint` is its URL; `requests` the method, path and status of what was asked, in order; `unknown` those of them
    that it has no answer to.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.unknown: list[tuple[str, str]] = []

    def __enter__(self) -> "FakeHub":
        hub = self
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (HubHandler,), {"hub": hub}))
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """Environment of a subprocess whose Hub this is, with its caches in the folder `home`."""
        ours = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_any",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return {**os.environ, **ours}

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Content of the files of a repository by path; KeyError if there is no such repository or revision."""
        commits = self.commits[repo_id]
        return commits[list(commits)[-1] if revision == "main" else revision]

    def head(self, repo_id: str, revision: str = "main") -> str:
        """Id of the commit that a revision is."""
        commits = self.commits[repo_id]
        return list(commits)[-1] if revision == "main" else revision

    def commit(self, repo_id: str, files: Mapping[str, bytes]) -> str:
        """Make `files` the content of a repository, created if need be; returns the id of the commit."""
        commits = self.commits.setdefault(repo_id, {})
        oid = hashlib.sha1(f"{repo_id} {len(commits)}".encode()).hexdigest()
        commits[oid] = dict(files)
        return oid


class HubHandler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.route()

    do_HEAD = do_POST = do_GET

    def route(self) -> None:
        """Answer by the first route whose pattern is the path."""
        # Read in any case: what is left of a body would be taken for the next request of this connection.
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.path = unquote(urlsplit(self.path).path)
        repo, revision = r"(?P<repo>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
        routes = (
            ("POST", "/api/repos/create", self.create),
            ("POST", "/api/validate-yaml", self.validate_yaml),
            ("GET", "/api/whoami-v2", self.whoami),
            ("POST", f"/api/models/{repo}/preupload/{revision}", self.preupload),
            ("POST", f"/api/models/{repo}/commit/{revision}", self.commit),
            ("GET", f"/api/models/{repo}/tree/{revision}(?:/(?P<folder>.*))?", self.tree),
            ("GET", f"/api/models/{repo}(?:/revision/{revision})?", self.info),
            ("GET HEAD", f"/{repo}/resolve/{revision}/(?P<file>.+)", self.resolve),
        )
        for methods, pattern, answer in routes:
            match = re.fullmatch(pattern, self.path)
            if match and self.command in methods.split():
                found = {name: value for name, value in match.groupdict().items() if value is not None}
                if "repo" in found and found["repo"] not in self.hub.commits:
                    return self.refuse(404, "RepoNotFound", f"Repository {found['repo']} not found.")
                if found.get("revision", "main") not in ("main", *self.hub.commits.get(found.get("repo", ""), ())):
                    return self.refuse(404, "RevisionNotFound", f"Invalid rev id {found['revision']}.")
                return answer(**found)
        self.hub.unknown.append((self.command, self.path))
        return self.refuse(404, "", f"This fake Hub does not know {self.command} {self.path}.")

    def create(self) -> None:
        request = json.loads(self.body)
        repo_id = f"{request.get('organization') or USER}/{request['name']}"
        url = f"{self.hub.endpoint}/{repo_id}"
        if repo_id in self.hub.commits:
            return self.answer({"error": "You already created this model repo", "url": url}, status=409)
        self.hub.commit(repo_id, {".gitattributes": b""})
        return self.answer({"url": url, "id": repo_id, "name": repo_id})

    def validate_yaml(self) -> None:
        self.answer({"errors": [], "warnings": []})

    def whoami(self) -> None:
        self.answer({"type": "user", "name": USER, "orgs": [], "auth": {"type": "access_token"}})

    def preupload(self, repo: str, revision: str) -> None:
        files = json.loads(self.body)["files"]
        modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
        self.answer({"files": modes})

    def commit(self, repo: str, revision: str) -> None:
        files = dict(self.hub.files(repo, revision))
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
            elif operation["key"] == "deletedFolder":
                files = {path: content for path, content in files.items() if not path.startswith(value["path"])}
            elif operation["key"] != "header":
                return self.refuse(400, "", f"This fake Hub takes no {operation['key']}.")
        oid = self.hub.commit(repo, files)
        return self.answer({
            "commitUrl": f"{self.hub.endpoint}/{repo}/commit/{oid}",
            "commitOid": oid,
            "success": True,
        })

    def tree(self, repo: str, revision: str, folder: str = "") -> None:
        files = self.hub.files(repo, revision)
        inside = {path: content for path, content in files.items() if path.startswith(folder)}
        if folder and not inside:
            return self.refuse(404, "EntryNotFound", f"No folder {folder}.")
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in inside.items()
        ]
        return self.answer(entries)

    def info(self, repo: str, revision: str = "main") -> None:
        siblings = [{"rfilename": path} for path in self.hub.files(repo, revision)]
        about = {"id": repo, "modelId": repo, "private": False, "tags": [], "downloads": 0, "likes": 0}
        self.answer({**about, "sha": self.hub.head(repo, revision), "siblings": siblings})

    def resolve(self, repo: str, revision: str, file: str) -> None:
        headers = {"X-Repo-Commit": self.hub.head(repo, revision)}
        content = self.hub.files(repo, revision).get(file)
        if content is None:
            return self.refuse(404, "EntryNotFound", f"No file {file}.", headers)
        return self.answer(content, headers={**headers, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    def answer(self, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send bytes as they are, anything else as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.hub.requests.append((self.command, self.path, status))
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Send an error as the Hub does, its code in a header of its own."""
        self.answer(
            {"error": message},
            status=status,
            headers={"X-Error-Code": code, "X-Error-Message": message, **(headers or {})},
        )

    def log_message(self, *arguments: object) -> None:
        """Nothing: the standard one writes every request to stderr."""
