"""Sizes, names and promises that are easier to keep when a test counts."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

import events
from runtime.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("command_side", "events", "projections", "query_side", "runtime")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENT = json.loads((ROOT / "tests" / "golden" / "openapi.json").read_bytes())
HEADERS = frozenset(DOCUMENT["components"]["headers"])


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", SOURCES + TESTS, ids=_name)
def test_a_module_stays_readable(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= (500 if file in TESTS else 400), f"{lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("file", SOURCES, ids=_name)
def test_everything_public_has_a_docstring(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if tree.body:
        assert ast.get_docstring(tree), "the module"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.name.startswith("_") or ast.get_docstring(node), node.name


@pytest.mark.parametrize("file", TESTS, ids=_name)
def test_tests_wait_for_a_signal_and_not_for_time(file: Path) -> None:
    if file.name in {"signals.py", "test_tidy.py"}:
        return
    assert not re.search(r"\b(?:time|asyncio)\.sleep\(", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", SOURCES + TESTS, ids=_name)
def test_what_is_silenced_says_why(file: Path) -> None:
    if file.name == "test_tidy.py":
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        for found in re.finditer(r"# (?:type|pyright): ignore(.*)|# noqa(.*)", line):
            rest = found[1] or found[2] or ""
            assert re.search(r"\[\w+\]|: [A-Z]+\d+", rest), f"no code: {line.strip()}"
            assert " - " in rest, f"no reason: {line.strip()}"


def test_events_is_our_package() -> None:
    assert Path(events.__file__ or "").is_relative_to(ROOT)


def test_the_readme_names_files_that_exist_and_names_that_they_define() -> None:
    section = README.split("## One request, end to end")[1].split("\n## ")[0]
    for row in re.findall(r"^\| (.+) \| (.+) \|$", section, re.MULTILINE)[1:]:
        files = re.findall(r"`([\w/]+\.(?:py|sql))`", row[1])
        texts = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        assert files
        for name in re.findall(r"`([\w.]+)`", row[0]):
            function = r"async def|def|class|CREATE(?: OR REPLACE)? FUNCTION"
            defined = rf"^\s*(?:{function}) {re.escape(name)}\b"
            sent = rf'"{name}"' if name in HEADERS else defined
            assert re.search(sent, texts, re.MULTILINE), f"{name} is not in {files}"


def test_every_setting_is_documented_in_the_readme_and_nothing_else() -> None:
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__}
    table = README.split("| variable | default | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == known


def test_every_package_is_installed_and_every_test_file_of_the_readme_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = set(project["tool"]["setuptools"]["packages"])
    assert installed == {_name(file.parent).replace("/", ".") for file in SOURCES}
    for file in re.findall(r"`(tests/[\w/]+\.py)`", README):
        assert (ROOT / file).exists(), file


def test_nothing_names_this_machine_or_a_package_registry() -> None:
    for file in [
        *SOURCES,
        *TESTS,
        ROOT / "README.md",
        ROOT / "Makefile",
        *ROOT.glob("requirements/*"),
    ]:
        if file.name == "test_tidy.py":
            continue
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"/simple/|\.whl|/root/|/home/\w+/", text), file
