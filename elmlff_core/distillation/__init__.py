"""Distillation: one fast model, the student, that learns from a stack."""
