"""Base models in separate processes, under this Python interpreter or another."""
