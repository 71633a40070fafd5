"""Whether molecular dynamics with a stack conserves its energy."""

from __future__ import annotations

from elmlff_core.plugins.registry import registry
from elmlff_core.stack.stack import Stack


def why_not_conserved(stack: Stack) -> str | None:
    """Return the reason why dynamics without a thermostat does not conserve the energy of `stack`; None if it does."""
    if all(plugin.conservative for plugin in registry().meta_models_in(stack.meta_name)):
        return None
    return (
        f"the energy is not conserved: the forces of the meta-model '{stack.meta_name}' are not the gradient of an "
        f"energy. It is with these: {conserving()}"
    )


def conserving() -> str:
    """Return the names of the meta-models whose forces are the gradient of their energy."""
    return ", ".join(map(repr, registry().meta_models_with("conservative")))
