import ast
import graphlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "service").rglob("*.py"))
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
VAGUE = {"util", "utils", "helper", "helpers", "manager", "handler", "base", "common", "core", "misc"}


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def functions() -> Iterator[tuple[Path, FUNCTIONS]]:
    return ((path, node) for path in FILES for node in nodes(path) if isinstance(node, FUNCTIONS))


def imported(path: Path) -> set[str]:
    """The modules of the service that a file imports at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def test_the_files_of_the_service_are_found() -> None:
    assert ROOT / "service" / "app.py" in FILES


def test_no_file_has_more_than_300_lines() -> None:
    assert [path for path in FILES if len(path.read_text().splitlines()) > 300] == []


def test_no_function_has_more_than_50_lines() -> None:
    long = [(path, node.name) for path, node in functions() if (node.end_lineno or 0) - node.lineno + 1 > 50]
    assert long == []


def test_nothing_is_imported_inside_a_function_but_ray() -> None:
    hidden = [
        (path, ast.unparse(inner))
        for path, node in functions()
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom) and "ray" not in ast.unparse(inner).split()
    ]
    assert hidden == []


def test_no_module_and_no_class_has_a_name_that_says_nothing() -> None:
    vague = []
    for path in FILES:
        classes = [node.name for node in nodes(path) if isinstance(node, ast.ClassDef)]
        words = [word.lower() for name in classes for word in re.findall("[A-Z][a-z]*", name)]
        if VAGUE & {*words, *path.stem.split("_"), path.parent.name}:
            vague.append((path, classes))
    assert vague == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    graph = {name: imported(path) & set(names.values()) - {name} for path, name in names.items()}
    assert sum(map(len, graph.values())) > 100, "the imports are found"
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


def test_the_import_contracts_are_kept() -> None:
    found = lint_imports(ROOT)
    assert found.returncode == 0, found.stdout
    assert "0 broken" in found.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the service with its contracts, to break them in."""
    shutil.copytree(ROOT / "service", tmp_path / "service", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "planted", "contract", "chain"),
    [
        ("api/predict.py", "import sqlalchemy", "Only store speaks SQL", "service.api.predict -> sqlalchemy"),
        ("prediction/forward.py", "import torch", "Only training and worker know torch", "forward -> torch"),
        ("api/jobs.py", "from service.worker import run", "Imports point down", "service.api.jobs -> service.worker"),
        ("worker/run.py", "from service.api import jobs", "Imports point down", "service.worker.run -> service.api"),
        ("store/jobs.py", "from service.data import labels", "Imports point down", "service.store.jobs -> service.dat"),
        ("training/fit.py", "from service.store import jobs", "Imports point down", "training.fit -> service.store"),
        ("store/jobs.py", "import fastapi", "Only api knows the web framework", "service.store.jobs -> fastapi"),
        ("server.py", "import torch", "Only training and worker know torch", "service.server -> torch"),
        ("server.py", "import sqlalchemy", "Only store speaks SQL", "service.server -> sqlalchemy"),
        ("client/steps.py", "import fastapi", "Only api knows the web framework", "service.client.steps -> fastapi"),
        ("errors.py", "from service import settings", "Imports point down", "service.errors -> service.settings"),
        ("somewhere.py", "import json", "Imports point down", "service.somewhere"),
    ],
)
def test_a_planted_import_breaks_a_contract(copy: Path, file: str, planted: str, contract: str, chain: str) -> None:
    path = copy / "service" / file
    path.write_text(f"{planted}\n{path.read_text() if path.exists() else ''}")
    found = lint_imports(copy)
    assert found.returncode == 1
    verdicts = " ".join(found.stdout.split("Contracts: ")[0].split())
    assert re.search(rf"{contract}[^.]* BROKEN", verdicts)
    assert chain in found.stdout


def test_the_copy_keeps_the_contracts_before_anything_is_planted(copy: Path) -> None:
    found = lint_imports(copy)
    assert found.returncode == 0, found.stdout
