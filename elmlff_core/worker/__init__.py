"""Base force fields in processes of their own, under this Python interpreter or another."""
