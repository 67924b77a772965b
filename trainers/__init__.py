"""Training: Megatron-core models made from Hugging Face checkpoints, trained by a group of ranks, exported again.

Importing the package puts the CPU import hook in place (`trainers.cpu`), so that every module below may import
`megatron.core` plainly, on a GPU or without one.
"""

from trainers.cpu import install

install()
