"""The house stays tidy: what every file of the package owes to its readers.

Import directions are import-linter's (``make check``); this file holds what no
ready-made tool knows: pure cores, short functions, lessons, reading orders.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import sdkit

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "sdkit").rglob("*.py"))
OURS = FILES + sorted(
    path for folder in ("tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["sdkit"]
SHELLS: dict[str, str] = SETTINGS["shells"]
LONG_FILES: dict[str, str] = SETTINGS["long_files"]
IN_CIRCLES: dict[str, str] = SETTINGS["circles"]

FUNCTION_LINES_MAX = 60
FILE_LINES_ASK = 400  # a longer file has to answer whether it teaches two things
FILE_LINES_MAX = 600
NOT_IN_A_CORE = {
    "asyncio",
    "socket",
    "ssl",
    "time",
    "os",
    "secrets",
    "threading",
    "subprocess",
    "selectors",
    "signal",
    "concurrent",
    "multiprocessing",
    "tempfile",
    "shutil",
    "uuid",
    "fcntl",
}
MARKERS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_core_reaches_for_no_clock_socket_disk_or_task(path: Path) -> None:
    # `smallest.py` shows an idea at work, and has no room around it to do so.
    if name_of(path) in SHELLS or path.name == "smallest.py":
        return
    reached = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            reached += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            reached.append(node.module)
        elif isinstance(node, ast.Call):
            reached += impure_call(node.func)
    impure = sorted({name for name in reached if name.split(".")[0] in NOT_IN_A_CORE | {"open()"}})
    assert not impure, f"a core uses {impure}; is it a shell? then say why in pyproject.toml"


def test_no_file_needs_the_smallest_version_of_its_room() -> None:
    for path in FILES:
        names = [node.names for node in ast.walk(tree_of(path)) if isinstance(node, ast.ImportFrom)]
        modules = [getattr(node, "module", "") for node in ast.walk(tree_of(path))]
        imported = {alias.name for group in names for alias in group} | set(filter(None, modules))
        assert not any("smallest" in name.split(".") for name in imported), name_of(path)


def impure_call(function: ast.expr) -> list[str]:
    """``open(...)``, and ``random.random()`` or another draw from the module's own generator."""
    if isinstance(function, ast.Name) and function.id == "open":
        return ["open()"]
    if (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "random"
        and function.attr != "Random"
    ):
        return ["os.random"]
    return []


def test_every_shell_exists_and_has_its_reason() -> None:
    for name, reason in SHELLS.items():
        assert (ROOT / name).is_file(), f"{name} is listed as a shell and is not there"
        assert len(reason) > 10, f"{name} needs a reason"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_opens_with_its_lesson(path: Path) -> None:
    lesson = ast.get_docstring(tree_of(path))
    assert lesson, "no module docstring"
    assert (
        lesson.split("\n")[0].rstrip().endswith((".", "?", ":", ",", "…")) or "\n\n" not in lesson
    )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (node.end_lineno or 0) - first[0].lineno + 1
            # A spec is a function of a factory that holds a class: measure what is inside it.
            if not any(isinstance(child, ast.ClassDef) for child in node.body):
                assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_teaches_one_thing(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES_MAX, f"{lines} lines: split it"
    if name_of(path) in LONG_FILES:
        assert lines > FILE_LINES_ASK, "it has become short: take it off the list of long files"
    else:
        assert lines <= FILE_LINES_ASK, f"{lines} lines: split it, or give the reason"


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_nothing_is_left_for_later(path: Path) -> None:
    found = MARKERS.search(path.read_text(encoding="utf-8"))
    assert found is None, f"{found}"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name == "__init__.py" and path.parent.name != "sdkit"],
    ids=name_of,
)
def test_every_file_of_a_room_is_in_its_reading_order(path: Path) -> None:
    lesson = ast.get_docstring(tree_of(path)) or ""
    for other in path.parent.glob("*.py"):
        if other.name != "__init__.py":
            assert re.search(rf"^    .*\b{other.stem}\b", lesson, re.MULTILINE), (
                f"the reading order of {path.parent.name} does not name {other.stem}"
            )
    packages = {other.parent for other in path.parent.rglob("*.py")} - {path.parent}
    assert not packages, "a room has no rooms in it; data may have a folder"


def test_no_two_files_import_each_other_not_even_for_their_types() -> None:
    modules = {module_name(path): path for path in FILES if path.name != "__init__.py"}
    imports = {name: imported_by(path) & modules.keys() for name, path in modules.items()}
    circles = []
    while free := [name for name, needed in imports.items() if not needed & imports.keys()]:
        for name in free:
            del imports[name]
    while users := imports.keys() - set().union(*imports.values()):  # these only import a circle
        for name in users:
            del imports[name]
    circles = sorted(imports.keys() - IN_CIRCLES.keys())
    assert not circles, f"these import each other: {circles}"
    assert IN_CIRCLES.keys() <= imports.keys(), "a circle is gone: take it off the list"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported_by(path: Path) -> set[str]:
    """The modules that a file names in its imports."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_public_names_change_only_on_purpose() -> None:
    """A change here needs a line in CHANGELOG.md. ``make names`` rewrites the list."""
    listed = (ROOT / "tests" / "public_names.txt").read_text().splitlines()
    assert listed == public_names()


def public_names() -> list[str]:
    """``room.Name`` for all that the rooms export, and the floor 0 files whole."""
    found: list[str] = []
    for info in pkgutil.iter_modules(sdkit.__path__, "sdkit."):
        if info.name in {"sdkit.cli", "sdkit.rooms"}:
            continue
        module = importlib.import_module(info.name)
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == info.name
        ]
        found += [f"{info.name}.{name}" for name in names]
    return sorted(found)


if __name__ == "__main__":
    (ROOT / "tests" / "public_names.txt").write_text("\n".join(public_names()) + "\n")
