"""Pin what sources contain, before anything is computed from them.

A key must stand for content: the same files in another folder, or behind S3 instead of a disk, are
the same source. Digests of local files are remembered by path, size and time of last change, so
that a second look takes no longer than listing them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import (
    IngestConfig,
    SourceConfig,
    SourceFile,
    SourceList,
    SourceSnapshot,
)
from openseek.corpus.detokenizer import load_detokenizer
from openseek.corpus.fetch import SourceMissingError, downloads_root, prefetch_debs
from openseek.corpus.locate import locate
from openseek.corpus.remote import Found
from openseek.corpus.streams import CHUNK, is_url, open_bytes

log = logging.getLogger(__name__)

FETCHES = 4
"""Fetches at the same time: the clients mostly wait for the network."""
FRESH_NS = 2_000_000_000
"""A file changed less than two seconds ago may change again within one tick of its clock."""


class DigestCache:
    """Digests of local files by path, size and time of last change, kept in one JSON file.

    Args:
        path: The file; a damaged one counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, list[object]] = {}
        self.changed = False
        try:
            self.known = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            log.debug("digest_cache=%s state=empty", path)

    def digest(self, found: Found) -> str:
        """Return the sha256 of a file, from memory where it has not changed."""
        entry = self.known.get(found.url)
        if entry and entry[:2] == [found.size, found.mtime_ns]:
            return str(entry[2])
        sha = hashlib.sha256()
        with open_bytes(found.url) as stream:
            while piece := stream.read(CHUNK):
                sha.update(piece)
        digest = f"sha256:{sha.hexdigest()}"
        if not is_url(found.url) and time.time_ns() - found.mtime_ns > FRESH_NS:
            self.known[found.url] = [found.size, found.mtime_ns, digest]
            self.changed = True
        return digest

    def save(self) -> None:
        """Write the cache, if it has learned something."""
        if not self.changed:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staged = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        staged.write_text(json.dumps(self.known, sort_keys=True), encoding="utf-8")
        os.replace(staged, self.path)
        self.changed = False


def fingerprint(
    source: SourceConfig, runtime: RuntimeConfig, cache: DigestCache | None = None
) -> SourceSnapshot:
    """Find a source's files, fetching them if need be, and pin their content.

    A source that cannot be had is returned with `missing` set, unless it is `required`.

    Args:
        source: The source.
        runtime: Where downloads lie, and whether anything may be fetched.
        cache: Digests known from before.

    Raises:
        SourceMissingError: A required source cannot be had.
        DataError: A path does not exist or holds nothing that matches.
        ConfigError: Access is denied.
        TransientError: A URL does not answer.
    """
    own = cache or DigestCache(downloads_root(runtime) / "digests.json")
    try:
        if source.hub is not None:
            snapshot = _hub_snapshot(source, runtime)
        else:
            label, found = locate(source, runtime)
            snapshot = _snapshot(source, label, found, own)
    except SourceMissingError as error:
        if source.required:
            raise
        log.warning("source=%s missing=%s", source.name, error)
        return SourceSnapshot(source=source, missing=str(error))
    if cache is None:
        own.save()
    return snapshot


def snapshot_sources(
    sources: Sequence[SourceConfig], runtime: RuntimeConfig, *, fetch: bool = True
) -> list[SourceSnapshot]:
    """Pin all sources of a run, in their order; call it before the ingest step's key is made.

    Fallback sources are left out where every other source of their category and language is here.

    Args:
        sources: The configured sources.
        runtime: Where downloads lie, and whether anything may be fetched.
        fetch: False: packages that are not here yet count as missing (for a plan).
    """
    if not fetch:
        runtime = runtime.model_copy(update={"offline": True})
    cache = DigestCache(downloads_root(runtime) / "digests.json")
    main = [s for s in sources if not s.fallback]
    debs = [s for s in main if s.place == "deb"]
    with ThreadPoolExecutor(FETCHES) as pool:
        together = pool.submit(prefetch_debs, [s.deb for s in debs], runtime)
        futures = {s.name: pool.submit(fingerprint, s, runtime, cache) for s in main if not s.deb}
        together.result()
        futures |= {s.name: pool.submit(fingerprint, s, runtime, cache) for s in debs}
        taken = [futures[s.name].result() for s in main]
    gaps = {(s.source.category, s.source.lang) for s in taken if s.missing}
    here = {s.source.name: s for s in taken}
    for source in sources:
        if source.fallback and (source.category, source.lang) in gaps:
            log.warning(
                "source=%s use=fallback category=%s lang=%s",
                source.name,
                source.category,
                source.lang,
            )
            here[source.name] = fingerprint(source, runtime, cache)
    cache.save()
    return [here[s.name] for s in sources if s.name in here]


def pin(config: SourceList, runtime: RuntimeConfig) -> IngestConfig:
    """Fix the content of all sources in the ingest step's configuration; fetches what is missing.

    With `runtime.offline`, what is not on this machine counts as missing.
    """
    sources = tuple(snapshot_sources(config.sources, runtime))
    return IngestConfig(sources=sources, shard_bytes=config.shard_bytes)


def _snapshot(
    source: SourceConfig, label: str, found: list[Found], cache: DigestCache
) -> SourceSnapshot:
    files = tuple(
        SourceFile(
            name=f.name,
            size=f.size,
            digest=f.digest or cache.digest(f),
            url=f.url,
            mtime_ns=f.mtime_ns,
        )
        for f in found
    )
    listing: list[object] = [[f.name, f.size, f.digest] for f in files]
    if source.tokenizer:  # what tokens say is part of what the source is
        listing.append(load_detokenizer(source.tokenizer).digest)
    content = _sha(json.dumps(listing, ensure_ascii=True))
    return SourceSnapshot(source=source, label=label, content=content, files=files)


def _hub_snapshot(source: SourceConfig, runtime: RuntimeConfig) -> SourceSnapshot:
    from openseek.corpus.readers.huggingface import count_shards, resolve_revision
    from openseek.errors import TransientError

    hub = source.hub
    assert hub is not None
    if runtime.offline:
        raise SourceMissingError(
            "runtime.offline is set",
            where=f"hub {hub.id}",
            mend="Allow the network, or give a local `path`.",
        )
    try:
        if os.path.isdir(hub.id):
            local = source.model_copy(update={"path": (hub.id,), "hub": None, "files": ("*",)})
            _, found = locate(local, runtime)
            revision = _snapshot(
                local, "", found, DigestCache(downloads_root(runtime) / "digests.json")
            ).content
        else:
            revision = resolve_revision(hub)
        shards = count_shards(hub, revision)
    except TransientError as error:
        raise SourceMissingError(error.what, where=error.where, mend=error.mend) from error
    content = _sha(json.dumps([hub.subset, hub.split, revision, shards]))
    label = f"hub:{os.path.basename(hub.id) if os.path.isdir(hub.id) else hub.id}@{revision[:40]}"
    files = tuple(
        SourceFile(name=f"part-{i:05d}", size=1, digest=f"{i}/{shards}", url=revision)
        for i in range(shards)
    )
    return SourceSnapshot(source=source, label=label, content=content, files=files)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
