"""A secret that got into a setting is in nothing that is written down."""

from __future__ import annotations

import pytest

from prstack.secrets import HIDDEN, names_secret, without_secrets
from prstack.store.rundir import Manifest, Stage


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "apiKey", "Authorization"])
def test_names_of_secrets(name):
    assert names_secret(name)


@pytest.mark.parametrize("name", ["key_env", "tokenizer", "max_tokens", "NCCL_IB_HCA", "base_url", "key_header"])
def test_names_that_only_look_like_it(name):
    assert not names_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:planted@host/v1", f"https://{HIDDEN}@host/v1"),
        ("https://host/search?q=a&api_key=planted&n=5", f"https://host/search?q=a&api_key={HIDDEN}&n=5"),
        ("https://host/search?subscription-key=planted#top", f"https://host/search?subscription-key={HIDDEN}#top"),
        ("https://host/search?q=monkey&keyword=b", "https://host/search?q=monkey&keyword=b"),
    ],
)
def test_what_urls_carry(text, shown):
    assert without_secrets({"url": text}) == {"url": shown}


def test_no_manifest_holds_a_secret_and_a_stage_is_resumed_all_the_same(tmp_path):
    inputs, settings = {"engine": {"vllm_args": {"hf_token": "planted"}}, "n": 1}, {"base_url": "https://me:planted@host"}
    Stage(tmp_path / "s", "s", inputs, settings)
    assert "planted" not in (tmp_path / "s" / "manifest.json").read_text()
    again = Stage(tmp_path / "s", "s", inputs, settings)
    again.finish({}, "")
    assert again.resumed and "planted" not in (tmp_path / "s" / "manifest.json").read_text()
    assert Manifest.load(tmp_path / "s").config == {"base_url": f"https://{HIDDEN}@host"}
