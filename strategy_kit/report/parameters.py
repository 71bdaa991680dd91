"""The parameters of a notebook, read from its cell tagged `parameters` and held to their annotations.

The cell holds one annotated literal a line, its comment being its help: ``weeks: int = 8  # weeks shown``.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strategy_kit.errors import ParameterError, nearest, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbformat import NotebookNode

_PLAIN: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_DECIMAL = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_SECRET = re.compile("token|secret|password|key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the parameters cell: its name, annotation, default and help."""

    name: str
    annotation: str
    kind: str
    default: Any
    optional: bool = False
    choices: tuple[Any, ...] = ()
    help: str = ""
    required: bool = False


def redacted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hide the values whose names speak of a token, secret, password or key."""
    return {name: "[redacted]" if _SECRET.search(name) else value for name, value in values.items()}


def declared(notebook: NotebookNode) -> dict[str, Parameter]:
    """Read the parameters that a notebook declares; ParameterError names every line that is none."""
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1 or tagged[0].cell_type != "code":
        found = ", ".join(cell.cell_type for cell in tagged) or "no"
        raise ParameterError(f"one code cell must be tagged 'parameters', and here {found} cell has the tag")
    try:
        lines = ast.parse(tagged[0].source).body
    except SyntaxError as error:
        raise ParameterError(f"the parameters cell is not Python: {error.msg}, line {error.lineno}") from None
    laws, known = [], dict[str, Parameter]()
    for line in lines:
        try:
            parameter = _read(line, tagged[0].source)
            if known.setdefault(parameter.name, parameter) is not parameter:
                laws.append(f"line {line.lineno}: {parameter.name} stands there twice; keep one.")
        except ValueError as error:
            laws.append(f"line {line.lineno}: {error}.")
    refuse(ParameterError, "the parameters cell", laws)
    return known


def resolve(declared: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter's value, given or default; ParameterError names all that is wrong at once."""
    values, laws = _checked(declared, given)
    missing = [parameter for name, parameter in declared.items() if parameter.required and name not in given]
    laws += [f"{p.name} is missing, a {p.annotation} without default; give {p.name}=..." for p in missing]
    refuse(ParameterError, "parameters", laws)
    return {name: values.get(name, parameter.default) for name, parameter in declared.items()}


def parse(declared: Mapping[str, Parameter], texts: Mapping[str, str]) -> dict[str, Any]:
    """Turn the texts of a command line into values of the declared types; nothing is guessed.

    A list is written a,b,c; an empty text means None where None is allowed; refuses as `resolve` does.
    """
    typed = {name: _value(declared.get(name), text) for name, text in texts.items()}
    values, laws = _checked(declared, typed)
    refuse(ParameterError, "parameters", laws)
    return values


def _checked(declared: Mapping[str, Parameter], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    values, laws = {}, []
    for name, value in given.items():
        try:
            values[name] = _fitted(declared[name], value)
        except KeyError:
            known = ", ".join(declared) or "none"
            laws.append(f"{name!r} is not a parameter of the notebook, which has {known}{nearest(name, declared)}.")
        except ValueError as error:
            laws.append(f"{error}.")
    return values, laws


def _read(line: ast.stmt, source: str) -> Parameter:
    text = ast.unparse(line)
    if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None):
        raise ValueError(f"`{text}` is not of the form `name: type = literal`; rewrite or move it")
    name, annotation = line.target.id, ast.unparse(line.annotation)
    kind, optional, choices = _kind(line.annotation)
    if not kind:
        allowed = f"{', '.join(_PLAIN)}, list[str], Literal['a', 'b'], or one of these | None"
        raise ValueError(f"{name}: {annotation} is not the type of a parameter; use {allowed}")
    try:
        default = ast.literal_eval(line.value)
    except (ValueError, TypeError):
        raise ValueError(f"the default of {name} must be a literal, not {ast.unparse(line.value)}") from None
    last = source.split("\n")[(line.end_lineno or 1) - 1].encode()
    remark = last[line.end_col_offset :].decode().partition("#")[2].strip()
    required = default is None and not optional
    parameter = Parameter(name, annotation, kind, default, optional, choices, remark, required)
    if not required:
        _fitted(parameter, default)
    return parameter


def _kind(node: ast.expr) -> tuple[str, bool, tuple[Any, ...]]:
    text = ast.unparse(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and "None" in (text[:4], text[-4:]):
        kind, _, choices = _kind(node.right if text.startswith("None") else node.left)
        return kind, True, choices
    if isinstance(node, ast.Subscript) and text.startswith(("Literal[", "typing.Literal[")):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        choices = tuple(part.value for part in parts if isinstance(part, ast.Constant))
        return "Literal" if len(choices) == len(parts) else "", False, choices
    return text if text in (*_PLAIN, "list[str]") else "", False, ()


def _fitted(parameter: Parameter, value: Any) -> Any:
    """Return the value in its declared type, or raise ValueError."""
    kind = parameter.kind
    number = isinstance(value, int | float) and not isinstance(value, bool)
    texts = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if value is None and parameter.optional:
        return None
    if kind == "float" and number and abs(value) <= sys.float_info.max:
        return float(value)
    if kind == "list[str]" and texts:
        return list(value)
    chosen = kind == "Literal" and any(value == c and type(value) is type(c) for c in parameter.choices)
    plain = kind in ("str", "int", "bool") and isinstance(value, _PLAIN[kind])
    if chosen or (plain and (number or kind != "int")):
        return value
    shown = redacted({parameter.name: value})[parameter.name]
    raise ValueError(f"{parameter.name} must be {parameter.annotation}, not {shown!r}")


def _value(parameter: Parameter | None, text: str) -> Any:
    """Read a text by the annotation; one that does not read stays a text, which is then refused."""
    if parameter is None or (text == "" and parameter.optional):
        return None
    if parameter.kind == "list[str]":
        return [item.strip() for item in text.split(",") if item.strip()]
    if parameter.kind == "int" and re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if parameter.kind == "float" and re.fullmatch(_DECIMAL, text):
        return float(text)
    choices = (True, False) if parameter.kind == "bool" else parameter.choices
    return {str(c).lower() if isinstance(c, bool) else str(c): c for c in choices}.get(text, text)
