"""Speed, memory and scaling of distillation: python -m benchmarks.distill."""
