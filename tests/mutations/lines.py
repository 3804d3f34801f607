"""Every line of every table."""

from __future__ import annotations

import importlib
import pkgutil

from tests import mutations as tables
from tests.mutations.mutation import Mutation


def by_area() -> dict[str, tuple[Mutation, ...]]:
    """The tables of all modules beside this one that have one, by the module's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(tables.__path__))
    modules = {
        name: importlib.import_module(f"{tables.__name__}.{name}") for name in names if name != "__main__"
    }
    return {name: module.MUTATIONS for name, module in modules.items() if hasattr(module, "MUTATIONS")}


def every_line() -> list[Mutation]:
    """All lines, area by area."""
    return [mutation for lines in by_area().values() for mutation in lines]
