"""That the packages run on every supported Python, as far as can be seen without it: ruff and mypy
keep out what is newer than the oldest, these what the newest has no more."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for place in ("client", "writer") for path in (ROOT / place).rglob("*.py"))
OLDEST = (3, 11)

REMOVED_MODULES = {
    # 3.12
    "asynchat", "asyncore", "distutils", "imp", "smtpd",
    # 3.13, PEP 594
    "aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "nis",
    "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
    # setuptools', which a venv has no more since 3.12
    "pkg_resources", "setuptools",
}  # fmt: skip
GONE_OR_DEPRECATED = {
    "utcnow", "utcfromtimestamp", "getdefaultlocale", "get_event_loop_policy",
    "set_event_loop_policy", "get_child_watcher", "find_module",
    "load_module", "NamedConstant", "ByteString", "forkpty",
}  # fmt: skip
DEFAULT_START = {"Process", "Pool", "Queue", "Manager", "Event", "Lock", "ProcessPoolExecutor"}


def names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each module that is imported, and each attribute that is asked of something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (("module", each.name.partition(".")[0]) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "module", (node.module or "").partition(".")[0]
            yield from (("name", each.name) for each in node.names)
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            yield "name", node.attr
            yield "dotted", f"{owner}.{node.attr}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_uses_nothing_that_a_supported_python_lacks(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=OLDEST)
    found = set(names(tree))
    assert not {name for kind, name in found if kind == "module"} & REMOVED_MODULES
    assert not {name for kind, name in found if kind == "name"} & GONE_OR_DEPRECATED
    # the default start method is another in 3.14, and a fork beside threads warns since 3.12
    assert not {f"multiprocessing.{each}" for each in DEFAULT_START} & {name for _, name in found}
    assert ("dotted", "os.fork") not in found
    assert ("name", "ProcessPoolExecutor") not in found
