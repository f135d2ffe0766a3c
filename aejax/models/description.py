"""Descriptions of models as JSON, from which a run's folder gives its model back without the experiment's code.

A model is a tree of dataclasses: frozen dataclasses of this project and Flax modules. Its description names each class,
as "module:name", with its fields. Reading one imports nothing but modules of this project, jax.nn, jax.numpy and
flax.linen. A class of your own has to be imported already, and nothing of Python's standard library is used, so that a
downloaded folder cannot choose which code runs.
"""

import dataclasses
import importlib
import sys
from typing import Any

import flax.linen as nn

from aejax.errors import UserError

JSON = Any

_TRUSTED = ("aejax", "flax.linen", "jax.nn", "jax.numpy")
_HOMES_OF_FUNCTIONS = ("jax.nn", "jax.numpy", "flax.linen")  # under these names, functions keep their place
_NOT_DESCRIBED = ("parent", "name")  # of a Flax module: where it hangs in another one


def describe(value: Any) -> JSON:
    """Writes a model, or any part of one, as JSON values.

    Raises:
      UserError: for a value that is no dataclass, function of a module, tuple, list, string, number or None.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value) if _described(value, f)}
        return {"class": _address(type(value)), **fields}
    if callable(value) and (address := _function_address(value)):
        return {"function": address}
    shown = " ".join(repr(value).split())[:80]  # one line, of arrays too
    raise UserError(f"a model's {type(value).__name__} {shown} cannot be written into its run's folder")


def rebuild(description: JSON) -> Any:
    """Makes the value of a description again; lists become tuples.

    Raises:
      UserError: for a description that is not one of `describe`'s, and for a class whose module is not imported.
    """
    if isinstance(description, list):
        return tuple(rebuild(item) for item in description)
    if not isinstance(description, dict):
        return description
    if set(description) == {"function"}:
        return _find(description["function"], callable)
    found = _find(description.get("class"), lambda value: isinstance(value, type) and dataclasses.is_dataclass(value))
    values = {name: rebuild(value) for name, value in description.items() if name != "class"}
    try:
        return found(**values)
    except TypeError as error:
        raise UserError(f"the description of the run's model does not fit its class: {error}") from None


def _described(value: Any, field: dataclasses.Field) -> bool:
    return field.init and not (isinstance(value, nn.Module) and field.name in _NOT_DESCRIBED)


def _address(value: Any) -> str:
    return f"{value.__module__}:{value.__qualname__}"


def _function_address(function: Any) -> str | None:
    """Finds "module:name" of a function, or None for one that no module holds, such as a closure or a lambda."""
    name = getattr(function, "__name__", "")
    homes = (*_HOMES_OF_FUNCTIONS, getattr(function, "__module__", "") or "")
    found = [home for home in homes if getattr(sys.modules.get(home), name, None) is function]
    return f"{found[0]}:{name}" if found else None


def _find(address: Any, accepts: Any) -> Any:
    module_name, _, name = address.partition(":") if isinstance(address, str) else ("", "", "")
    if any(f"{module_name}.".startswith(f"{trusted}.") for trusted in _TRUSTED):
        try:
            importlib.import_module(module_name)
        except ImportError as error:
            raise UserError(f"the run's model needs {module_name}, which cannot be imported: {error}") from None
    elif module_name.partition(".")[0] in sys.stdlib_module_names:
        raise UserError(f"the run's model uses {address!r}, which is no part of a model")
    elif module_name not in sys.modules:
        raise UserError(f"the run's model uses {address!r}: import the module that defines it, then load again")
    found = getattr(sys.modules[module_name], name, None)
    if not accepts(found):
        raise UserError(f"the run's model uses {address!r}, which is not there in this version")
    return found
