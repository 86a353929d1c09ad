"""Imports point down: a file imports from its own package and from lower ones, and nothing from a door above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vaekit

ROOT = Path(vaekit.__file__).parent
LAYERS = [
    "errors",
    "files",
    "data",
    "networks",
    "distributions",
    "conditional",
    "priors",
    "objectives",
    "optimizers",
    "updates",
    "models",
    "training",
    "evaluation",
    "inference",
    "records",
    "runs",
    "estimators",
    "report",
    "comparison",
    "cli",
]
TOP = ("__init__", "__main__")
"""The package's own face and `python -m vaekit`: they may import everything."""

FILES = sorted(ROOT.rglob("*.py"))


def imported(tree, package):
    """Names below the package of everything that is imported anywhere in a file, at its head or in a function."""
    faces = {
        a.asname or "vaekit" for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names if a.name == "vaekit"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = full_names(node, package)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in faces:
            names = [f"vaekit.{node.attr}"]  # after a bare `import vaekit`
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("vaekit."))


def full_names(node, package):
    """`from a.b import c` may import the module a.b.c."""
    base = package[: len(package) + 1 - node.level] if node.level else []
    return [".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names]


def violations(source, parts):
    """What a file at `parts` below the package imports from above itself."""
    own, package = parts[0], ["vaekit", *parts[:-1]]
    if own in TOP:
        return []
    targets = set(imported(ast.parse(source), package)) - {own, "__version__"}
    # what is no layer is a name of the package's face, which stands above all of them
    return sorted(t for t in targets if t not in LAYERS or LAYERS.index(t) > LAYERS.index(own))


def parts_of(file):
    return file.relative_to(ROOT).with_suffix("").parts


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_down(file):
    parts = parts_of(file)
    assert parts[0] in (*LAYERS, *TOP), f"{file.name}: give it a place in LAYERS"
    assert violations(file.read_text("utf-8"), parts) == []


@pytest.mark.parametrize(
    ("source", "parts", "found"),
    [
        ("from vaekit.models import vae", ("data", "idx"), ["models"]),
        ("def f():\n    import vaekit.cli.main", ("report", "page"), ["cli"]),
        ("from ..evaluation import elbo", ("training", "loop"), ["evaluation"]),
        ("from vaekit import report", ("runs",), ["report"]),
        ("from vaekit import load", ("models", "vae"), ["load"]),
        ("from vaekit.data import Batch\nfrom . import codes", ("evaluation", "latent"), []),
        ("import numpy\nfrom vaekit import data, __version__", ("runs",), []),
        ("import vaekit\nprint(vaekit.__version__)", ("runs",), []),
        ("import vaekit as vk\nvk.fit(m)", ("data", "folder"), ["fit"]),
        ("import vaekit\nvaekit.load('digits')", ("runs",), ["load"]),
    ],
)
def test_the_check_sees_every_form_of_import(source, parts, found):
    assert violations(source, parts) == found


@pytest.mark.parametrize("file", [f for f in FILES if parts_of(f)[0] == "networks"], ids=lambda f: f.name)
def test_networks_know_no_probability(file):
    assert "torch.distributions" not in file.read_text("utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_nothing_is_unpickled(file):
    tree = ast.parse(file.read_text("utf-8"))
    names = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) for n in node.names}
    loads = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not names & {"pickle", "joblib", "dill", "cloudpickle"}
    assert "torch.load" not in loads


HEAVY = ("torch", "matplotlib", "pandas", "sklearn", "accelerate", "scipy")


@pytest.mark.parametrize("module", ["vaekit", "vaekit.cli.main", "vaekit.errors"])
def test_import_is_light(module):
    if not (ROOT.parent / Path(*module.split("."))).with_suffix(".py").exists() and module != "vaekit":
        pytest.skip(f"there is no {module} yet")
    code = f"import {module}, sys; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_name_of_the_package_is_there():
    for name in vaekit.__all__:
        assert getattr(vaekit, name) is not None
    assert set(vaekit.__all__) <= set(dir(vaekit))
