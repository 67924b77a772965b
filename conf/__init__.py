"""Hydra configuration groups over the dataclasses of `prstack.settings`."""
