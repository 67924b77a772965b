"""Asking a search service, by configuration: any JSON API over HTTP, or a provider of the user's own by import path.

The key comes from an environment variable at each request and is kept nowhere; no message, log or repr holds it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from prstack.errors import UserError
from prstack.plugins import import_callable
from prstack.settings import WebConfig
from prstack.tools.live.addresses import is_loopback
from prstack.tools.live.errors import WebError
from prstack.tools.live.exchange import Deadline, open_reply
from prstack.tools.live.fetch import HEADERS
from prstack.tools.live.guard import PORTS, Resolver, system_resolver


@dataclass(frozen=True, slots=True)
class Result:
    """A search result. `published`: a date in any usual form, or empty."""

    url: str
    title: str
    snippet: str = ""
    published: str = ""


class SearchProvider(Protocol):
    """What answers a search. Best results first, at most `limit` of them; may raise WebError with a text for the model."""

    def search(self, query: str, limit: int) -> list[Result]: ...


@dataclass(slots=True)
class JsonSearch:
    """A search API: GET with the query as one parameter, results as JSON.

    The endpoint is the user's choice, so it may be of a local network; redirects are not followed, since they would carry the key
    elsewhere.
    """

    config: WebConfig
    resolver: Resolver = system_resolver
    _url: httpx.URL = field(init=False, repr=False)
    _tls: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises UserError for an endpoint or key that cannot be used."""
        try:
            self._url = httpx.URL(self.config.endpoint or "")
        except (httpx.InvalidURL, ValueError):
            raise UserError("web.endpoint: not a URL") from None
        host = self._url.host
        if self._url.scheme not in PORTS or not re.fullmatch(r"[a-z0-9._:-]+", self._url.raw_host.decode("ascii")):
            raise UserError("web.endpoint: give a URL of http or https")
        if self._url.userinfo:
            raise UserError("web.endpoint: it holds a password or user name; put the key into an environment variable and name it in web.key_env")
        if self.config.key_env:
            _key(self.config.key_env)
            if self._url.scheme == "http" and host != "localhost" and not is_loopback(host):
                raise UserError("web.endpoint: the key would travel unencrypted; use https")
        self._tls = httpx.create_ssl_context(trust_env=False)

    def search(self, query: str, limit: int) -> list[Result]:
        """Raises WebError."""
        c = self.config
        headers = {"User-Agent": HEADERS["User-Agent"], "Accept": "application/json", "Accept-Encoding": "gzip"}
        if c.key_env:
            headers[c.key_header] = _key(c.key_env)
        return self._results(self._ask(query, headers))[:limit]

    def _ask(self, query: str, headers: dict[str, str]) -> Any:
        deadline = Deadline(self.config.seconds)
        url = self._url.copy_merge_params({self.config.query_parameter: query})
        try:
            addresses = list(self.resolver(url.raw_host.decode("ascii"), deadline))
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise WebError("unreachable", "the search service has no address; go on with what you have")
        try:
            with open_reply(url, addresses, headers, deadline, self._tls) as reply:
                if reply.status in (401, 403):
                    raise WebError("search_failed", f"the search service refused the key (status {reply.status}); go on with what you have")
                if reply.status == 429:
                    raise WebError("search_failed", "the search service takes no more requests for now (status 429); go on with what you have")
                if reply.status != 200:
                    raise WebError("search_failed", f"the search service answered with status {reply.status}; try other words")
                body, cut = reply.read(self.config.max_bytes)
        except WebError as e:
            message = str(e).replace("open another result", "try again or go on with what you have")
            raise WebError(e.code, message.replace(url.host, "the search service")) from None
        if cut:
            raise WebError("search_failed", f"the search service's reply is longer than {self.config.max_bytes} bytes; try other words")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise WebError("search_failed", "the search service's reply is not JSON; try again or go on with what you have") from None

    def _results(self, reply: Any) -> list[Result]:
        c = self.config
        rows = _at(reply, c.results)
        if not isinstance(rows, list):
            raise WebError("search_failed", f"the search service's reply has no list at web.results={c.results!r}; try other words")
        found = [Result(url, title, _text(row, c.snippet), _text(row, c.published)) for row in rows if (url := _text(row, c.url)) and (title := _text(row, c.title))]
        if rows and not found:
            raise WebError("search_failed", f"no result of the search service has texts at web.url={c.url!r} and web.title={c.title!r}")
        return found


def _at(value: Any, path: str) -> Any:
    """What lies at a dotted path ("web.results", "items.0.link") of parsed JSON; the empty path is all of it, None nothing."""
    for part in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and re.fullmatch(r"[0-9]{1,4}", part) and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _text(row: Any, path: str) -> str:
    found = _at(row, path)
    return found.strip() if isinstance(found, str) else ""


def _key(name: str) -> str:
    """The key in an environment variable. Raises UserError that does not show it."""
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(f"web.key_env={name}: this environment variable is not set; it holds the key of the search service")
    if not all(" " <= c <= "~" for c in key):
        raise UserError(f"web.key_env={name}: what this environment variable holds cannot stand in a header")
    return key


def open_provider(config: WebConfig) -> SearchProvider:
    """The provider that the settings name. Raises UserError naming the key that is wrong or missing."""
    if bool(config.endpoint) == bool(config.provider):
        raise UserError("web.live=true needs one of web.endpoint=URL (a JSON search API) and web.provider=package.module:name (your own)")
    if config.endpoint:
        return JsonSearch(config)
    make = import_callable(config.provider, "web.provider")
    if config.key_env:
        _key(config.key_env)
    try:
        provider = make(config)
    except UserError:
        raise
    except Exception as e:  # the user's own code: its message may hold the key
        raise UserError(f"web.provider: {config.provider} could not be made from the settings of web ({type(e).__name__})") from None
    if not callable(getattr(provider, "search", None)):
        raise UserError(f"web.provider: {config.provider} makes something that has no method search(query, limit)")
    return provider
