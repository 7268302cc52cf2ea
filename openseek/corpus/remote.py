"""Find files behind URLs: object stores, hubs, web servers with or without a list of their files.

All of them take the same patterns (`*` within a folder, `**/` across folders) and give names
relative to the pattern's fixed part, as folders do: the same files have the same names anywhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from openseek.corpus.http import describe
from openseek.corpus.hub import SCHEME, list_hub
from openseek.corpus.streams import access_error, is_url, open_bytes, read_whole
from openseek.errors import DataError, OpenSeekError

MAGIC = re.compile(r"[*?\[]")
REQUESTS = 16
"""Files asked for size and tag at the same time."""
LISTING_BYTES = 1_000_000_000
_LINK = re.compile(rb"""<a\s[^>]*href\s*=\s*["']([^"'?#]+)["']""", re.IGNORECASE)
FOLDERS = 10_000
"""Folders of a web server that are looked into at most: its links may be endless."""


@dataclass(frozen=True)
class Found:
    """A file as it lies there.

    Attributes:
        name: Name inside the source.
        url: Local path or URL.
        size: Bytes.
        mtime_ns: Last change of a local file, in ns.
        digest: sha256:..., etag:... or modified:..., where it is already known.
    """

    name: str
    url: str
    size: int
    mtime_ns: int = 0
    digest: str = ""


Wanted = Callable[[str], bool]


def join(root: str, path: str) -> str:
    """Put a path under a folder or URL; a URL or an absolute path stays what it is."""
    if not root or is_url(path) or path.startswith(("/", "~")):
        return path
    return f"{root.rstrip('/')}/{path}" if path else root


@functools.lru_cache(256)
def pattern(glob: str) -> re.Pattern[str]:
    """Compile a pattern of paths: `*` and `?` stay within a folder, `**/` is any number of them."""
    out = ""
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", glob):
        if piece == "**/":
            out += "(?:.*/)?"
        elif piece == "**":
            out += ".*"
        elif piece in ("*", "?"):
            out += "[^/]" + ("*" if piece == "*" else "")
        elif piece.startswith("[") and piece.endswith("]"):
            out += "[" + piece[1:-1].replace("!", "^", 1).replace("\\", r"\\") + "]"
        else:
            out += re.escape(piece)
    return re.compile(out, re.DOTALL)


def fixed_part(url: str) -> str:
    """Return the folders before a pattern's first wildcard, without the last slash."""
    found = MAGIC.search(url, url.find("://") + 3 if is_url(url) else 0)
    return url if found is None else url[: found.start()].rpartition("/")[0]


def find_remote(url: str, listing: str, wanted: Wanted) -> Iterator[Found]:
    """Find the files of a source behind a URL.

    Args:
        url: A file, a folder or a pattern.
        listing: File with the paths of a web server's files; empty: none.
        wanted: Tells whether a name belongs to the source.

    Raises:
        DataError: There is no such file, folder or listing.
        ConfigError: Access is denied.
        TransientError: The place does not answer.
    """
    try:
        if url.startswith(SCHEME):
            yield from _on_hub(url, wanted)
        elif url.startswith(("http://", "https://")):
            yield from _on_web(url, listing, wanted)
        else:
            yield from _in_store(url, wanted)
    except OpenSeekError:
        raise
    except Exception as error:
        raise access_error(error, url) from error


def _on_hub(url: str, wanted: Wanted) -> Iterator[Found]:
    base = fixed_part(url)
    files = list(list_hub(base if MAGIC.search(url) else url.rstrip("/")))
    if not MAGIC.search(url) and not files:  # a file is listed by its folder
        base = url.rpartition("/")[0]
        files = [f for f in list_hub(base) if f.url.endswith("/" + url.rpartition("/")[2])]
    fits = _within(url, base)
    for file in files:
        name = _after(file.path, base)
        if fits(name) and wanted(name):
            yield Found(name, file.url, file.size, 0, file.digest)


