"""The small checkpoints and packs that the tests of the trainers share."""

from trainers.tiny import VOCAB, make, make_packs

__all__ = ["VOCAB", "make", "make_packs"]
