"""The live web behind web_search and web_visit: search results with ids of their own, and the pages behind these ids.

An id is "L" and 8 hex digits of the URL's hash, so that the same page has the same id in every search and process. Only pages that a
search of this object gave can be visited: a model never visits a URL that it wrote itself.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from prstack.settings import WebConfig
from prstack.tools.live.errors import WebError
from prstack.types import Page

if TYPE_CHECKING:
    from prstack.tools.live.fetch import Fetcher
    from prstack.tools.live.search import Result, SearchProvider

HITS, KNOWN = 6, 20_000
"""Results a search gives, and ids that are remembered."""


class LiveWeb:
    """Search and pages of the live web. Safe to use from several threads."""

    def __init__(self, provider: SearchProvider, fetcher: Fetcher, known: int = KNOWN):
        self._provider, self._fetcher, self._most = provider, fetcher, known
        self._known: OrderedDict[str, tuple[str, Result]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def from_config(cls, config: WebConfig) -> LiveWeb | None:
        """The live web of the settings; None when it is off. Raises UserError naming the key that is wrong or missing."""
        if not config.live:
            return None
        from prstack.tools.live.fetch import Fetcher
        from prstack.tools.live.search import open_provider

        return cls(open_provider(config), Fetcher(seconds=config.seconds, max_bytes=config.max_bytes))

    def search(self, query: str) -> list[tuple[Page, str]]:
        """Pages (without text) and snippets, best first; results that may not be visited are left out. Raises WebError."""
        from prstack.tools.live.extract import plain

        try:
            results = list(self._provider.search(query, HITS))[:HITS]
        except WebError:
            raise
        except Exception as e:  # a provider of the user's own: its message may hold its key
            raise WebError("search_failed", f"the search provider failed ({type(e).__name__}); try other words") from None
        hits: dict[str, tuple[Page, str]] = {}
        for result in results:
            if (id := self._remember(result)) and id not in hits:
                hits[id] = Page(id, result.url, plain(result.title), "", "article", date(result.published)), plain(result.snippet)
        return list(hits.values())

    def visit(self, page_id: str) -> Page | None:
        """The page behind an id of a search; None for another id. Raises WebError."""
        from prstack.tools.live.charset import decode
        from prstack.tools.live.extract import Document, extract, plain

        with self._lock:
            if page_id not in self._known:
                return None
            url, known = self._known[page_id]
            self._known.move_to_end(page_id)
        got = self._fetcher.fetch(url)
        text = decode(got.body, got.content_type)
        document = Document("", text.strip()) if got.type == "text/plain" else extract(text, got.type == "application/xhtml+xml")
        if not document.text:
            raise WebError("bad_reply", "the page has no text that can be read without a browser; open another result")
        return Page(page_id, got.url, document.title or plain(known.title), f"address: {got.url}\n{document.text}", "article", date(known.published))

    def _remember(self, result: Result) -> str:
        """The id of a result; empty for an address that is never visited, or whose id another address has."""
        try:
            url = str(self._fetcher.guard.target(result.url).url)
        except WebError:
            return ""
        id = page_id(url)
        with self._lock:
            if self._known.setdefault(id, (url, result))[0] != url:
                return ""
            self._known.move_to_end(id)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return id


def page_id(url: str) -> str:
    """The id of a URL: "L" and 8 hex digits."""
    return "L" + hashlib.sha256(url.encode()).hexdigest()[:8]


def date(text: str) -> str:
    """The year, month and day of a date as search services write them (ISO or as in mail headers); empty for any other text."""
    if m := re.match(r"(?:19|20)[0-9]{2}-[01][0-9](?:-[0-3][0-9])?(?![0-9])", text):
        return m[0]
    try:
        return email.utils.parsedate_to_datetime(text).date().isoformat()
    except (ValueError, TypeError, IndexError):
        return ""


def fingerprint(config: WebConfig) -> dict:
    """What the live web adds to the inputs of a stage that plays episodes: nothing, where it is off."""
    return {"web": {k: getattr(config, k) for k in ("endpoint", "provider")}} if config.live else {}
