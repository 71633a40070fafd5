"""The distillation workflow."""
