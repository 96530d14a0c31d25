from __future__ import annotations

import ast
import doctest
import importlib
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import sqlllm
from sqlllm.sql import definitions

ROOT = Path(__file__).parent.parent
LAYERS = [
    {
        "errors",
        "files",
        "html",
        "locks",
        "places",
        "settings",
        "settings_file",
        "sqlite_file",
        "storage",
        "task",
        "schema",
        "sqltypes",
        "redact",
    },
    {"models", "engine"},
    {"runtime"},
    {"call"},
    {"function", "reduce", "splitting", "together"},
    {"udfs"},
    {"rewrite", "sql"},
    {"views", "explain"},
    {"report"},
    {"installation", "interrupt", "variables"},
    {"execution"},
    {"connection"},
    {"dbt", "polars"},
    {"bench", "jobs"},
    {"notebook"},
    {"doctor"},
    {"cli"},
]


def layer(module: str) -> int:
    name = module.split(".")[1]
    return next(i for i, names in enumerate(LAYERS) if name in names)


def imports(path: Path) -> list[str]:
    """Modules imported at the top of a file; imports for the type checker don't count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlllm.")
    ]


def test_imports_go_one_way() -> None:
    checked = 0
    for path in (ROOT / "sqlllm").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module in ("sqlllm.__init__", "sqlllm.__main__"):
            continue
        for imported in imports(path):
            assert layer(imported) <= layer(module), f"{module} imports {imported}"
            if module.startswith("sqlllm.rewrite"):
                assert imported.startswith(("sqlllm.rewrite", "sqlllm.errors"))
            checked += 1
    assert checked > 20


WITH_EXAMPLES = [
    path.relative_to(ROOT)
    for folder in ("sqlllm", "udfs")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_docstring_examples(path: Path) -> None:
    parts = [*(["sqlllm"] if path.parts[0] == "udfs" else []), *path.with_suffix("").parts]
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_wheel_and_sdist_hold_the_sql_and_the_udfs(tmp_path: Path) -> None:
    """Built through the sdist, then imported in a clean venv on this one's dependencies.

    The sdist holds what its tests need, and they find everything where it lies there: `udfs` and
    `sql` are in the package only.
    """
    build = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=240)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
    for needed in (*(ROOT / "tests").rglob("*.*"), *(ROOT / "examples").rglob("*.*")):
        if needed.suffix in (".py", ".sql", ".csv", ".toml", ".yml", ".md", ".ipynb"):
            assert str(needed.relative_to(ROOT)) in inside
    assert sdist.name == f"sqlllm-{sqlllm.__version__}.tar.gz"
    assert inside >= {"CHANGELOG.md", "Makefile", "README.md", "constraints.txt"}
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (("udfs", "*.py"), ("sql", "*.sql")):
        for path in (ROOT / "sqlllm" / folder).glob(pattern):
            assert f"sqlllm/{folder}/{path.name}" in names
    venv.create(tmp_path / "clean", with_pip=False)
    (site,) = (tmp_path / "clean").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    here = next(p for p in sys.path if p.endswith("site-packages"))
    code = f"import sys; sys.path.append({here!r}); import sqlllm; print(sqlllm.__file__);"
    code += "db = sqlllm.connect(); print(len(db.execute('FROM ai.functions').fetchall()))"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    python = str(tmp_path / "clean" / "bin" / "python")
    out = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=env
    )
    where, count = out.stdout.split()
    assert where.startswith(str(site))
    assert int(count) == sum(definition.public for definition in definitions())
