"""What looks like a secret, and taking it out of what is written down.

Secrets come from the environment or from a file that is named; no setting holds one. This is the second line: a value that
got into a setting all the same is replaced before a configuration is written, shown or sent.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "(hidden)"
_NAME = r"api_?key|access_?key|secret|password|passwd|token|credential|authorization"
_KEY = re.compile(rf"({_NAME})$", re.IGNORECASE)
_USERINFO = re.compile(r"(\w+://)[^/@\s]+@")
_PARAMETER = re.compile(rf"([?&][\w-]*(?:{_NAME}|key)=)[^&\s#]+", re.IGNORECASE)


def names_secret(key: str) -> bool:
    """Whether a setting or environment variable of this name would hold a secret: `WANDB_API_KEY`, `hf_token`."""
    return bool(_KEY.search(key))


def without_secrets(config: Any, key: str = "") -> Any:
    """A configuration with the values of secret-looking keys, and user names and keys in URLs, replaced."""
    if isinstance(config, dict):
        return {k: without_secrets(v, str(k)) for k, v in config.items()}
    if isinstance(config, list | tuple):
        return [without_secrets(v, key) for v in config]
    if isinstance(config, str) and config:
        return HIDDEN if names_secret(key) else _PARAMETER.sub(rf"\1{HIDDEN}", _USERINFO.sub(rf"\1{HIDDEN}@", config))
    return config
