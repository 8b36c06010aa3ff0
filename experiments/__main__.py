"""List the commands, one per line: `python -m experiments`."""

import ast
import pkgutil
import sys
from pathlib import Path

from vaejax.core import unknown

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
    """Print the commands; a word that names none ends with the nearest, and code 2."""
    known = commands()
    for word in sys.argv[1:]:
        if word not in ("-h", "--help"):
            right = f"write python -m experiments.{word}"
            mistake = right if word in known else unknown("command", word, known)
            print(f"error: {mistake}", file=sys.stderr)
            sys.exit(2)
    print("python -m experiments.NAME runs a command; its --help lists its flags")
    for name, claim in known.items():
        print(f"{name:<19}{claim}")


if __name__ == "__main__":
    main()
