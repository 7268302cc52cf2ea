"""Files of a Hugging Face hub: `hf://datasets/OWNER/NAME[@REVISION]/PATH`.

A model's URL has no `datasets/`.
Listed by the hub's client, read over HTTP with its token. `$HF_ENDPOINT` names a mirror. A branch
is pinned to its commit when files are listed, so that a run reads one version throughout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

from openseek.corpus.http import open_http
from openseek.errors import ConfigError

SCHEME = "hf://"
_KINDS = {"datasets/": "dataset", "spaces/": "space"}


@dataclass(frozen=True)
class HubPath:
    """A place in a repository of a hub.

    Attributes:
        kind: dataset, space or model.
        repo: Its id, owner/name.
        revision: Branch, tag or commit.
        path: File or folder in it; empty: all of it.
    """

    kind: str
    repo: str
    revision: str
    path: str

    @classmethod
    def parse(cls, url: str) -> HubPath:
        """Take a URL apart.

        Raises:
            ConfigError: It has no owner or no name.
        """
        rest = url.removeprefix(SCHEME)
        prefix = next((p for p in _KINDS if rest.startswith(p)), "")
        parts = rest.removeprefix(prefix).split("/", 2)
        if len(parts) < 2 or not all(parts[:2]):
            raise ConfigError(
                "not the URL of a hub", where=url, mend="Write hf://datasets/owner/name/path."
            )
        name, _, revision = parts[1].partition("@")
        # a revision such as refs/convert/parquet has its slashes as %2F
        revision = revision.replace("%2F", "/") or "main"
        path = parts[2] if len(parts) > 2 else ""
        return cls(_KINDS.get(prefix, "model"), f"{parts[0]}/{name}", revision, path)

    def url(self, path: str) -> str:
        """Return the hf:// URL of a file of the same repository and revision."""
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        revision = self.revision.replace("/", "%2F")
        return f"{SCHEME}{prefix}{self.repo}@{revision}/{path}"

    def web(self) -> str:
        """Return the address of the file."""
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        revision = quote(self.revision, safe="")
        return f"{endpoint()}/{prefix}{self.repo}/resolve/{revision}/{quote(self.path)}"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository: its URL with the commit, its size and its digest."""

    path: str
    url: str
    size: int
    digest: str


def endpoint() -> str:
    """Return the hub's address."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def open_hub(url: str) -> BinaryIO:
    """Open a file of a hub; what goes wrong is raised as by `open_http`."""
    from huggingface_hub import get_token

    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return open_http(HubPath.parse(url).web(), headers)


def list_hub(url: str) -> Iterator[HubFile]:
    """List the files of a repository, or of a folder of it, with their digests.

    Files in large file storage have their sha256, so that a copy on a disk is the same content.

    Raises:
        PermissionError: Access is denied, or has to be asked for.
        FileNotFoundError: There is no such repository, revision or folder.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    place = HubPath.parse(url)
    api = HfApi(endpoint=endpoint())
    try:
        info = api.repo_info(place.repo, revision=place.revision, repo_type=place.kind, timeout=20)
        pinned = HubPath(place.kind, place.repo, str(info.sha), place.path)
        for entry in api.list_repo_tree(
            place.repo, place.path or None, recursive=True, revision=pinned.revision,
            repo_type=place.kind,
        ):  # fmt: skip
            size = getattr(entry, "size", None)
            if size is not None:  # folders have none
                lfs = getattr(entry, "lfs", None)
                digest = f"sha256:{lfs.sha256}" if lfs else f"etag:{getattr(entry, 'blob_id', '')}"
                yield HubFile(entry.path, pinned.url(entry.path), int(size), digest)
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        if code in (401, 403):
            raise PermissionError(
                f"{place.repo} is private, or access must be asked for on its page; then set "
                f"$HF_TOKEN ({error})"
            ) from error
        if code == 404:
            raise FileNotFoundError(str(error).split("\n")[0]) from error
        raise
