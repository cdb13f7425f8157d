"""The index of backend "rag": which files are read, how they become passages, where the index is kept.

A passage is what stands under one heading, cut at paragraphs where it is longer than 1,500 characters.
Headings within fenced code are text. With a `cache` file the index is used again as long as path, size and
time of change of every file and the rules here (FORMAT) are the same.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

from intertie_node.config import RagTable

FORMAT: Final = 1
"""Rises when the same files would give another index."""
MAX_PASSAGE: Final = 1_500
"""Characters."""

SCHEMA: Final = """
CREATE VIRTUAL TABLE passage USING fts5(
  path UNINDEXED, heading, text, tokenize = "porter unicode61 remove_diacritics 2"
);
CREATE TABLE about (fingerprint TEXT NOT NULL);
"""
SEARCH: Final = """
SELECT path, heading, text, round(-bm25(passage, 0.0, 2.0, 1.0), 6) FROM passage
WHERE passage MATCH ? ORDER BY bm25(passage, 0.0, 2.0, 1.0), rowid LIMIT ?
"""

_log = logging.getLogger(__name__)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


class TooMuchError(Exception):
    """The folder holds more than the configuration allows."""


class File(NamedTuple):
    """A file to be read: path relative to the folder, size in bytes, time of change in nanoseconds."""

    path: str
    size: int
    changed: int


def open_index(table: RagTable) -> sqlite3.Connection:
    """The index of the table's folder, from its cache if that is fresh; may be used from any thread.

    Raises: OSError, sqlite3.Error, TooMuchError.
    """
    files = list_files(table)
    if table.cache is None:
        database = _connect(":memory:")
        _build(database, table, files)
        return database
    wanted = fingerprint(files)
    if not _is_fresh(table.cache, wanted):
        _write_cache(table.cache, table, files)
    return _connect(str(table.cache))


def list_files(table: RagTable) -> list[File]:
    """Files of the folder that match `glob`, sorted. Raises: OSError, TooMuchError."""
    if not table.folder.is_dir():
        raise NotADirectoryError(f"{table.folder} is not a folder")
    files: list[File] = []
    for file in _walk(table.folder, ""):
        if not fnmatchcase(file.path, table.glob):
            continue
        if file.size > table.max_file_bytes:
            _log.warning("%s: %s is left out: %d bytes", table.offer, file.path, file.size)
            continue
        files.append(file)
        if len(files) > table.max_files:
            raise TooMuchError(f"more than max_files = {table.max_files} files match {table.glob!r}")
    return sorted(files)


def _walk(folder: Path, prefix: str) -> Iterator[File]:
    """Regular files below `folder`; neither links nor hidden files."""
    with os.scandir(folder) as items:
        for item in items:
            if item.name.startswith("."):
                continue
            if item.is_dir(follow_symlinks=False):
                yield from _walk(folder / item.name, f"{prefix}{item.name}/")
            elif item.is_file(follow_symlinks=False):
                status = item.stat(follow_symlinks=False)
                yield File(prefix + item.name, status.st_size, status.st_mtime_ns)


def read_text(folder: Path, path: str, limit: int) -> str:
    """Text of a regular file, at most `limit` bytes; never through a link. Raises: OSError."""
    handle = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is not a regular file")
        return file.read(limit).decode("utf-8", errors="replace")


def fingerprint(files: list[File]) -> str:
    """Changes when the index would."""
    return hashlib.sha256(repr((FORMAT, MAX_PASSAGE, files)).encode()).hexdigest()


def passages(text: str) -> Iterator[tuple[str, str]]:
    """(heading, text) of each passage, in order."""
    for heading, section in _sections(text):
        for piece in _pieces(section):
            yield heading, piece


def _sections(text: str) -> Iterator[tuple[str, str]]:
    heading, lines, fence = "", list[str](), ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        title = None if fence else _HEADING.match(line)
        if title:
            yield heading, "\n".join(lines)
            heading, lines = title[1], []
        else:
            lines.append(line)
    yield heading, "\n".join(lines)


def _pieces(section: str) -> Iterator[str]:
    """The section cut at paragraphs, and within a paragraph only where it alone is too long."""
    piece = ""
    for paragraph in re.split(r"\n\s*\n", section.strip()):
        if piece and len(piece) + len(paragraph) + 2 > MAX_PASSAGE:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
        while len(piece) > MAX_PASSAGE:
            yield piece[:MAX_PASSAGE]
            piece = piece[MAX_PASSAGE:]
    if piece.strip():
        yield piece


def _connect(place: str) -> sqlite3.Connection:
    return sqlite3.connect(place, check_same_thread=False)


def _build(database: sqlite3.Connection, table: RagTable, files: list[File]) -> None:
    database.executescript(SCHEMA)
    with database:
        for file in files:
            try:
                text = read_text(table.folder, file.path, table.max_file_bytes)
            except OSError as error:
                _log.warning("%s: %s is left out: %s", table.offer, file.path, error)
                continue
            rows = ((file.path, heading, piece) for heading, piece in passages(text))
            database.executemany("INSERT INTO passage VALUES (?, ?, ?)", rows)
        database.execute("INSERT INTO about VALUES (?)", (fingerprint(files),))


def _is_fresh(cache: Path, wanted: str) -> bool:
    if not cache.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{cache.absolute().as_uri()}?mode=ro", uri=True)) as database:
            row: object = database.execute("SELECT fingerprint FROM about").fetchone()
            return row == (wanted,)
    except sqlite3.Error:
        return False


def _write_cache(cache: Path, table: RagTable, files: list[File]) -> None:
    """Build beside the old cache and put it in its place, so that a crash leaves one of the two."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    beside = cache.with_name(f"{cache.name}.{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    try:
        with closing(_connect(str(beside))) as database:
            _build(database, table, files)
        beside.replace(cache)
    finally:
        beside.unlink(missing_ok=True)
