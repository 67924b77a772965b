"""prstack: the open training stack for e-commerce deep-research agents.

Importing this package pulls in neither ray, torch nor vllm; what needs them lies in `actors`,
`trainers`, `prstack.stages` and `prstack.distill.pipeline`.
"""

__version__ = "0.1.0"
