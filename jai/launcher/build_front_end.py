"""Writes `jai/_front_end.py`: the modules that every start through Python needs, put together into one.

`build_front_end.py JAI OUTPUT FIRST…`: JAI is the package's folder, FIRST its modules that a start asks for.
What they import of jai comes in front of them, unless it is imported within a function.

Finding, opening and checking a module costs a start 0.1 ms and more, and there are eighteen.  Each becomes a
function here, whose code is run in the namespace of a module of the old name: all names of the module are
declared global, so its code is what it would be in a file of its own.  What only people and type checkers
read (docstrings, annotations) is left out, since it has to be loaded, too.
"""

from __future__ import annotations

import ast
import symtable
import sys
from pathlib import Path

PACKAGE = "jai"
HEAD = f'''"""Made by launcher/build_front_end.py when jai was built: the modules of a start, in one."""

import sys

package = sys.modules["{PACKAGE}"]


def module(body):
    name = body.__name__
    made = sys.modules["{PACKAGE}." + name] = type(sys)("{PACKAGE}." + name)
    made.__package__, made.__file__ = "{PACKAGE}", package.__path__[0] + "/" + name + ".py"
    made.__builtins__ = __builtins__  # which Python 3.9 does not look for elsewhere
    setattr(package, name, made)
    type(body)(body.__code__, made.__dict__)()
    return made
'''
TAIL = "\nmain = cli.main\n"


class Stripped(ast.NodeTransformer):
    """A module's code without what only people and type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Leave out what is for type checkers."""
        self.generic_visit(node)
        is_for_checkers = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if is_for_checkers else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Leave out the docstring and the annotations of a function."""
        self.generic_visit(node)
        _without_docstring(node)
        node.returns = None
        arguments = node.args
        for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            each.annotation = None
        for rest in (arguments.vararg, arguments.kwarg):
            if rest:
                rest.annotation = None
        # A variable's annotation is nothing that a function would keep.
        node.body = [_unannotated(statement) for statement in node.body]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keep the annotations of a class, which are the fields of a record, as text."""
        self.generic_visit(node)
        _without_docstring(node)
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):
                statement.annotation = ast.Constant(ast.unparse(statement.annotation))
        return node


def _without_docstring(node: ast.FunctionDef | ast.ClassDef) -> None:
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:] or [ast.Pass()]


def _unannotated(node: ast.stmt) -> ast.stmt:
    if not isinstance(node, ast.AnnAssign):
        return node
    value = node.value or ast.Constant(None)
    return ast.copy_location(ast.Assign([node.target], value), node)


def imported(tree: ast.Module) -> list[str]:
    """List the modules of jai that a module imports when it is imported itself."""
    found = [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    return [name[len(PACKAGE) + 1 :] for name in found if name.startswith(f"{PACKAGE}.")]


def as_function(name: str, text: str) -> ast.stmt:
    """Give a module as a function whose variables are all global."""
    table = symtable.symtable(text, name, "exec")
    names = [each.get_name() for each in table.get_symbols() if each.is_assigned() or each.is_imported()]
    tree = Stripped().visit(ast.parse(text))
    body = [_unannotated(node) for node in tree.body if getattr(node, "module", "") != "__future__"]
    if ast.get_docstring(tree) is not None:
        body = body[1:]
    function = ast.parse(f"@module\ndef {name}():\n    global {', '.join(sorted(names))}").body[0]
    function.body += body  # type: ignore[attr-defined]
    return function


def collect(folder: Path, name: str, found: dict[str, str]) -> None:
    """Put the texts of a module and of all that it imports in the order in which they can be run."""
    path = folder / f"{name}.py"
    if name in found or not path.exists():  # the binding of the core is no text
        return
    text = path.read_text(encoding="utf-8")
    for each in imported(Stripped().visit(ast.parse(text))):
        collect(folder, each, found)
    found[name] = text


def main(folder: str, output: str, *first: str) -> None:
    """Write the module."""
    found: dict[str, str] = {}
    for name in first:
        collect(Path(folder), name, found)
    functions = [
        ast.unparse(ast.fix_missing_locations(as_function(name, text))) for name, text in found.items()
    ]
    Path(output).write_text("\n\n".join([HEAD, *functions, TAIL]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