def _after(path: str, base: str) -> str:
    """Name a file of a hub relative to the folder of it that a URL names."""
    folder = base.removeprefix(SCHEME).removeprefix("datasets/").split("/", 2)
    return path.removeprefix(folder[2] + "/") if len(folder) > 2 else path


def _within(url: str, base: str) -> Callable[[str], bool]:
    if not MAGIC.search(url):
        return lambda name: True
    match = pattern(url[len(base) + 1 :])
    return lambda name: match.fullmatch(name) is not None


def _on_web(url: str, listing: str, wanted: Wanted) -> Iterator[Found]:
    base = fixed_part(url).rstrip("/")
    if listing:
        urls = _listed(url, listing)
    elif MAGIC.search(urlsplit(url).path) or url.endswith("/"):
        urls = _linked(base)
    else:
        base, urls = url.rpartition("/")[0], [url]
    fits = _within(url, base) if MAGIC.search(urlsplit(url).path) else lambda name: True
    chosen = {}
    for found in urls:
        name = unquote(found.removeprefix(base).lstrip("/"))
        if found.startswith(base + "/") and fits(name) and wanted(name):
            chosen[name] = found
    with ThreadPoolExecutor(REQUESTS) as pool:
        for name, (size, tag) in zip(chosen, pool.map(describe, chosen.values()), strict=True):
            yield Found(name, chosen[name], size, 0, tag)


def _listed(url: str, listing: str) -> list[str]:
    """Read the URLs of a listing; its paths are relative to the server's root, or to the URL's."""
    with open_bytes(listing) as stream:
        data = read_whole(stream, listing, LISTING_BYTES)
    if data is None:
        raise DataError(
            f"larger than {LISTING_BYTES} bytes", where=listing, mend="Is it a list of paths?"
        )
    server = urljoin(url, "/")
    base = fixed_part(url).rstrip("/") + "/"
    inside = urlsplit(base).path.lstrip("/").split("/")[0]
    urls = []
    for line in data.decode("utf-8", "replace").splitlines():
        path = line.strip()
        if path and not path.startswith("#"):
            whole = path.lstrip("/").startswith(inside + "/") if inside else True
            urls.append(path if is_url(path) else urljoin(server if whole else base, path))
    return urls


def _linked(base: str) -> list[str]:
    """Follow the links of a web server's folder pages downwards."""
    files: dict[str, None] = {}
    todo: list[str] = [base.rstrip("/") + "/"]
    seen: set[str] = set()
    while todo and len(seen) < FOLDERS:
        folder = todo.pop(0)
        if folder in seen:
            continue
        seen.add(folder)
        with open_bytes(folder) as stream:
            page = stream.read(LISTING_BYTES)
        for link in _LINK.findall(page):
            target = urljoin(folder, link.decode("utf-8", "replace"))
            if target.startswith(folder) and target != folder:
                if target.endswith("/"):
                    todo.append(target)
                else:
                    files[target] = None
    return list(files)


def _in_store(url: str, wanted: Wanted) -> Iterator[Found]:
    import fsspec

    fs, root = fsspec.core.url_to_fs(url)
    if MAGIC.search(root):
        base = fixed_part(root)
        infos = fs.find(base, detail=True)
        fits = _within(root, base)
    elif (info := fs.info(root))["type"] == "file":
        infos, base = {root: info}, root.rpartition("/")[0]
        fits = _within(root, base)
    else:
        infos, base = fs.find(root, detail=True), root
        fits = _within(root, base)
    scheme = url.split("://")[0]
    for path, info in infos.items():
        name = path.removeprefix(base).lstrip("/")
        if info.get("type") == "file" and fits(name) and wanted(name):
            full = path if is_url(path) else f"{scheme}://{path}"
            yield Found(name, full, int(info.get("size") or 0), 0, _etag(info))


def _etag(info: dict[str, Any]) -> str:
    value = info.get("ETag") or info.get("etag")
    return "etag:" + str(value).strip('"').removeprefix('W/"') if value else ""
