"""Own model: the class that ``--model package.module:Class`` names.

The directory in which the command is called is searched first, then what is installed,
as ``python -m`` does it. Everything that can be wrong with somebody else's module is
said in one line; ``sdkit --debug check`` shows where.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from sdkit.check import Model
from sdkit.check.model import check_model
from sdkit.errors import InvalidArgument, SdkitError


def own_model(name: str) -> Model:
    """An instance of the class that ``name`` names, as in ``package.module:Class``.

    Raises:
        InvalidArgument: there is no such module or class, it cannot be imported or made, or it
            is no model.
    """
    module_name, _, class_name = name.partition(":")
    parts = [*module_name.split("."), class_name]
    if not all(part.isidentifier() for part in parts):
        raise InvalidArgument(f"--model is {name!r}; write package.module:Class")
    module = _imported(module_name)
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, Model):
        models = [
            each
            for each, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Model) and value is not Model
        ]
        there = f"its models are {', '.join(models)}" if models else "it has no model"
        what = "is no sdkit.check.Model" if hasattr(module, class_name) else "is not there"
        raise InvalidArgument(f"{class_name} {what} in module {module_name}; {there}")
    try:
        model = found()
    except Exception as error:
        raise InvalidArgument(f"{name} cannot be made: {_told(error)}") from error
    check_model(model)
    return model


@contextmanager
def said_of(name: str) -> Iterator[None]:
    """Whatever a model of one's own raises is said with its name."""
    try:
        yield
    except SdkitError:
        raise
    except Exception as error:
        if ":" not in name:
            raise  # one of ours: a bug, and a traceback says where
        hint = "; a state must be hashable" if "unhashable" in str(error) else ""
        raise InvalidArgument(f"{name} failed: {_told(error)}{hint}") from error


def _imported(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            raise InvalidArgument(
                f"there is no module {missing}, neither in {here} nor installed"
            ) from error
        raise InvalidArgument(f"module {name} cannot be imported: {_told(error)}") from error
    except Exception as error:
        raise InvalidArgument(f"module {name} cannot be imported: {_told(error)}") from error


def _told(error: Exception) -> str:
    """The error, and the line of the last frame that is not ours."""
    where = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<"):
            where = f" ({os.path.basename(file)}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{where}"
