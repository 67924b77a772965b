"""What goes wrong on the live web, as a code and a text that a model can act on."""

from __future__ import annotations


class WebError(Exception):
    """A search or visit that gave nothing; the text holds no key, and nothing that a server wrote but short header values.

    `code`: `refused` (by our own rules), `robots`, `timeout`, `unreachable`, `http_status`, `wrong_type`, `bad_reply` or
    `search_failed`.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
