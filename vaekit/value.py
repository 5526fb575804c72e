"""`Value`: a record that never changes and checks itself when it is made; `is_whole`, for such checks.

It is to the type checker what a frozen dataclass is. At run time no code is written for it, which a dataclass does at each
start of the program: four of them would be a quarter of what `import vaekit` costs beyond NumPy (`benchmarks/runtime.py`).

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, dataclass_transform

if TYPE_CHECKING:
    from inspect import Signature


class _Signature:
    """What `inspect.signature` and `help` show of a class: its fields."""

    def __get__(self, _: object, owner: type[Value]) -> Signature:
        from inspect import Parameter, Signature  # here, since no start-up asks

        return Signature(
            [
                Parameter(
                    name,
                    Parameter.POSITIONAL_OR_KEYWORD,
                    default=owner._defaults.get(name, Parameter.empty),
                    annotation=owner.__annotations__[name],
                )
                for name in owner._fields
            ],
            return_annotation=None,
        )


@dataclass_transform(frozen_default=True)
class Value:
    """Base of records. Their annotations are the fields, in order; what is assigned to one there is its default.

    Two values are equal where they are of one class and their fields are equal. `_check` refuses what has no meaning.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    __signature__ = _Signature()

    def __init_subclass__(cls) -> None:
        """Find the fields."""
        cls._fields = tuple(cls.__annotations__)
        cls._defaults = {name: vars(cls)[name] for name in cls._fields if name in vars(cls)}

    def __init__(self, *values: Any, **named: Any) -> None:
        if len(values) > len(self._fields):
            raise TypeError(f"{type(self).__name__} takes {len(self._fields)} values, but got {len(values)}.")
        given = dict(zip(self._fields, values, strict=False))
        twice, unknown = given.keys() & named.keys(), named.keys() - set(self._fields)
        if twice or unknown:
            raise TypeError(
                f"{type(self).__name__}: {', '.join(sorted(twice | unknown))} is given twice or is no field."
            )
        given = {**self._defaults, **given, **named}
        missing = [name for name in self._fields if name not in given]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}.")
        vars(self).update({name: given[name] for name in self._fields})
        self._check()

    def _check(self) -> None:
        """Raise where the fields make no sense together."""

    def replace(self, **changes: Any) -> Self:
        """Give a copy with other values in some fields, checked like any."""
        return type(self)(**{**vars(self), **changes})

    __replace__ = replace  # what copy.replace of Python 3.13 calls

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} never changes; make another with replace({name}=...).")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} never changes, so {name} stays.")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def is_whole(value: object) -> bool:
    """Whether a value is an integer, Python's or another library's; True and False are none."""
    try:
        index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return not isinstance(value, bool)
