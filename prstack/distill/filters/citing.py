"""What a report points at: ids of products and pages, and web addresses; and which of it no tool result shows.

An id counts in brackets, and without them where it is long enough to be no name of a model ("P30"). Products that are recommended count
wherever they stand.
"""

from __future__ import annotations

import re

from prstack.scoring.evidence import Evidence
from prstack.scoring.report import Report

_ID = re.compile(r"(?<=[\[(])(?:[PW]\d{1,9}|B0[0-9A-Z]{8}|\d{7,13})(?=[\])])|(?<![\w$.,-])(?:P\d{3,9}|B0[0-9A-Z]{8})(?![\w-]|\.\d)", re.I)
_URL = re.compile(
    r"(?:https?://|\bwww\.)[^\s()\[\]<>\"']+|(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:com|org|net|info|biz|shop|store|io|de|fr|uk|eu|example)(?![\w-]|\.\w)(?:/[^\s()\[\]<>\"']*)?"
)
"""Addresses, and domains without a scheme."""


def unshown(report: Report, evidence: Evidence) -> tuple[list[str], int]:
    """(what is in no tool result, how much is pointed at)."""
    ids = dict.fromkeys([*report.product_ids, *map(str.upper, _ID.findall(report.text))])
    urls = dict.fromkeys(url.rstrip(".,;:!?") for url in _URL.findall(report.text))
    shown = evidence.seen_ids | evidence.pages
    missing = [i for i in ids if i not in shown and not _stands(rf"(?<![\w-]){re.escape(i)}(?![\w-])", evidence)]
    missing += [url for url in urls if not _stands(re.escape(url), evidence)]
    return missing, len(ids) + len(urls)


def _stands(pattern: str, evidence: Evidence) -> bool:
    return any(re.search(pattern, text) for text in evidence.texts.values())
