"""The build of `make docs`: generated pages, and checks that refuse a bad site.

MkDocs calls the functions `on_...`. They add a page of the API for every module, with
an entry for every public symbol, and make pages of README.md, CONTRIBUTING.md and
CHANGELOG.md. The build fails where a public function or class has no docstring, where
a public symbol has no entry, where a page would load something from the network, and
where the compatibility table is stale. This writes the table anew:

    python docs/site_build.py
"""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import vaejax
from vaejax.models import gaussian_mlp, sigmoid_belief_network

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
COMPATIBILITY = ROOT / "docs" / "compatibility.md"
TABLE = re.compile(
    r"(?<=<!-- compatibility -->\n).*?(?=\n<!-- /compatibility -->)", re.DOTALL
)
# A line that is a link to an example, which the site follows by the example's text.
EXAMPLE = re.compile(r"^\[`(\w+\.py)`\]\(examples/\1\)$", re.MULTILINE)
FROM_THE_NETWORK = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//"
    r"|<link\b[^>]*\brel=\"(?:stylesheet|preconnect|preload)\"[^>]*\bhref=\"(?:https?:)?//"
)


def compatibility_table() -> str:
    """The table of docs/compatibility.md, from the verdicts of the estimators."""
    return vaejax.compatibility_table(
        models=[gaussian_mlp(), sigmoid_belief_network(latent_dim=10)],
        bounds=[factory() for factory in vaejax.BOUNDS.values()],
        estimators=[factory() for factory in vaejax.ESTIMATORS.values()],
        num_samples=6,  # two groups of three: at K = 2 MIWAE is the ELBO
    )


def modules() -> dict[str, ModuleType]:
    """The public modules below `vaejax`, by name."""
    return {
        info.name: importlib.import_module(f"vaejax.{info.name}")
        for info in pkgutil.iter_modules(vaejax.__path__)
    }


def exported(module: ModuleType) -> dict[str, Any]:
    """The public symbols of a module: `__all__`, else the public ones it defines."""
    if hasattr(module, "__all__"):
        named = {name: getattr(module, name) for name in module.__all__}
        return {n: value for n, value in named.items() if not inspect.ismodule(value)}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and (is_registry(value) or home(value, module))
    }


def is_registry(value: Any) -> bool:
    """True if a value is a dict of factories by name, such as `BOUNDS`."""
    return isinstance(value, dict) and all(map(callable, value.values()))


def home(value: Any, module: ModuleType) -> str | None:
    """The path of a class or function that this module, or one in it, defines."""
    where = getattr(value, "__module__", None) or ""
    if hasattr(value, "__qualname__") and f"{where}.".startswith(f"{module.__name__}."):
        return f"{where}.{value.__qualname__}"
    return None


def claim(value: Any) -> str:
    """The first line of a docstring, fit for the cell of a table."""
    lines = (inspect.getdoc(value) or "").splitlines() or [""]
    return lines[0].replace("|", "\\|")


def undocumented() -> list[str]:
    """The public classes and functions that have no docstring of their own."""
    return [
        path
        for module in modules().values()
        for value in exported(module).values()
        if (path := home(value, module))
        # Dataclasses and NamedTuples make up a docstring, "Name(field, ...)".
        if not value.__doc__ or value.__doc__.startswith(f"{value.__name__}(")
    ]


def api_page(name: str, module: ModuleType) -> str:
    """The page of a module: its docstring, its registries, and an entry a symbol."""
    symbols = exported(module)
    parts = [f"# vaejax.{name}", inspect.getdoc(module) or ""]
    for symbol, value in symbols.items():
        if is_registry(value):
            parts.append(f"## {symbol} {{ #{symbol} }}")
            rows = [f"| `{key}` | {claim(one)} |" for key, one in value.items()]
            parts.append("\n".join(["| name | claim |", "|---|---|", *rows]))
    shown = {home(value, module): value for value in symbols.values()}
    for path in entries(module):
        parts += [f"::: {path}", fields(shown.get(path))]
    return "\n\n".join(parts) + "\n"


