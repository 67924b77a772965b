"""Bytes of a page → text: a byte order mark, else the header's charset, else the page's own word, else UTF-8 or Windows-1252.

Only character sets of the list below are used: Python knows others (punycode, utf-7) that are slow or meant to disguise. What cannot
be decoded becomes "\ufffd".
"""

from __future__ import annotations

import codecs
import re

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_KNOWN = {
    *("ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "koi8-r", "koi8-u", "mac-roman", "tis-620"),
    *("gbk", "gb2312", "gb18030", "big5", "big5hkscs", "euc_jp", "shift_jis", "cp932", "iso2022_jp", "euc_kr", "cp949"),
    *(f"iso8859-{n}" for n in (*range(1, 12), 13, 14, 15, 16)),
    *(f"cp{n}" for n in (874, 866, *range(1250, 1259))),
}
_AS_BROWSERS = {
    **{"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "utf-16": "utf-16-le"},
    **{"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"},
}
"""What browsers take a declared charset for."""
_IN_HEADER = re.compile(r"charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([\w:.-]{1,40})", re.I | re.A)
_IN_PAGE = re.compile(rb"<(?:meta[^>]{0,300}?charset|\?xml[^>]{0,100}?encoding)\s{0,9}=\s{0,9}[\"']?\s{0,9}([\w:.-]{1,40})", re.I)
_LOOKED_AT = 4096


def decode(body: bytes, content_type: str = "") -> str:
    """The text of a page; `content_type` is the header. Never raises."""
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    name = _charset(m[1]) if (m := _IN_HEADER.search(content_type)) else ""
    if not name and (m := _IN_PAGE.search(body[:_LOOKED_AT])):
        name = _charset(m[1].decode("ascii"))
        name = "utf-8" if name.startswith("utf-16") else name  # its own declaration could be read, so it is none of UTF-16
    return body.decode(name or ("utf-8" if _is_utf8(body) else "cp1252"), "replace")


def _charset(name: str) -> str:
    """Python's name of a charset; empty for one that is not on the list."""
    try:
        known = codecs.lookup(name).name
    except LookupError:
        return ""
    return _AS_BROWSERS.get(known, known) if known in _KNOWN else ""


def _is_utf8(body: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(body)  # not the last piece: it may be cut within a character
        return True
    except UnicodeDecodeError:
        return False
