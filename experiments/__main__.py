"""List the commands, one per line: `python -m experiments`."""

import ast
import pkgutil
import textwrap
from pathlib import Path

FOLDER = Path(__file__).parent


def commands() -> dict[str, str]:
    """The purpose of every command, by name: the first line of its docstring.

    A command is a file of this folder, or a package that has a `__main__`.
    """
    found = {}
    for module in pkgutil.iter_modules([str(FOLDER)]):
        path = FOLDER / f"{module.name}.py"
        if module.ispkg:
            path = FOLDER / module.name / "__main__.py"
        if path.exists() and module.name != "__main__":
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            found[module.name] = text.partition("\n")[0]
    return found


def main() -> None:
    """Print the commands."""
    print("python -m experiments.NAME runs a command; its --help lists its flags")
    for name, claim in commands().items():
        print(textwrap.fill(f"{name:<20}{claim}", 80, subsequent_indent=" " * 20))


if __name__ == "__main__":
    main()