def fields(value: Any) -> str:
    """The fields of a record with their comments, which are its documentation."""
    if not inspect.isclass(value) or not getattr(value, "__annotations__", None):
        return ""
    source = textwrap.dedent(inspect.getsource(value))
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    docstring, *rest = definition.body
    ends = [one.lineno - 1 for one in rest if not isinstance(one, ast.AnnAssign)]
    lines = source.splitlines()[docstring.end_lineno : min(ends, default=None)]
    text = re.sub(r"\s*@\w+$", "", textwrap.dedent("\n".join(lines)).strip())
    return f'```python title="Fields of {value.__name__}"\n{text}\n```'


def entries(module: ModuleType) -> Iterator[str]:
    """The paths of a module's symbols but its registries, each once."""
    paths = {
        home(value, module) or f"{module.__name__}.{symbol}": None
        for symbol, value in exported(module).items()
        if not is_registry(value)
    }
    yield from paths


def api_index() -> str:
    """The first page of the API: the symbols of `vaejax` itself, then the modules."""
    lines = ["# API", inspect.getdoc(vaejax) or ""]
    rows = []
    for symbol, value in exported(vaejax).items():
        owners = [m for m in modules().values() if exported(m).get(symbol) is value]
        if is_registry(value):
            where = f"({owners[0].__name__.removeprefix('vaejax.')}.md#{symbol})"
            rows.append(f"| [`{symbol}`]{where} | names and their factories |")
        else:
            path = home(value, owners[0]) or f"{owners[0].__name__}.{symbol}"
            rows.append(f"| [`{symbol}`][{path}] | {claim(value)} |")
    lines.append("\n".join(["| `vaejax.` | |", "|---|---|", *rows]))
    rows = [
        f"| [`vaejax.{name}`]({name}.md) | {claim(module)} |"
        for name, module in modules().items()
    ]
    lines.append("\n".join(["| module | |", "|---|---|", *rows]))
    return "\n\n".join(lines) + "\n"


def on_config(config: MkDocsConfig) -> None:
    """Add the pages of the API to the navigation."""
    assert config.nav is not None
    pages = ["api/index.md", *(f"api/{name}.md" for name in modules())]
    config.nav.append({"API": pages})


def on_pre_build(config: MkDocsConfig) -> None:
    """Refuse a stale table, and public symbols without a docstring."""
    if TABLE.findall(COMPATIBILITY.read_text()) != [compatibility_table()]:
        raise PluginError(
            "docs/compatibility.md is stale: run 'python docs/site_build.py'"
        )
    if missing := undocumented():
        raise PluginError(f"these public symbols need a docstring: {missing}")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages, and the files that pages link to."""
    contents = {f"api/{name}.md": api_page(name, m) for name, m in modules().items()}
    contents["api/index.md"] = api_index()
    contents |= {page: (ROOT / path).read_text() for path, page in PAGES.items()}
    for page, content in contents.items():
        files.append(File.generated(config, page, content=content))
    for path in (*ROOT.glob("notebooks/*.ipynb"), ROOT / "LICENSE"):
        name = str(path.relative_to(ROOT))
        files.append(File.generated(config, name, abs_src_path=str(path)))


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Turn links within the repository into links within the site."""
    if page.file.src_uri.startswith("api/"):
        return markdown
    markdown = re.sub(r"\]\((?:docs/|\.\./)", "](", markdown)
    for path, target in PAGES.items():
        markdown = markdown.replace(f"]({path}", f"]({target}")
    return EXAMPLE.sub(_with_text, markdown)


def _with_text(link: re.Match[str]) -> str:
    code = (ROOT / "docs" / "examples" / link[1]).read_text()
    return f'{link[0]}\n\n```python title="docs/examples/{link[1]}"\n{code}```'


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site in which a symbol has no entry, or that loads from the network."""
    site = Path(config.site_dir)
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(inventory).decode().splitlines()
    there = {line.split()[0] for line in lines}
    public = {path for module in modules().values() for path in entries(module)}
    if missing := sorted(public - there):
        raise PluginError(f"these public symbols have no entry in the API: {missing}")
    pages = site.rglob("*.html")
    if remote := [str(p) for p in pages if FROM_THE_NETWORK.search(p.read_text())]:
        raise PluginError(f"these pages load something from the network: {remote}")


if __name__ == "__main__":
    COMPATIBILITY.write_text(
        TABLE.sub(lambda _: compatibility_table(), COMPATIBILITY.read_text())
    )
