"""The live web for web_search and web_visit, off unless web.live is set: a search service, and a guarded page fetcher.

`web.py` joins the parts. `search.py` asks the service. `fetch.py` gets a page by way of `guard.py` (which addresses may be
visited), `addresses.py` (what a public address is), `robots.py` and `exchange.py` (one bounded GET on a checked
address). `charset.py` and `extract.py` turn its bytes into text.
"""

from prstack.tools.live.errors import WebError
from prstack.tools.live.web import LiveWeb, fingerprint

__all__ = ["LiveWeb", "WebError", "fingerprint"]
